"""What a machine that others use too costs the command: a study alone, and beside busy loops.

torch's threads meet at a barrier after every operation. One that waits there spins by default, on a
core that the loop needs, while the thread it waits for has lost its own. `synkern study` tells
OpenMP to sleep instead (`synkern.cli`); `--spinning` measures what would happen if it did not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_LOOP = "while True: pass"


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run so many processes that never rest."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", _LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def study_seconds(arguments: Sequence[str], *, spinning: bool = False) -> float:
    """Wall-clock seconds of `synkern study` in a folder and a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if spinning:
        environment["OMP_WAIT_POLICY"] = "active"
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "synkern", "study", "--quiet", "--out", folder, *arguments]
        start = time.perf_counter()
        subprocess.run(line, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def measure(
    say: Callable[[str], None], arguments: Sequence[str], loops: int, *, spinning: bool = False
) -> dict[str, Any]:
    """Seconds of a study alone and beside loops, and their ratio."""
    seconds = {}
    for where, count in (("quiet", 0), ("busy", loops)):
        with busy_loops(count):
            seconds[where] = study_seconds(arguments, spinning=spinning)
        say(f"{where}, {count} busy loops: {seconds[where]:.0f} s")
    ratio = seconds["busy"] / seconds["quiet"]
    say(f"beside {loops} busy loops it takes {ratio:.2f} times as long")
    return {
        "arguments": list(arguments),
        "loops": loops,
        "spinning": spinning,
        "seconds": seconds,
        "ratio": ratio,
    }
