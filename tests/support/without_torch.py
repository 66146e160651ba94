"""Python in which torch cannot be found, as where it is not installed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

HIDE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "triton", "cupy"):
            return None
        return self.finder.find_spec(name, *rest)

    def __getattr__(self, name):
        return getattr(self.finder, name)

assert "torch" not in sys.modules
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run(code: str, *arguments: str, hide: bool = True) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", (HIDE if hide else "") + code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
