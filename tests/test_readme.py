"""Each Python block of the README runs as printed, in order, in one session."""

import re
from pathlib import Path

import numpy as np
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 10
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
        if "whole = " in block:  # a later one trains the model
            assert bool((names["model"](names["sequences"]).logits == names["whole"]).all())
    assert names["every"]["xty"].shape == (60, 50, 50)
    assert names["recording"].series.shape == (2, 40, 270)
    assert str(names["recording"].nodes[11]) == "L1H2"
    assert not bool((names["without"] == names["whole"]).all())
    assert not bool((names["noisy"] == names["whole"]).all())
    assert len(names["core"].nodes) == 135
    assert names["mask"].trained == 135 * 2 * 64 * 576
    assert names["curve"].kl["synergy"].shape == (1, 3)
    np.testing.assert_allclose(
        names["again"].of("heads").series.numpy(),
        names["recording"].series.numpy(),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_links_point_to_files(path):
    assert (Path(__file__).parent.parent / path).is_file()
