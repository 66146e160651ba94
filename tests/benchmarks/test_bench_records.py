"""Records come back from a file as they went in, and say what was timed of a shape."""

import numpy as np
import pytest

from bench.harness.records import Run
from bench.page import rows
from support.bench_records import record


def test_a_file_gives_back_what_it_was_given(tmp_path):
    run = Run.start()
    run.roofline = {"copy": 1e10, "float64": 1e11, "float32": 2e11}
    run.tables["other"] = {"a": [1, 2.5, None]}
    run.add(record())
    run.add(record("phyid", (), state="missing", reason="not installed", timed=None, check=None))
    run.save(tmp_path / "run.json")
    again = Run.load(tmp_path / "run.json")
    assert again == run
    assert again.records[0].check.passed


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"format": 0, "records": []}')
    with pytest.raises(ValueError, match="format 1; measure it again"):
        Run.load(path)


def test_numbers_of_a_record():
    r = record()
    assert r.decompositions == 5 * 5050
    np.testing.assert_allclose(r.medians, [2 / 25250, 2 / 25250])
    assert r.per_decomposition == pytest.approx(2 / 25250)
    assert r.seconds == 2
    assert r.of_roofline == pytest.approx(0.25)
    assert r.spread == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("timed", "said"),
    [
        ({"trials": 60, "nodes": 1000, "pairs": 499_500}, None),
        ({"trials": 5, "nodes": 1000, "pairs": 499_500}, "5 of 60 trials"),
        ({"trials": 1, "nodes": 64, "pairs": 2016}, "1 of 60 trials, 64 of 1,000 nodes"),
        ({"trials": 1, "nodes": 1000, "pairs": 8}, "1 of 60 trials, 8 of 499,500 pairs"),
    ],
)
def test_what_was_not_timed_is_said(timed, said):
    assert record(timed=timed).scaled == said


def test_one_record_a_case():
    run = Run.start()
    run.add(record(floor=1.0))
    run.add(record(floor=0.5))
    run.add(record("numpy"))
    assert [(r.way, r.floor) for r in run.records] == [("cpu", 0.5), ("numpy", 0.5)]


@pytest.mark.parametrize(
    ("trials", "peer", "said"), [(60, False, ""), (5, False, " * (5)"), (5, True, " *")]
)
def test_how_many_trials_a_time_is_of_stands_beside_it(trials, peer, said):
    timed = {"trials": trials, "nodes": 1000, "pairs": 499_500}
    run = Run({"device": "cpu"}, {}, "unknown", "2026-01-01")
    run.add(record("phyid" if peer else "cpu", timed=timed, peer=peer))
    run.add(record("numpy"))
    row = rows.speed_rows(run, "CCS")[0]
    cell = row[2] if peer else row[3]
    assert cell.endswith("s" + said)
