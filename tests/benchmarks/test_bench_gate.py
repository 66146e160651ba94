"""A wrong kernel gets no time; a right one gets one with its error beside it."""

import json
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

from bench.cases.contenders import Contender, backends
from bench.cases.shapes import Shape
from bench.cases.workloads import BY_NAME, WORKLOADS
from bench.harness import gate, measure
from bench.harness.measure import Case, Measurement
from bench.harness.records import Check, Record, Run
from bench.page import rows
from synkern.kernels.cpu_backend import bindings as cpu_library
from synkern.kernels.cpu_backend import build as cpu_build
from synkern.kernels.formulas import estimators, mmi

SMALL = Shape("Small", 12, trials=2, time=40)


def contender(name):
    return next(w for w in backends() if (w.name, w.device) == (name, "cpu"))


def measured(name, workload, dtype="float64"):
    """The record of one sweep."""
    measurement = Measurement(Case(contender(name), BY_NAME[workload], SMALL, dtype))
    measurement.sweep(1e-3, measure.perf_counter_rounds)
    return measurement.record({"copy": 1e10, "float64": 1e10, "float32": 2e10})


def assert_refused(record):
    assert record.state == "refused"
    assert not record.sweeps
    assert record.floor is None
    assert record.timed is None
    assert record.check.error > record.check.tolerance
    assert "off by" in record.reason
    run = Run({"device": "cpu"}, {}, "unknown", "2026-01-01", records=[record])
    (row,) = rows.record_rows(run)
    assert row[4] == f"refused: {record.reason}"
    assert row[5:8] == ["-", "-", "-"]
    assert "seconds" not in json.dumps(row)
    assert rows.speed_rows(run, record.work)[0][3] == "refused"


@pytest.fixture(scope="module")
def broken_sources(tmp_path_factory):
    """A copy of the compiled kernels with one sign flipped."""
    copy = tmp_path_factory.mktemp("broken") / "native"
    shutil.copytree(cpu_build.SOURCES, copy)
    header = copy / "phiid_math.h"
    text, right = header.read_text(), "v.xy_a = v.x_a - v.ya_x * v.on_ya;"
    assert text.count(right) == 1
    header.write_text(text.replace(right, "v.xy_a = v.x_a + v.ya_x * v.on_ya;"))
    return copy


@pytest.fixture
def break_native(broken_sources, monkeypatch):
    """Has the backend `cpu` built from that copy."""

    def use():
        monkeypatch.setattr(cpu_build, "SOURCES", broken_sources)
        monkeypatch.setenv("XDG_CACHE_HOME", str(broken_sources.parent))
        forget()

    def forget():
        cpu_build._digest.cache_clear()
        cpu_library.load.cache_clear()

    yield use
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("workload", [w.name for w in WORKLOADS if w.kind == "gaussian"])
def test_compiled_kernel_with_a_sign_flipped_is_refused(break_native, workload):
    assert measured("cpu", workload).state == "measured"
    break_native()
    assert_refused(measured("cpu", workload))


def closed_form_with(right, wrong):
    """A copy of `kernels.formulas.mmi` with a part replaced."""
    text = Path(mmi.__file__).read_text(encoding="utf-8")
    assert text.count(right) == 1
    copy = types.ModuleType("broken", None)
    copy.__package__ = mmi.__package__
    exec(compile(text.replace(right, wrong), "broken", "exec"), copy.__dict__)
    return copy


FLIPS = [
    ("ya_x = c.ya - c.xy * c.xa", "ya_x = c.ya + c.xy * c.xa"),
    ("joint = xy_a * xy_b - ab_xy * ab_xy", "joint = xy_a * xy_b + ab_xy * ab_xy"),
    ("x_ab = x_a - bx_a * bx_a / future", "x_ab = x_a + bx_a * bx_a / future"),
    ("return -0.5 * xp.log(v.xy_ab * single", "return 0.5 * xp.log(v.xy_ab * single"),
]


@pytest.mark.parametrize("name", ["numpy", "torch"])
@pytest.mark.parametrize("flip", FLIPS, ids=[right[:24] for right, _ in FLIPS])
def test_closed_form_with_a_sign_flipped_is_refused(monkeypatch, name, flip):
    broken = closed_form_with(*flip)
    monkeypatch.setattr(estimators, "mmi", broken)
    assert_refused(measured(name, "MMI rtr+sts"))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["cpu", "numpy", "torch"])
@pytest.mark.parametrize("workload", [w.name for w in WORKLOADS])
def test_right_kernel_gets_a_time_and_its_error(name, workload, dtype):
    record = measured(name, workload, dtype)
    assert record.state == "measured"
    assert len(record.sweeps) == 1
    assert record.check.passed
    assert 0 < record.check.tolerance < 2e-5
    assert record.check.compared >= gate.PAIRS * 2
    assert record.per_decomposition > 0
    assert record.of_roofline > 0
    assert record.timed["pairs"] == 12 * 11 / 2


@pytest.mark.parametrize("wrong", [np.nan, 1e-6])
def test_a_single_wrong_pair_among_those_looked_at_is_found(wrong):
    """Of a peer that takes pairs, and has a wrong value in one atom of each tenth."""
    honest = contender("numpy")
    workload = BY_NAME["MMI 16 atoms"]

    def compute(workload, dtype):
        def call(series, pairs):
            values = honest.values(workload, honest.compute(workload, dtype)(series, pairs))
            values["xts"] = np.where(np.arange(len(pairs)) % 10, values["xts"], wrong)
            return values

        return call

    series = np.random.default_rng(0).normal(size=(1, 60, 8))
    values = compute(workload, "float64")(series, PAIRS)
    assert not gate.check(workload, "float64", series, values, PAIRS[:1]).passed
    others = {atom: value[1:10] for atom, value in values.items()}
    assert gate.check(workload, "float64", series, others, PAIRS[1:10]).passed


PAIRS = np.stack(np.triu_indices(8, 1), -1)


def test_a_time_without_a_passed_check_is_no_record():
    failed = Check(error=1e-3, tolerance=1e-9, compared=8)
    nothing = Check(error=0.0, tolerance=1e-9, compared=0)
    for check in (None, failed, nothing):
        with pytest.raises(ValueError, match="needs a passed check"):
            Record("cpu", "CCS", {"name": "Small"}, "float64", sweeps=((1.0,),), check=check)


def test_what_is_not_installed_is_listed():
    absent = Contender(
        "absent", None, None, frozenset(), lambda: "absent: pip install absent", peer=True
    )
    measurement = Measurement(Case(absent, BY_NAME["CCS"], SMALL))
    measurement.sweep(1.0, measure.perf_counter_rounds)
    record = measurement.record({})
    assert (record.state, record.reason) == ("missing", "absent: pip install absent")
