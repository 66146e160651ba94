"""Python blocks of the documentation run as printed, page by page, in order.

Pages that the site runs when it is built (`make docs`), and those that tests of their own run, are
not here. Each page has a process of its own, and a deadline.
"""

import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from synkern.study.experiments.carrying import carried_out
from synkern.study.experiments.experiment import Experiment
from synkern.study.experiments.options import ExperimentOptions
from synkern.study.options import Option, called_with
from synkern.study.stage import Stage

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEADLINE = 120
"""Seconds; a page takes a few."""

ELSEWHERE = {
    "how_to_a_kind_of_node.md",  # tests/models/test_how_to_nodes.py
    "how_to_an_intervention.md",  # the same
    "how_to_a_stage.md",  # below
    "how_to_an_experiment.md",  # below
    "recording.md",  # tests/test_readme.py
    "interventions.md",  # the same
}
"""Pages whose blocks are parts of something, which other tests put together and run."""

TABLE = """
import numpy as np

series = np.random.default_rng(0).standard_normal((120, 5)).cumsum(0)
np.savetxt("regions.csv", series, delimiter=",", header="V1,V2,M1,M2,S1", comments="")
"""
GIVEN = {
    "decompose.md": TABLE,
    "reading_data.md": f"""{TABLE}
np.save("regions.npy", series.T)
import mne

info = mne.create_info(["Fz", "Cz", "Pz"], 100.0, "eeg")
waves = np.random.default_rng(1).standard_normal((4, 3, 200))
epochs = mne.EpochsArray(waves, info, verbose="error")
""",
}
"""By page, what its reader has: files of their own, and objects."""


def pages() -> list[Path]:
    found = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("[!_]*/*.md")]
    return sorted(page for page in found if BLOCK.search(page.read_text("utf-8")))


@pytest.mark.parametrize(
    "page",
    [page for page in pages() if page.name not in ELSEWHERE],
    ids=lambda page: str(page.relative_to(ROOT / "docs")),
)
def test_blocks_run(page, tmp_path):
    blocks = [GIVEN.get(page.name, ""), *BLOCK.findall(page.read_text("utf-8"))]
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


def fragments(page: str, names: dict) -> dict:
    """Run the blocks of a page in a program that has these names already."""
    for block in BLOCK.findall((ROOT / "docs" / page).read_text("utf-8")):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_stage_of_the_page_runs():
    found = fragments("how_to_a_stage.md", {"Stage": Stage, "np": np, "time": time})
    sts = np.array([[np.nan, 1.0, 3.0], [1.0, np.nan, 2.0], [3.0, 2.0, np.nan]])
    sources = SimpleNamespace(of=lambda weights: {"sts": sts})
    arrays, facts = found["Strongest"]().run(sources, "trained")
    assert arrays["pair"].tolist() == [0, 2]
    assert facts["seconds"]["looking"] >= 0


def test_the_experiment_of_the_page_runs():
    given = {
        **{"dataclass": dataclasses.dataclass, "field": dataclasses.field, "np": np},
        **{"Experiment": Experiment, "ExperimentOptions": ExperimentOptions, "Option": Option},
        **{"called_with": called_with, "carried_out": carried_out},
    }
    found = fragments("how_to_an_experiment.md", given)
    texts = SimpleNamespace(responses=[[1, 2], [3]])
    arrays, facts = found["Counting"]().run(SimpleNamespace(texts=texts), None, None)
    assert arrays["lengths"].tolist() == [2, 1]
    assert facts["total"] == 3


def test_there_are_pages_to_run():
    assert len(pages()) > 12
