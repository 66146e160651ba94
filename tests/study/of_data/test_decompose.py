"""Files of series to a folder of results: numbers, what is reused, subjects, gaps and nulls."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import synkern
from synkern.analysis import TrialAverages, persistence_reference
from synkern.data import Dataset
from synkern.study import ArgumentError, DecomposeOptions, StudyError, decompose_data
from synkern.study.of_data import steps
from synkern.study.of_data.controls import excess_at
from synkern.study.of_data.preparing import prepared
from synkern.study.of_data.surrogates import Chosen, chosen, scopes, surrogate

QUICK = {"progress": False, "bootstrap": 100, "null_draws": 19}


def made(trials=6, time=60, nodes=5, seed=0, **more):
    """Autoregressive nodes with something in common."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((trials, time, nodes)) + 0.5 * rng.standard_normal(
        (trials, time, 1)
    )
    series = np.zeros((trials, time, nodes))
    for t in range(1, time):
        series[:, t] = 0.6 * series[:, t - 1] + noise[:, t]
    given = {
        "node_names": tuple(f"n{k}" for k in range(nodes)),
        "trial_names": tuple(f"t{k}" for k in range(trials)),
        "sources": ("made.npy",),
    }
    return Dataset(**{"series": series, **given, **more})


def rows_of(file):
    return list(csv.DictReader(file.read_text().splitlines()))


def test_the_atoms_are_those_of_the_call(tmp_path):
    data = made()
    found = decompose_data(data, out=tmp_path / "out", tau=(1, 2), atoms=("all",), **QUICK)
    for tau in (1, 2):
        expected = synkern.phiid(data.series, tau=tau, atoms="all")
        for atom in expected:
            np.testing.assert_allclose(found.at(tau)[atom], expected[atom], rtol=0, atol=1e-12)
        scores = synkern.node_scores(expected)
        np.testing.assert_allclose(found.at(tau)["node_mean_difference"], scores.score, atol=1e-12)
    result = synkern.phiid(data.series, average=None, atoms=("sts",))
    excess = result.excess(persistence_reference(data.series, average=None, atoms=("sts",)))
    expected = excess.trial_mean()["sts"]
    np.testing.assert_allclose(found.at(1)["excess_sts"], expected, atol=1e-12)


def test_a_null_of_trials_is_that_of_the_call(tmp_path):
    data = made()
    found = decompose_data(data, out=tmp_path / "out", **QUICK)
    assert found.description["null"]["name"] == "cross_trial"
    expected = synkern.null_test(data.series, "cross_trial", n=19)
    np.testing.assert_allclose(found.at(1)["sts"], expected.observed["sts"], atol=1e-12)
    # Other random numbers, but the same mean up to those.
    sd = expected.null_sd["sts"] * np.sqrt(2 / 19)
    apart = np.abs(found.at(1)["null_sts_mean"] - expected.null_mean["sts"]) / sd
    assert np.nanmax(apart) < 5


def test_subjects_count_once_however_many_trials_they_have(tmp_path):
    subjects = ("a", "a", "a", "a", "b", "c")
    data = made(subjects=subjects)
    found = decompose_data(data, out=tmp_path / "out", keep_subjects=True, **QUICK)
    each = synkern.phiid(data.series, average=None)["sts"]
    of = [each[:4].mean(0), each[4], each[5]]
    np.testing.assert_allclose(found.at(1)["unit_sts"], of, atol=1e-12)
    np.testing.assert_allclose(found.at(1)["sts"], np.mean(of, 0), atol=1e-12)
    assert found.data["units"] == ["a", "b", "c"]
    assert found.to_xarray()["unit_sts"].dims == ("tau", "subject", "x", "y")
    # Trials of other subjects cannot take the place of the only one of b.
    assert found.description["null"]["name"] == "row_shift"
    assert "subject 'b' has one trial" in found.description["null"]["why"]


@pytest.mark.filterwarnings("ignore")  # of a constant node
def test_subjects_are_averaged_as_the_library_does_it(tmp_path):
    """Also where a pair has a value in some trials of a subject alone, or in none."""
    subjects = ("a", "a", "a", "b", "b", "c")
    data = made(subjects=subjects)
    data.series[[0, 3, 4], :, 2] = 1.0
    quick = {"progress": False, "bootstrap": 100, "null": "none"}
    found = decompose_data(data, out=tmp_path / "out", keep_subjects=True, **quick)
    each = synkern.phiid(data.series, average=None)
    averages = TrialAverages.of([each]).of_subjects(subjects)
    for atom, expected in averages.mean().items():
        if atom in ("sts", "rtr"):
            np.testing.assert_allclose(found.at(1)[atom], expected, rtol=1e-12)
    alone = averages.weighted(np.eye(3))["sts"]
    assert np.isnan(alone[1, 2, 0])
    np.testing.assert_allclose(found.at(1)["unit_sts"], alone, rtol=1e-12)


def test_the_trials_of_a_subject_change_places_within_it(tmp_path):
    offset = np.repeat([0.0, 100.0], 4)[:, None, None]
    data = made(trials=8, subjects=("a",) * 4 + ("b",) * 4)
    data = replace(data, series=data.series + offset)
    options = DecomposeOptions(data, out=tmp_path / "out")
    recording = prepared(options, data)
    assert chosen(options, recording).name == "cross_trial"
    given = scopes(recording, 1, "cross_trial")
    drawn = surrogate(given, "cross_trial", np.random.default_rng(0))
    for before, after, level in zip(given, drawn, (0.0, 100.0), strict=True):
        assert np.abs(after[0].series - level).max() < 50
        assert not np.array_equal(before[0].series, after[0].series)
        # Every node keeps all its trials whole.
        for node in range(5):
            old, new = (sorted(map(tuple, b[0].series[..., node])) for b in (before, after))
            assert old == new
    found = decompose_data(data, out=tmp_path / "out", **QUICK)
    assert found.description["null"]["name"] == "cross_trial"


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_masks_are_obeyed(kind, tmp_path):
    mask = np.ones((6, 60), bool)
    mask[0, 20:25] = mask[2, 50:] = False
    spoilt = made().series
    spoilt[~mask] = 1e6
    data = made(mask=mask, series=spoilt)
    found = decompose_data(data, out=tmp_path / "out", kind=kind, **QUICK)
    expected = synkern.phiid(made().series, mask=mask, kind=kind)
    np.testing.assert_allclose(found.at(1)["sts"], expected["sts"], atol=1e-12)
    assert found.unit == expected.unit
    assert found.data["left_out"] == 15


@pytest.mark.parametrize("average", ["moments", "concatenate"])
def test_pooled_trials(average, tmp_path):
    mask = np.ones((6, 60), bool)
    mask[1, 40:] = False
    data = made(mask=mask)
    found = decompose_data(data, out=tmp_path / "out", average=average, **QUICK)
    expected = synkern.phiid(data.series, mask=mask, average=average)
    np.testing.assert_allclose(found.at(1)["sts"], expected["sts"], atol=1e-12)
    assert found.at(1)["interval_synergy"].shape == (5, 2)
    assert "pools the trials" in found.description["null"]["why"]
    assert "they were pooled" in found.description["excess_absent"]


@pytest.mark.parametrize(
    ("pairs", "kept"), [("within", "01 23"), ("between", "02 03 12 13"), ("bipartite", "02 12")]
)
def test_chosen_pairs(pairs, kept, tmp_path):
    groups = ("g", "g", "h", "h" if pairs != "bipartite" else "k", "")
    sides = ("g", "h") if pairs == "bipartite" else None
    data = made(groups=groups)
    found = decompose_data(data, out=tmp_path / "out", pairs=pairs, sides=sides, **QUICK)
    whole = synkern.phiid(data.series)["sts"]
    expected = np.full((5, 5), np.nan)
    for i, j in (map(int, pair) for pair in kept.split()):
        expected[i, j] = expected[j, i] = whole[i, j]
    np.testing.assert_allclose(found.at(1)["sts"], expected, atol=1e-12)
    assert found.data["pairs"] == len(kept.split())
    rows = rows_of(found.out / "pairs.csv")
    assert len(rows) == len(kept.split())
    assert (found.facts(1, "null"), found.facts(1, "excess")) != ({}, {})


def test_a_mean_over_pairs_is_one_of_pairs_not_of_nodes(tmp_path):
    data = made(groups=("g", "g", "h", "h", "h"))
    found = decompose_data(data, out=tmp_path / "out", pairs="within", **QUICK)
    arrays = found.at(1)
    upper = np.triu_indices(5, 1)
    for name, matrix in (
        ("synergy", arrays["sts"]),
        ("redundancy", arrays["rtr"]),
        ("mean_difference", arrays["sts"] - arrays["rtr"]),
    ):
        mean = found.facts(1)["means"][name]
        assert mean["value"] == pytest.approx(np.nanmean(matrix[upper]), rel=1e-5)
        assert mean["interval"][0] < mean["value"] < mean["interval"][1]
    mean = found.facts(1, "excess")["mean"]["value"]
    assert mean == pytest.approx(np.nanmean(arrays["excess_sts"][upper]), rel=1e-5)
    of_nodes = found.facts(1)["means"]["persistence"]["value"]
    assert of_nodes == pytest.approx(arrays["node_persistence"].mean(), rel=1e-5)


def test_the_excess_is_set_against_that_of_as_many_samples(tmp_path):
    """Trials that lack other samples each have few in common, from which it is lower."""
    rng = np.random.default_rng(0)
    mask = np.ones((20, 200), bool)
    for row in mask:
        row[rng.permutation(200)[:3]] = False
    series = rng.standard_normal((20, 200, 12))
    for t in range(1, 200):
        series[:, t] += 0.8 * series[:, t - 1]
    data = made(trials=20, time=200, nodes=12, mask=mask, series=series)
    options = DecomposeOptions(data, out=tmp_path, device="cpu", **QUICK)
    null = Chosen("cross_trial", "")
    arrays, facts = excess_at(options, prepared(options, data), 1, null)
    assert facts["unrelated_null"] == "row_shift"
    # Unrelated nodes; by the samples in common, two thirds of all, it would be a quarter lower.
    assert facts["unrelated"] == pytest.approx(np.nanmean(arrays["excess_sts"]), rel=0.1)
    whole = replace(data, mask=None)
    _, facts = excess_at(options, prepared(options, whole), 1, null)
    assert facts["unrelated_null"] == "cross_trial"


def test_steps_before_change_the_series_and_their_mask(tmp_path):
    mask = np.ones((6, 60), bool)
    mask[3, 10] = False
    data = made(mask=mask)
    found = decompose_data(
        data,
        out=tmp_path / "out",
        detrend="difference",
        null="none",
        **{k: v for k, v in QUICK.items() if k != "null_draws"},
    )
    steps = np.diff(data.series, axis=1)
    expected = synkern.phiid(steps, mask=mask[:, 1:] & mask[:, :-1])["sts"]
    np.testing.assert_allclose(found.at(1)["sts"], expected, atol=1e-9)


def test_unrelated_nodes_with_gaps_are_rarely_called_related(tmp_path):
    """`row_shift` under a mask: of 780 pairs of white noise, p <= 0.05 in about 5 %."""
    rng = np.random.default_rng(1)
    mask = np.ones((1, 300), bool)
    mask[0, rng.permutation(300)[:60]] = False
    data = made(trials=1, time=300, nodes=40, mask=mask, series=rng.standard_normal((1, 300, 40)))
    found = decompose_data(data, out=tmp_path / "out", **{**QUICK, "null_draws": 99})
    assert found.description["null"]["name"] == "row_shift"
    share = found.facts(1, "null")["atoms"]["sts"]["share_p"]
    # Pairs share nodes, so that the share varies more than by 780 coins: 0.008 twice over.
    assert 0.01 < share < 0.1


def test_one_recording_has_no_intervals(tmp_path):
    found = decompose_data(made(trials=1), out=tmp_path / "out", **QUICK)
    assert not [name for name in found.arrays if "interval" in name]
    assert "without intervals" in found.description["summary"][2]


def test_shifts_of_one_recording_give_no_smaller_p_than_there_are_shifts(tmp_path):
    quick = {**QUICK, "null_draws": 299}
    found = decompose_data(made(trials=1), out=tmp_path / "one", null="row_shift", **quick)
    assert found.facts(1, "null")["smallest_p"] == 2 / 59
    found = decompose_data(made(trials=2), out=tmp_path / "two", null="row_shift", **quick)
    assert found.facts(1, "null")["smallest_p"] == 2 / 300


def test_what_is_there_is_reused_and_what_changed_is_not(tmp_path):
    data, out = made(), tmp_path / "out"
    first = decompose_data(data, out=out, **QUICK)
    assert first.reused == ()
    again = decompose_data(data, out=out, **QUICK)
    assert again.reused == ("decomposition (lag 1)", "excess (lag 1)", "null (lag 1)")
    assert again.arrays.keys() == first.arrays.keys()
    more = decompose_data(data, out=out, tau=(2, 1), **QUICK)
    assert more.reused == again.reused
    other = replace(data, series=data.series + np.eye(60, 5))
    assert decompose_data(other, out=out, **QUICK).reused == ()
    drawn = decompose_data(other, out=out, **{**QUICK, "null_draws": 29})
    assert drawn.reused == ("decomposition (lag 1)", "excess (lag 1)")


def test_a_run_that_is_killed_leaves_a_folder_to_go_on_from(tmp_path, monkeypatch):
    data, out = made(), tmp_path / "out"

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "null_at", interrupted)
    with pytest.raises(KeyboardInterrupt):
        decompose_data(data, out=out, **QUICK)
    monkeypatch.undo()
    found = decompose_data(data, out=out, **QUICK)
    assert found.reused == ("decomposition (lag 1)", "excess (lag 1)")


def test_a_plan_writes_nothing(tmp_path):
    plan = decompose_data(made(), out=tmp_path / "out", plan=True, **QUICK)
    assert plan.report is None
    assert not (tmp_path / "out").exists()
    # 6 trials: once, twice for the excess and ten times for that of surrogates, 20 for the null.
    assert f"{6 * (1 + 12 + 20) * 10:,} decompositions" in plan.summary()[1]


def test_too_much_for_memory_is_refused_before(tmp_path, monkeypatch):
    monkeypatch.setattr("synkern._memory.available", lambda array=None: 1000)
    with pytest.raises(StudyError, match=r"take about .* of memory, and 1 kB are available; read"):
        decompose_data(made(), out=tmp_path / "out", **QUICK)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({}, {"pairs": "within"}, "pairs = 'within' needs the group of each node"),
        ({}, {"tau": (58,)}, "trial 't0' of made.npy has 60 valid samples.*leave 2 pairs"),
        ({}, {"tau": (1, 1)}, "names a lag twice"),
        ({}, {"atoms": ("sts", "xyz")}, "xyz"),
        ({"trials": 1}, {"null": "cross_trial"}, "there is one trial.*use row_shift or circular"),
        ({"groups": ("a", "b", "c", "c", "c")}, {"pairs": "bipartite"}, "3 .a, b, c.; say which"),
        ({}, {"sides": ("a", "b")}, "sides = .* say nothing of pairs = 'all'"),
        ({"nodes": 1}, {}, "made.npy has 1 node; pairs need at least 2"),
        ({}, {"backend": "none"}, "backend"),
        ({}, {"device": "nowhere"}, "device = 'nowhere'"),
        ({}, {"null": "none"}, "nothing is drawn"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(given, options, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        decompose_data(made(**given), out=tmp_path / "out", **{**QUICK, **options})
    assert not (tmp_path / "out").exists()


def test_the_folder_of_a_study_is_not_taken_for_one_of_data(tmp_path):
    (tmp_path / "study.npz").write_bytes(b"")
    with pytest.raises(StudyError, match=r"holds 'study.npz' but no result.npz"):
        decompose_data(made(), out=tmp_path, **QUICK)


def test_what_is_written_agrees(tmp_path):
    where = np.arange(15.0).reshape(5, 3)
    data = made(groups=("a", "a", "b", "b", ""), coordinates=where, space="scanner", step=2.0)
    found = decompose_data(data, out=tmp_path / "out", **QUICK)
    rows = rows_of(found.out / "nodes.csv")
    assert [row["node"] for row in rows] == list(data.node_names)
    assert [row["group"] for row in rows] == list(data.groups)
    assert [float(row["z"]) for row in rows] == list(where[:, 2])
    synergy = [float(row["synergy"]) for row in rows]
    np.testing.assert_allclose(synergy, found.at(1)["node_synergy"], rtol=1e-8)
    best = [row["node"] for row in rows if float(row["mean_difference_rank"]) == 1]
    assert found.top(1)[:1] == best
    pairs = rows_of(found.out / "pairs.csv")
    atoms = [float(row["sts"]) for row in pairs]
    assert atoms == sorted(atoms, reverse=True)
    told = json.loads((found.out / "result.json").read_text())
    assert told["summary"] == found.description["summary"]
    assert "lag 1 sample (2 s)" in told["summary"][0]
