"""Python blocks of the README, and of the guides that it sends to, run as printed, in order."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["every"]["xty"].shape == (60, 50, 50)
    assert names["test"].p["sts"].shape == (50, 50)
    assert names["recording"].series.shape == (2, 40, 270)
    assert names["scores"].rank.shape == (270,)
    whole = names["model"](names["sequences"]).logits
    assert not bool((names["without"] == whole).all())


@pytest.fixture(scope="module")
def guides():
    """Names that the blocks of two guides leave, which say more of models than the README."""
    left = {}
    for guide in ("recording", "interventions"):
        text = (Path(__file__).parents[1] / "docs" / "guides" / f"{guide}.md").read_text("utf-8")
        names: dict = {}
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            exec(compile(block, guide, "exec"), names)
        left[guide] = names
    return left


def test_guide_to_recording(guides):
    names = guides["recording"]
    assert names["recording"].series.shape == (2, 40, 270)
    assert str(names["recording"].nodes[11]) == "L1H2"
    np.testing.assert_allclose(
        names["again"].of("heads").series.numpy(),
        names["recording"].series.numpy(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_guide_to_interventions(guides):
    names = guides["interventions"]
    assert not bool((names["without"] == names["whole"]).all())
    assert not bool((names["noisy"] == names["whole"]).all())
    assert len(names["core"].nodes) == 135
    assert names["mask"].trained == 135 * 2 * 64 * 576
    assert names["curve"].kl["synergy"].shape == (1, 3)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_point_to_files(path):
    assert (Path(__file__).parent.parent / path).is_file()
