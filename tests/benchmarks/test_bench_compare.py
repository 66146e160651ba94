"""Ratios have intervals that hold what they promise on times with known noise."""

import dataclasses
import math

import numpy as np
import pytest

from bench.harness import compare
from bench.harness.records import Run
from support.bench_records import record


def run(rng, change=1.0, cases=40, sweeps=3, noise=0.05):
    """Times of one second on average, with noise from sweep to sweep."""
    found = Run.start()
    for k in range(cases):
        logs = rng.normal(0, noise, sweeps)
        times = tuple((change * math.exp(x),) for x in logs)
        found.add(record(sweeps=times, shape={"name": f"{k}", "nodes": 101, "trials": 5}))
    return found


def test_no_change_is_within_the_interval_19_times_in_20(rng):
    inside = [
        not ratio.told_apart
        for _ in range(25)
        for ratio in compare.of_files(run(rng), run(rng)).values()
    ]
    # 1,000 cases: the share's standard error is 0.7 %, more as those of a run share their noise.
    assert 0.91 <= np.mean(inside) <= 0.985


def test_a_change_is_seen_with_its_size(rng):
    ratios = compare.of_files(run(rng), run(rng, change=0.5))
    assert all(ratio.told_apart for ratio in ratios.values())
    assert np.median([ratio.value for ratio in ratios.values()]) == pytest.approx(0.5, rel=0.05)
    text = compare.table(ratios)
    assert "faster" in text
    assert "slower" not in text
    assert "B / A of 40 cases: median 0.5" in text


def test_the_interval_of_a_page_holds_a_rerun_19_times_in_20(rng):
    inside = []
    for _ in range(25):
        slow, fast = run(rng, change=100.0), run(rng)
        spread = (
            compare.noise(slow.records)["cpu", "cpu"],
            compare.noise(fast.records)["cpu", "cpu"],
        )
        again = run(rng, change=100.0), run(rng)
        for a, b, c, d in zip(slow.records, fast.records, *(r.records for r in again), strict=True):
            stated = compare.prediction(
                a.per_decomposition / b.per_decomposition, [(s, 3) for s in spread]
            )
            rerun = c.per_decomposition / d.per_decomposition
            inside.append(stated.low <= rerun <= stated.high)
    assert 0.91 <= np.mean(inside) <= 0.985


def test_pairs_of_runs_cancel_what_both_meet(rng):
    """Every pair has its own speed of the machine; the change is 10 %, the drift tenfold."""
    pairs = []
    for _ in range(5):
        drift = math.exp(rng.normal(0, 1))
        pairs.append(tuple(run(rng, drift * change, 1, 1, noise=0.005) for change in (1.0, 0.9)))
    (ratio,) = compare.of_pairs(pairs).values()
    assert ratio.value == pytest.approx(0.9, rel=0.02)
    assert ratio.told_apart


def test_one_pair_of_runs_tells_nothing(rng):
    (ratio,) = compare.of_pairs([(run(rng, cases=1), run(rng, cases=1))]).values()
    assert not ratio.told_apart


@pytest.mark.parametrize(("freedom", "value"), [(1, 12.706), (2, 4.303), (4, 2.776), (30, 2.042)])
def test_student(freedom, value):
    assert compare.student(freedom) == pytest.approx(value, rel=0.01)


def test_files_without_a_case_in_common(rng):
    assert "no case in common" in compare.table(compare.of_files(run(rng), Run.start()))


def run_beside_phyid(rng, change=1.0):
    both = run(rng, change=change)
    names = {"way": "phyid", "peer": True}
    slow = [r for r in run(rng, change=1000.0).records]
    both.records += [dataclasses.replace(r, **names) for r in slow]
    return both


def test_a_rerun_says_how_many_ratios_are_where_they_were_said_to_be(rng, tmp_path):
    """Of every case of two runs of equal machines, and of one that became three times slower."""
    first, second, slower = (run_beside_phyid(rng, change) for change in (1.0, 1.0, 3.0))
    assert len(compare.rerun(first, second)) == 40
    assert np.mean(compare.rerun(first, second)) >= 0.8
    assert not any(compare.rerun(first, slower))
    for name, each in (("a", first), ("b", slower)):
        each.save(tmp_path / name)
    text = compare.main(str(tmp_path / "a"), str(tmp_path / "b"), "", 1, 1.0, print)
    assert text.endswith("ratios to phyid of B inside the interval that A states: 0 of 40")


def test_what_the_machine_did_is_not_taken_for_a_change(rng):
    """All of B, peers too, takes twice as long, and one of two changes made synkern faster by 2."""
    first, second = run_beside_phyid(rng), run_beside_phyid(rng)
    both = [dataclasses.replace(r, sweeps=doubled(r.sweeps)) for r in second.records]
    second.records = both
    assert compare.drift(first, second) == pytest.approx(2, rel=0.05)
    ratios = compare.of_files(first, second)
    assert len(ratios) == 40
    assert np.mean([ratio.told_apart for ratio in ratios.values()]) <= 0.2
    second.records = [
        r if r.peer else dataclasses.replace(r, sweeps=((0.5,) * 3,) * 3) for r in both
    ]
    assert all(ratio.high < 1 for ratio in compare.of_files(first, second).values())


def doubled(sweeps):
    return tuple(tuple(2 * seconds for seconds in rounds) for rounds in sweeps)
