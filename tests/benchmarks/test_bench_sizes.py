"""Sizes: what is measured, refused and left out, and what the page makes of it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench.cases.workloads import Workload
from bench.harness.records import Run
from bench.page import figures, report
from bench.page import sizes as page
from bench.suites import sizes


def quiet(line):
    del line


def made(nodes, trials, work, seconds, write=1e-3, **more):
    row = {"work": work, "nodes": nodes, "trials": trials, "asked": trials}
    times = {"seconds": [seconds] * 3, "write": [write] * 3, "error": 0.0, "tolerance": 1e-9}
    return row | (times if seconds else {}) | more


def rows_of(nanoseconds, sizes_=(1000, 1024, 1048, 1152), counts=(1, 4, 60)):
    """Rows of so many nanoseconds a (trial, pair), by nodes, work and trials."""
    return [
        made(n, t, w, 1e-9 * nanoseconds(n, w, t) * t * n * (n - 1) / 2)
        for n in sizes_
        for t in counts
        for w in sizes.WORKS
        if t != 4 or n == 1152
    ]


def test_bad_sizes_have_neighbours_and_models_more_trials():
    assert min(sizes.SIZES) == 64
    assert max(sizes.SIZES) == 4096
    assert {1000, 1024, 1048, 2000, 2048, 2096, 4000, 4096} < set(sizes.SIZES)
    assert sizes.trials_of(1152, 60) == (1, 4, 16, 60)
    assert sizes.trials_of(1024, 60) == (1, 60)
    assert sizes.trials_of(270, 4) == (1, 4)


def test_a_row_for_each_work_and_number_of_trials():
    found = sizes.measure(quiet, sizes=(70, 64), most=3, rounds=2)
    assert [(r["nodes"], r["trials"], r["work"]) for r in found] == [
        (n, t, w) for n in (64, 70) for t in (1, 3) for w in sizes.WORKS
    ]
    for row in found:
        assert len(row["seconds"]) == len(row["write"]) == 2
        assert 0 <= row["error"] <= row["tolerance"]
        assert 0 < sizes.each(row, "write") < 1
        assert " ns" in sizes.said(row)


def test_a_wrong_kernel_gets_no_time(monkeypatch):
    right = Workload.decompose

    def wrong(workload, series, pairs=None, **options):
        found = right(workload, series, pairs, **options)
        if len(workload.atoms) == 2:
            return found
        return {atom: found[atom] + 1e-8 for atom in workload.atoms}

    monkeypatch.setattr(Workload, "decompose", wrong)
    rows = list(sizes.rows_of(40, 2, 1))
    for row in rows:
        assert ("seconds" in row) == (row["work"] == "MMI rtr+sts")
        assert ("refused: off by 1.0e-08" in row.get("absent", "")) == ("seconds" not in row)


def test_without_time_all_is_left_out_and_said():
    found = sizes.measure(quiet, sizes=(64, 270), most=60, limit=0)
    assert {row["absent"] for row in found} == {"no time was left"}
    assert len(found) == 2 * (2 + 4)
    lines = page.absent(found)
    assert lines[0] == "64 nodes, 1 trials, MMI rtr+sts: no time was left"


def test_a_size_that_would_take_too_long_is_not_begun(monkeypatch):
    """The last one took 3 of 10 s, and the next has four times its pairs."""
    began, now = [], iter([0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0])

    def of_size(nodes, most, rounds, seconds):
        began.append((nodes, seconds))
        return []

    monkeypatch.setattr(sizes, "_of_size", of_size)
    monkeypatch.setattr(sizes.time, "monotonic", lambda: next(now))
    sizes.measure(quiet, sizes=(64, 128), limit=10)
    assert began == [(64, 10.0), (128, 0)]


def test_fewer_trials_where_memory_is_short(monkeypatch):
    """The call itself needs megabytes; of what is said to be there the suite takes half."""
    outputs = 2 * 16 * 8 * 64**2
    for trials, expected in ((7, 7), (0.5, 0), (1000, 60)):
        available = (outputs + trials * 5 * 8 * 100 * 64 + 1) / sizes.MEMORY_SHARE
        monkeypatch.setattr(sizes, "memory", lambda *_, available=available: int(available))
        assert sizes._fitting(64, 60) == expected
        rows = list(sizes.rows_of(64, 8, 1))
        assert [row["trials"] for row in rows] == [
            1,
            1,
            min(expected or 8, 8),
            min(expected or 8, 8),
        ]
        assert ("no memory for it" in {row.get("absent") for row in rows}) == (expected == 0)
    monkeypatch.setattr(sizes, "memory", lambda *_: None)
    assert sizes._fitting(64, 60) == 60


def test_a_process_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="1 nodes"):
        sizes.measure(quiet, sizes=(1,), most=1, rounds=1)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("nodes", [5, 600])
def test_all_of_the_outputs_is_written(nodes, threads):
    with ThreadPoolExecutor(threads) as pool:
        matrices = sizes.written(pool, threads, 2, nodes)
    assert len(matrices) == 2
    for matrix in matrices:
        np.testing.assert_array_equal(matrix, np.ones((nodes, nodes)))


def test_short_calls_are_repeated_in_a_round(monkeypatch):
    now, turns = [0.0], []

    def call(turn):
        turns.append(turn)
        now[0] += 4e-3

    monkeypatch.setattr(sizes.time, "perf_counter", lambda: now[0])
    assert sizes._rounds(call, 2) == pytest.approx([4e-3, 4e-3])
    assert turns == list(range(1, 12))


def test_cliffs_are_over_the_mean_of_both_neighbours():
    found = rows_of(lambda n, w, t: 30.0 if (n, t) == (1024, 1) else 10.0 * (1 + (n == 1000)))
    (line,) = page.cliffs(found)
    assert line.startswith(
        "1,024 nodes over 1,000 and 1,048: MMI rtr+sts of 1: 2.00 (more than 1.2)"
    )
    assert "MMI 16 atoms of 60: 0.67" in line
    assert page.cliffs([row for row in found if row["nodes"] != 1048]) == []


def test_cost_by_trials():
    found = rows_of(lambda n, w, t: 200.0 / t)
    table = page.trial_rows(found)
    assert table[0] == ["nodes", "work", "1 trial", "4 trials", "60 trials"]
    assert [row[:2] for row in table[1:]] == [["1,152", work] for work in sizes.WORKS]
    # 1 ms of writing is 1.51 ns a pair of one trial.
    assert table[1][2:] == ["200 ns, 130 x", "50.0 ns, 130 x", "3.33 ns, 130 x"]


def test_the_page_shows_rows_what_is_absent_and_a_figure():
    found = [*rows_of(lambda n, w, t: n / 10), made(4096, 60, sizes.WORKS[1], 0, absent="no time")]
    found[-3:-2] = [found[-3] | {"trials": 31, "asked": 60}]
    run = Run({"cores": 2, "processor": "P", "capability": "C"}, {}, "c", "2026-01-01T00:00:00")
    run.versions = dict.fromkeys(("python", "numpy", "torch"), "1")
    text = report.page(report.Results({}, {"sizes": (run, found)}))
    assert "- not measured: 4,096 nodes, 60 trials, MMI 16 atoms: no time" in text
    assert "1,024 nodes over 1,000 and 1,048" in text
    assert "of 31 |" in text
    assert "(figures/sizes.png)" in text
    panels = figures.sizes(found).axes
    assert [axes.get_title() for axes in panels] == list(sizes.WORKS)
    for axes in panels:
        curves = [line for line in axes.lines if len(line.get_xdata()) == 4]
        assert len(curves) == 4
        np.testing.assert_allclose(curves[0].get_ydata(), [100, 102.4, 104.8, 115.2])
