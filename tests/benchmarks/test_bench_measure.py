"""How much of a shape is timed, on which inputs, and what peers are measured against."""

import itertools

import numpy as np
import pytest

from bench.cases import peers, shapes
from bench.cases.contenders import Contender
from bench.cases.shapes import SEEDS, Shape
from bench.cases.workloads import BY_NAME, WORKLOADS
from bench.harness import gate, measure
from bench.harness.measure import Case, Measurement
from synkern import ATOMS
from synkern.kernels.formulas import mmi

SHAPE = Shape("Some", 200, trials=30, time=20)
ROOF = {"copy": 1e10, "float64": 1e10, "float32": 2e10}


class Clock:
    """Stands still but for the work that is done."""

    now = 0.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    return clock


def slow(clock, seconds_a_pair, all_pairs=True, peer=False, call_alone=1e-3):
    """A contender that takes so long for each pair of a trial, and 1 ms a call."""

    def compute(workload, dtype):
        def call(series, pairs):
            trials, _, nodes = series.shape
            count = trials * nodes * (nodes - 1) / 2 if pairs is None else len(pairs)
            clock.now += call_alone + count * seconds_a_pair

        return call

    return Contender("slow", compute, None, frozenset(), all_pairs=all_pairs, peer=peer)


@pytest.mark.parametrize(
    ("each", "trials", "nodes"),
    [(1e-9, 30, 200), (1e-6, 4, 200), (4e-6, 1, 200), (2e-5, 1, 64), (1e-3, 1, 64)],
)
def test_what_takes_too_long_is_scaled_down(clock, each, trials, nodes):
    """Of 30 trials of 200 nodes, 19,900 pairs, 0.1 s a round."""
    case = Case(slow(clock, each, peer=True), BY_NAME["CCS"], SHAPE)
    timed, expected = measure.size(case, case.contender.compute(case.workload, "float64"), 0.1)
    pairs = nodes * (nodes - 1) // 2
    assert timed == {"trials": trials, "nodes": nodes, "pairs": pairs}
    assert expected == pytest.approx(1e-3 + trials * pairs * each, rel=0.1)


@pytest.mark.parametrize(
    ("each", "alone", "trials"),
    [(1e-6, 1e-3, 30), (3.2e-6, 1e-3, 30), (4e-6, 1e-3, 1), (1e-8, 0.08, 30), (1e-9, 1.9, 30)],
)
def test_all_trials_are_timed_where_that_takes_seconds(clock, each, alone, trials):
    """Most of what one trial costs may be the call's, and is not multiplied with the trials."""
    case = Case(slow(clock, each, call_alone=alone), BY_NAME["CCS"], SHAPE)
    budget = max(0.1, 10 * alone)
    timed, expected = measure.size(case, case.contender.compute(case.workload, "float64"), budget)
    assert timed == {"trials": trials, "nodes": 200, "pairs": 19900}
    assert expected == pytest.approx(alone + trials * 19900 * each, rel=0.01)


def test_trials_whose_time_was_told_wrong_are_fewer():
    """From the fifth trial on each takes ten times as long."""
    asked = []

    def once(trials):
        asked.append(trials)
        return 0.01 * trials + 0.09 * max(trials - 4, 0)

    trials, taken = measure._trials(once, 0.01, 30, 0.2, 0.3)
    assert asked[:2] == [4, 30]
    assert trials >= 2
    assert taken <= 0.2
    assert once(trials) <= 2 * 0.2


def test_a_call_that_takes_too_long_has_one_trial():
    assert measure._trials(lambda _: pytest.fail("called"), 0.5, 30, 0.1, 0.4) == (1, 0.5)


def test_peers_that_take_pairs_get_a_sample(clock):
    case = Case(slow(clock, 1e-3, all_pairs=False), BY_NAME["CCS"], SHAPE)
    timed, expected = measure.size(case, case.contender.compute(case.workload, "float64"), 0.05)
    assert timed["trials"] == 1
    assert 24 <= timed["pairs"] <= 50
    assert expected == pytest.approx(1e-3 * (1 + timed["pairs"]))


def test_no_two_rounds_have_the_same_input():
    case = Case(Contender("any", None, None, frozenset()), BY_NAME["CCS"], SHAPE)
    timed = {"trials": 7, "nodes": 100, "pairs": 4950}
    given = []
    for sweep in range(2):
        inputs = measure._Inputs(case, timed, sweep)
        given += [inputs.next()[0] for _ in range(len(SEEDS))]
        assert given[-1] is inputs.given[0]
    for first, second in itertools.pairwise(given):
        assert first.shape == (7, 20, 100)
        assert not (first == second).any()


def test_the_output_of_the_last_round_is_what_is_checked():
    """A contender that is right until the last round, and then has one trial's atoms for all."""
    workload, calls = BY_NAME["MMI rtr+sts"], []
    right = next(p for p in peers.peers() if p.name == "NumPy loop")

    def compute(workload, dtype):
        honest = right.compute(workload, dtype)

        def call(series, pairs):
            calls.append(len(pairs))
            return honest(series, pairs)

        return call

    def rounds(call, setup, count):
        seconds, output = measure.perf_counter_rounds(call, setup, 2)
        return seconds, output[::-1]

    contender = Contender("late", compute, right.values, frozenset(), peer=True, all_pairs=False)
    measurement = Measurement(Case(contender, workload, SHAPE))
    measurement.sweep(1e-3, measure.perf_counter_rounds)
    assert measurement.record(ROOF).state == "measured"
    measurement.sweep(1e-3, rounds)
    assert measurement.record(ROOF).state == "refused"
    assert calls


@pytest.mark.parametrize(
    "name",
    ["NumPy loop", "synkern.calc_PhiID", pytest.param("torch.compile", marks=pytest.mark.proof)],
)
def test_peers_without_a_package_are_right(name):
    contender = next(p for p in peers.peers() if p.name == name)
    assert contender.obstacle() is None
    measurement = Measurement(Case(contender, BY_NAME["MMI rtr+sts"], SHAPE))
    measurement.sweep(1e-3, measure.perf_counter_rounds)
    record = measurement.record(ROOF)
    assert (record.state, record.reason, record.peer) == ("measured", None, True)


def test_every_peer_is_there_or_says_how_to_get_it():
    names = {contender.name: contender.obstacle() for contender in peers.peers()}
    wanted = {
        "phyid",
        "synkern.calc_PhiID",
        "joblib over phyid",
        "omegaid",
        "hoi",
        "NumPy loop",
        "torch.compile",
        "numba",
    }
    assert set(names) == wanted
    for why in names.values():
        assert why is None or "is not installed: " in why


def test_a_peer_that_raises_is_said_to_have_failed():
    def compute(workload, dtype):
        raise RuntimeError("no such function")

    measurement = Measurement(
        Case(Contender("raises", compute, None, frozenset(), peer=True), WORKLOADS[0], SHAPE)
    )
    measurement.sweep(1.0, measure.perf_counter_rounds)
    record = measurement.record(ROOF)
    assert (record.state, record.reason) == ("failed", "RuntimeError: no such function")


def test_truth_of_moments_about_zero(rng):
    """From the closed form on cosines instead of correlations."""
    series = rng.standard_normal((1, 40, 2)) + 0.7
    (x, y), (a, b) = series[0, :-1].T, series[0, 1:].T

    def cosine(u, v):
        return u @ v / np.sqrt((u @ u) * (v @ v))

    c = mmi.Correlations(*(cosine(*p) for p in ((x, y), (a, b), (x, a), (x, b), (y, a), (y, b))))
    expected = mmi.atoms(np, mmi.lambdas(np, c)[0], ATOMS)
    found = gate.expected(BY_NAME["MMI 16 atoms"], series, 0, 1, about_zero=True)
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-13)


def test_operations_and_bytes_grow_as_the_work():
    for workload in WORKLOADS:
        assert workload.operations(200, 100) == 2 * workload.operations(100, 100)
        assert workload.operations(100, 1000) > 3 * workload.operations(100, 100)
        assert workload.bytes(2, 100, 64) > workload.bytes(1, 100, 64)
    assert BY_NAME["CCS"].operations(1, 100) > 10 * BY_NAME["MMI rtr+sts"].operations(1, 100)
    assert BY_NAME["MMI 16 atoms"].bytes(1, 100, 512) > 4 * BY_NAME["MMI rtr+sts"].bytes(
        1, 100, 512
    )


def test_shapes_are_those_of_the_models():
    assert {s.name: s.nodes for s in shapes.SHAPES} == {
        "SmolLM2-135M": 270,
        "Gemma 3 4B": 272,
        "Brain parcellation": 400,
        "Llama 3.1 8B": 1024,
        "Qwen3-8B": 1152,
        "DeepSeek V2 Lite": 1664,
    }
