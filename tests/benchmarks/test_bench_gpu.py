"""What `bench.gpu.check` leaves becomes a result of the page."""

import importlib
import inspect
import os
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from bench.gpu import journal
from bench.gpu.condense import condensed, run_of
from bench.gpu.stages import STAGES
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


# ---- What else runs without a GPU ----------------------------------------------------------------


@pytest.fixture
def pretended(monkeypatch):
    """As where there is a GPU, until something is launched on it."""
    from bench.gpu import check_cupy, check_device, check_triton  # noqa: PLC0415

    for module in (check_cupy, check_triton):
        monkeypatch.setattr(module, "GPU", True)
    monkeypatch.setattr(check_cupy, "_gpu", lambda: None)
    return {"check_cupy": check_cupy, "check_triton": check_triton, "check_device": check_device}


def test_the_items_of_every_stage_have_names_of_their_own(pretended, tmp_path):
    for stage in STAGES:
        module, _, function = stage.function.partition(":")
        items = getattr(importlib.import_module(module), function)(tmp_path)
        names = [name for name, _ in items]
        assert names, stage
        assert len(set(names)) == len(names), stage


def test_rows_of_correctness_are_held_to_a_truth_that_is_computed_once(tmp_path, monkeypatch):
    from bench.gpu import truth  # noqa: PLC0415

    values = truth.series("random", 1, 40, 3)
    computed = []
    whole = truth.decomposed

    def counted(given, options):
        computed.append(options["backend"])
        return whole(given, options)

    monkeypatch.setattr(truth, "decomposed", counted)
    for _ in range(2):
        held_to = truth.Truth(values, tmp_path)
        row = held_to.compared(truth.PLAIN, torch.from_numpy(values), "torch", nullcontext)
        assert row["passed"], row
        other = truth.Truth(values + 1e-5 * np.arange(40)[:, None] ** 2, tmp_path)
        row = other.compared(truth.PLAIN, torch.from_numpy(values), "torch", nullcontext)
        assert not row["passed"], row
    assert computed.count("numpy") == 2


def test_what_is_compiled_ahead_is_told_so_by_name():
    """The signature that `check_triton._unlaunched` stands in for."""
    from triton.runtime.jit import JITFunction  # noqa: PLC0415

    parameters = inspect.signature(JITFunction.run).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    assert {parameters[name].kind for name in ("grid", "warmup")} == {keyword}


NCU = """==PROF== Connected to process 7
"ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"
"0","mmi_series","GPU Speed Of Light Throughput","Duration","ms","2.95"
"0","mmi_series","Occupancy","Achieved Occupancy","%","24.9"
"0","mmi_series","Occupancy","","",""
"""


def tool(folder, monkeypatch, name, script):
    """A program of that name, the first on the path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_metrics_of_a_profiler_are_kept_and_none_is_an_error(tmp_path, monkeypatch):
    from bench.gpu import check_calls  # noqa: PLC0415

    (tmp_path / "log").write_text(NCU)
    find = 'while [ "$1" != --log-file ]; do shift; done; '
    tool(tmp_path, monkeypatch, "ncu", f'{find} cat {tmp_path}/log > "$2"')
    name, call = next(iter(check_calls.profile(tmp_path)))
    assert call() == {"metrics": {name: {"Duration": "2.95 ms", "Achieved Occupancy": "24.9 %"}}}
    assert (tmp_path / f"ncu-{name}.csv").read_text() == NCU
    (tmp_path / "log").write_text("==WARNING== No kernels were profiled.\n")
    with pytest.raises(RuntimeError, match="No kernels were profiled"):
        call()
    tool(tmp_path, monkeypatch, "ncu", "echo ERR_NVGPUCTRPERM; exit 1")
    with pytest.raises(RuntimeError, match="exit status 1:\nERR_NVGPUCTRPERM"):
        call()


@pytest.mark.parametrize(
    ("check", "said", "clean"),
    [
        ("memcheck", "========= ERROR SUMMARY: 0 errors", True),
        ("memcheck", "========= ERROR SUMMARY: 10 errors", False),
        ("racecheck", "= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", True),
        ("racecheck", "= RACECHECK SUMMARY: 10 hazards displayed (0 errors, 10 warnings)", False),
        ("racecheck", "", False),
    ],
)
def test_a_sanitizer_is_clean_in_its_own_words(tmp_path, monkeypatch, check, said, clean):
    from bench.gpu import programs  # noqa: PLC0415

    tool(tmp_path, monkeypatch, "compute-sanitizer", f"echo '{said}'")
    items = dict(programs.sanitized("pass", "phiid", (check,)))
    assert list(items) == ["without the sanitizer", check]
    assert items[check]() == {"passed": clean, check: said.split("\n") if said else []}


def test_a_folder_becomes_a_result_of_the_page(tmp_path):
    folder, passing = tmp_path / "run", row(1e-12)
    folder.mkdir()
    smi = ["driver_version, clocks", "580.1, 345 MHz, 2619 MHz, 1980 MHz, 700.00 W"]
    of = {"device": "H100", "memory": 1, "capability": [9, 0], "multiprocessors": 132}
    of |= dict.fromkeys(("python", "numpy", "torch", "cuda", "triton", "synkern"), "1")
    written = {
        "environment": [{"item": "versions", "seconds": 0.1, "result": of | {"nvidia-smi": smi}}],
        "cupy-correctness": [
            {"item": "a", "seconds": 1.0, "result": {"passed": True, "rows": [passing]}},
            {"item": "b", "seconds": 1.0, "result": {"passed": True, "rows": [passing]}},
            {"item": "c", "lost": "killed by signal SIGSEGV"},
        ],
        "cupy-timing": [
            {"item": "a", "seconds": 1.0, "result": {"device ms": {"x": 1.5}}},
            {"item": "b", "seconds": 1.0, "result": {"device ms": {"y": 2.5}}},
        ],
    }
    for name, lines in written.items():
        path = folder / f"{name}.jsonl"
        for line in ({"plan": ["versions"] if len(lines) == 1 else ["a", "b", "c", "d"]}, *lines):
            journal.append(path, line)
    run_of([("c", folder)], "2026-11-27").save(tmp_path / "h100.json")
    passes = Run.load(tmp_path / "h100.json").tables["gpu check"]
    stage = passes[0]["stages"]["cupy-correctness"]
    assert stage["number of rows"] == 2
    assert stage["errors"] == {"c": "lost: killed by signal SIGSEGV"}
    assert (stage["passed"], stage["left out"], stage["not reached"]) == (False, 1, "d and 0 more")
    assert gpu.correctness_rows(passes)[1][1:5] == ["cupy", "2", "0", "1 of the stage"]
    assert gpu.time_rows(passes)[1:] == [["cupy-timing", "x", "1.5"], ["cupy-timing", "y", "2.5"]]
    (folder / "environment.jsonl").unlink()
    with pytest.raises(ValueError, match="stage environment"):
        run_of([("c", folder)], "2026-11-27")
