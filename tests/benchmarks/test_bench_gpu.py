"""What `bench.gpu.check` leaves becomes a result of the page."""

import numpy as np
import pytest
import torch

from bench.gpu.condense import condensed
from bench.harness.records import RESULTS, Run
from bench.page import gpu


def row(error, *, passed=True, **given):
    base = {"backend": "cupy", "kind": "gaussian", "redundancy": "MMI", "what": "all"}
    base |= {"path": "series", "dtype": "float64", "size": [3, 60, 37], "series": "random"}
    return base | {"error": error, "tolerance": 1e-9, "passed": passed} | given


def test_rows_become_counts_and_the_worst():
    rows = [row(1e-12), row(5e-10, series="duplicate"), row(2e-9, passed=False, path="moments")]
    found = condensed({"passed": False, "left out": 4, "rows": rows})
    assert "rows" not in found
    assert (found["passed"], found["left out"], found["number of rows"]) == (False, 4, 3)
    series = found["groups"]["cupy gaussian MMI all series float64"]
    assert (series["rows"], series["failed"], series["worst over allowed"]) == (2, 0, 0.5)
    assert "series duplicate" in series["worst"]
    assert found["groups"]["cupy gaussian MMI all moments float64"]["failed"] == 1
    (name, *cells) = gpu.correctness_rows([{"commit": "c", "stages": {"x-correctness": found}}])[1]
    assert cells == ["cupy", "3", "1", "4 of the stage", "2", "3 x 60 x 37: 3"]
    assert name == "x-correctness, c"


def test_no_folder_of_a_traceback_is_kept():
    trace = 'Traceback (most recent call last):\n  File "/home/a/b.py", line 1\nTypeError: no'
    found = condensed({"error": trace, "memcheck": ['  File "/home/a/b.py"', "TypeError: no"]})
    assert found == {"error": "TypeError: no", "memcheck": ["TypeError: no"]}


def test_the_committed_result_of_a_gpu():
    text = (RESULTS / "h100.json").read_text(encoding="utf-8")
    assert not [line for line in text.splitlines() if 'File "' in line or '"/' in line]
    run = Run.load(RESULTS / "h100.json")
    groups = [
        group
        for each in run.tables["gpu check"]
        for stage in each["stages"].values()
        for group in stage.get("groups", {}).values()
    ]
    assert groups
    assert all(not g["failed"] and g["worst over allowed"] <= 1 for g in groups)


# ---- The stage `models`, rehearsed on the CPU ----------------------------------------------------


@pytest.fixture(scope="module")
def stage():
    pytest.importorskip("transformers")
    from bench.gpu import check_models  # noqa: PLC0415 (sets how triton's kernels run)

    return check_models


def test_the_model_in_float64_holds_no_float32(stage):
    """A change of 1e-12 would vanish in a number of float32, or come out as one of 1e-8."""
    model = stage.tiny_model(torch.float64)
    before = stage.perturbed(model)["logits"]
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.weight.mul_(1 + 1e-12)
    change = np.abs(stage.perturbed(model)["logits"] - before)
    assert 1e-13 < change.max() < 1e-10


# Of the interpreter of triton 3.6.
@pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")
def test_each_model_case_passes_on_the_cpu(stage, tmp_path):
    items = dict(stage.models(tmp_path))
    assert items.keys() == {*stage.CASES, "shared with phiid"}
    found = {name: call() for name, call in items.items()}
    assert all(each["passed"] and each[name]["passed"] for name, each in found.items())
    moved = found["shared with phiid"]["shared with phiid"]["triton"]["largest tensor moved"]
    assert moved == 0


@pytest.mark.parametrize(("dtype", "off"), [("float64", 1e-12), ("float32", 1e-3)])
def test_a_device_that_computes_otherwise_is_seen(stage, monkeypatch, dtype, off):
    """As TF32 would be off, or float32 in place of float64 even more."""

    def otherwise(model):
        if model.dtype == getattr(torch, dtype):
            with torch.no_grad():
                model.transformer.h[0].attn.c_attn.weight.mul_(1 + off)
        return model

    monkeypatch.setattr(stage, "on_device", otherwise)
    found = stage.held_to_cpu(stage.perturbed)
    assert not found["passed"]
    for name in ("float64", "float32"):
        of = found[f"logits, {name}"]
        assert (of["error"] > of["allowed"]) == (name == dtype)


def test_tensors_that_move_are_seen(stage):
    series = torch.ones(3, 5)
    with stage.Moves() as moves:
        (series + 1).sum()
    assert moves.largest == 0
    with stage.Moves() as moves:
        series[:2].to("meta")
    assert moves.largest == 10
