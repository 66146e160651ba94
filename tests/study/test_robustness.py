"""`synkern robustness`: the recording of a finished study, taken apart in other ways."""

import json
import shutil

import numpy as np
import pytest

import synkern
from support import tiny_study
from synkern.analysis import RANKINGS, TrialAverages, layer_profiles, node_scores
from synkern.analysis.averages import PooledAverages
from synkern.cli import main
from synkern.decomposition import PREPROCESSING
from synkern.study import ArgumentError, run_robustness
from synkern.study.experiments.robustness import variants as robustness_variants
from synkern.study.experiments.robustness.experiment import Robustness
from synkern.study.numerals import rounded
from synkern.study.stages.statistics import rank_correlation

QUICK = {"bootstrap": 100, "progress": False}
BEYOND = "less persistence"


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A finished study with a robustness table; not to be changed."""
    out = shutil.copytree(finished.out, tmp_path_factory.mktemp("made") / "study")
    return run_robustness(out=out, **QUICK)


def rows(outcome):
    return {row["name"]: row for row in outcome.facts["rows"]}


def place(outcome, name):
    return list(rows(outcome)).index(name)


def test_every_option_is_changed_by_itself(made):
    expected = ["as studied", "tau 2", "tau 3", "tau 4", "tau 5", "kind discrete"]
    expected += [f"detrend {step}" for step in ("linear", "quadratic", "difference", "copula")]
    expected += ["redundancy CCS", "average moments", "average concatenate"]
    assert list(rows(made)) == [n for v in expected for n in (v, f"{v}, {BEYOND}")]
    assert made.facts["rankings"] == [*RANKINGS, "synergy"]


def test_the_first_row_is_the_study_itself(made, finished):
    own = rows(made)["as studied"]["rankings"]
    for ranking in (*RANKINGS, "synergy"):
        profile = finished.profiles["trained"][ranking]
        assert own[ranking]["quadratic_term"] == rounded(profile.quadratic)
        assert own[ranking]["inverted_u"] == profile.inverted_u
        assert own[ranking]["nodes"] == own[ranking]["layers"] == 1.0


def test_beyond_persistence_synergy_is_the_excess_of_the_study(made, finished):
    found = made.arrays["scores"][place(made, f"as studied, {BEYOND}"), -1]
    kept = finished.profiles["trained"]["excess_synergy"].scores
    # Here a pair counts where both atoms have a reference, which is where synergy has one.
    np.testing.assert_allclose(found, kept, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "step"),
    [
        ("tau 3", {"tau": 3}, None),
        ("kind discrete", {"kind": "discrete"}, None),
        ("redundancy CCS", {"redundancy": "CCS"}, None),
        ("detrend copula", {}, "copula"),
        ("average moments", {"average": "moments"}, None),
    ],
)
def test_a_variant_is_what_its_options_give(made, finished, name, options, step):
    series, layer = finished.arrays["trained_series"], finished.arrays["trained_layer"]
    series = PREPROCESSING[step](series) if step else series
    if "average" in options:
        averages = PooledAverages.of(series, lambda drawn: synkern.phiid(drawn, **options))
    else:
        averages = TrialAverages.of([synkern.phiid(series, average=None, **options)])
    profiles = layer_profiles(averages, layer, bootstrap=100, seed=0)
    told = rows(made)[name]["rankings"]
    for column, ranking in enumerate(RANKINGS):
        expected, row = profiles[ranking], place(made, name)
        np.testing.assert_allclose(made.arrays["scores"][row, column], expected.scores, atol=1e-12)
        interval = made.arrays["quadratic_interval"][row, column]
        np.testing.assert_allclose(interval, expected.quadratic_interval, atol=1e-12)
        own = finished.profiles["trained"][ranking]
        assert told[ranking]["nodes"] == rank_correlation(expected.scores, own.scores)
        assert told[ranking]["layers"] == rank_correlation(expected.mean, own.mean)


def test_persistence_is_taken_off_both_atoms(made, finished):
    series = finished.arrays["trained_series"]
    beyond = synkern.phiid(series, tau=2, average=None).excess(
        synkern.persistence_reference(series, tau=2, average=None)
    )
    averages = TrialAverages.of([{name: beyond[name] for name in ("sts", "rtr")}])
    mean = averages.mean()
    expected = averages.scored(mean, "mean_difference")
    row = place(made, f"tau 2, {BEYOND}")
    np.testing.assert_allclose(made.arrays["scores"][row, 0], expected, atol=1e-12)


def test_what_cannot_be_computed_says_why(made):
    told = rows(made)
    for name in ("kind discrete", "redundancy CCS", "average moments"):
        found = told[f"{name}, {BEYOND}"]["rankings"]["mean_difference"]
        assert "the persistence reference" in found["absent"]
        assert np.isnan(made.arrays["quadratic"][place(made, f"{name}, {BEYOND}")]).all()
    balance = told[f"tau 2, {BEYOND}"]["rankings"]["balance"]["absent"]
    assert "can be 0 or negative" in balance
    page = made.report.read_text("utf-8")
    assert "not computed: the persistence reference exists for kind gaussian" in page


def test_idle_nodes_have_no_gaussian_and_short_answers_no_long_lag():
    settings = tiny_study.settings_of(
        nodes="experts", signal="weighted", kind="discrete", new_tokens=9, out="x"
    )

    class Study:
        pass

    study = Study()
    study.settings = settings
    variants = {v.name: v for v in robustness_variants.variants_of(settings, (1, 5))}
    for name, why in (
        ("kind gaussian", "no Gaussian can be fitted to mostly zeros"),
        ("tau 5", "at least 5 are needed"),
        ("detrend linear", "it moves these zeros"),
    ):
        found = list(robustness_variants.rows_of(study, variants[name], None))
        assert [row.reference for row in found] == [False, True]
        assert all(why in row.absent["mean_difference"] for row in found)


def test_the_finding_names_the_least_alike_and_counts(made):
    told = rows(made)
    own = told["as studied"]["rankings"]["mean_difference"]
    others = {
        name: row["rankings"]["mean_difference"]
        for name, row in told.items()
        if not row["reference"] and name != "as studied"
    }
    least = min(others, key=lambda name: others[name]["layers"])
    agreeing = sum(row["inverted_u"] is True for row in others.values())
    finding = made.summary()[0]
    assert finding.startswith("Robustness: by mean difference, the study's own profile is")
    assert f"{agreeing} of 12 profiles are inverted Us" in finding
    assert f"least like the study's own over the layers is {least} (rank" in finding
    assert "rows cannot be computed for this study" in finding
    assert own["absent"] is None
    described = json.loads((made.out / "study.json").read_text("utf-8"))
    assert described["summary"][-1] == finding


def test_an_interrupted_table_goes_on_with_the_next_variant(copy, monkeypatch, made):
    began, rows_of = [], robustness_variants.rows_of

    def stopping(study, variant, options):
        if len(began) == 3:
            raise KeyboardInterrupt
        began.append(variant.name)
        yield from rows_of(study, variant, options)

    monkeypatch.setattr("synkern.study.experiments.robustness.experiment.rows_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_robustness(out=copy, **QUICK)
    assert list(copy.glob(".partial-robustness-*"))
    monkeypatch.setattr("synkern.study.experiments.robustness.experiment.rows_of", rows_of)
    monkeypatch.setattr(Robustness, "plan", lambda *given: began.clear() or "go on")
    again = run_robustness(out=copy, **QUICK)
    assert not list(copy.glob(".partial-*"))
    assert len(again.facts["seconds"]) == 13 - 3
    for name, array in made.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)
    assert run_robustness(out=copy, **QUICK).reused


@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "foreign", "other words"])
def test_a_damaged_table_is_begun_again_and_this_is_said(damage, finished, tmp_path):
    file, said = tmp_path / ".partial-robustness-0", []
    profiles = {name: finished.profiles["trained"][name] for name in RANKINGS}
    row = robustness_variants.Row("tau 2", False, profiles, {})
    robustness_variants.Kept(file, said.append).add([row])
    (back,) = robustness_variants.Kept(file, said.append).rows
    assert list(back.profiles) == list(RANKINGS)
    assert said == []
    foreign = tmp_path / "other.npz"
    np.savez(foreign, rows=np.array('[{"variant": "tau 2"}]'))
    whole = file.read_bytes()
    middle = len(whole) // 2
    content = {
        "empty": b"",
        "cut": whole[:middle],
        "changed": whole[:middle] + bytes(64) + whole[middle + 64 :],
        "foreign": b"notes",
        "other words": foreign.read_bytes(),
    }[damage]
    file.write_bytes(content)
    kept = robustness_variants.Kept(file, said.append)
    assert kept.rows == []
    assert len(said) == 1
    assert f"{str(file)!r} was changed or damaged (" in said[0]
    kept.add([row])
    assert len(robustness_variants.Kept(file, said.append).rows) == 1


def test_it_needs_no_model(copy, made, monkeypatch):
    def absent(*given):
        raise AssertionError("loaded")

    monkeypatch.setattr("synkern.models.load", absent)
    found = run_robustness(out=copy, taus=[2], **QUICK)
    assert list(rows(found))[:4] == list(rows(made))[:4]
    assert "tau 3" not in rows(found)


def test_the_command_prints_the_table(made, capsys):
    words = ["robustness", "--out", str(made.out), "--bootstrap", "100", "--quiet"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "mean difference (as published): quadratic term" in printed
    assert f"redundancy CCS, {BEYOND}" in printed
    assert main([*words[:3], "--taus", "0"]) == 2
    assert "taus = 0; give an integer of at least 1" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="bootstrap = 3"):
        run_robustness(out=made.out, bootstrap=3)


def test_scores_are_in_the_order_of_the_nodes(made, finished):
    series = finished.arrays["trained_series"]
    score = node_scores(synkern.phiid(series, tau=2), "mean_difference").score
    np.testing.assert_allclose(made.arrays["scores"][place(made, "tau 2"), 0], score, atol=1e-12)
