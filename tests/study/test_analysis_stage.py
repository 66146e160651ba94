"""The analysis of a study: excess synergy, correlations over heads, counts of what it met."""

import warnings
from itertools import combinations, product

import numpy as np
import pytest

import synkern
from support import tiny_study
from synkern.analysis.scores import RANKINGS
from synkern.study.stages.excess import excess_averages, unrelated
from synkern.study.stages.statistics import rank_correlation


def test_the_excess_is_that_of_every_prompt_averaged(finished):
    for weights in ("trained", "random"):
        norms = finished.arrays[f"{weights}_series"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pairs without a reference
            reference = synkern.persistence_reference(norms, average=None)
            beyond = synkern.phiid(norms, average=None).excess(reference)["sts"]
        known = np.isfinite(beyond)
        mean = np.where(known, beyond, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        found = finished.arrays[f"{weights}_excess_sts"]
        np.testing.assert_allclose(found, mean, atol=1e-12)
        np.testing.assert_array_equal(finished.arrays[f"{weights}_excess_trials"], known.sum(0))
        profile = finished.profiles[weights]["excess_synergy"]
        np.testing.assert_allclose(profile.scores, np.nanmean(mean, axis=1), atol=1e-12)
        facts = finished.description["stages"][f"analysis ({weights})"]["excess"]
        assert facts["missing"] == 5 * 28 - known.sum() // 2
        assert facts["missing_share"] == pytest.approx(profile.missing_share)
        assert facts["complete"] == (facts["missing"] <= 0.05 * 140)
        result = finished.description["results"][weights]["excess_synergy"]
        assert result["inverted_u"] == (profile.inverted_u if facts["complete"] else None)
        raw = finished.profiles[weights]["synergy"].scores
        np.testing.assert_allclose(raw, np.nanmean(finished.arrays[f"{weights}_sts"], axis=1))


def ar1(rng, *, coefficient, shape=(6, 60, 6)):
    series = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        series[:, t] += coefficient * series[:, t - 1]
    return series


def test_excess_in_chunks_of_trials_is_excess_in_one(rng):
    series = ar1(rng, coefficient=0.8)
    whole = excess_averages(tiny_study.settings_of(), series)
    # One trial at a time.
    chunks = excess_averages(tiny_study.settings_of(), series, chunk_bytes=1)
    np.testing.assert_allclose(chunks.atoms["excess"], whole.atoms["excess"], atol=1e-12)


def test_unrelated_heads_keep_their_series_and_lose_their_partners(rng):
    series = rng.standard_normal((40, 7, 6))
    paired = unrelated(series, seed=1)
    origin = (paired[:, None] == series[None]).all(2)  # [40, 40, 6]: from which trial
    assert (origin.sum(1) == 1).all()
    assert (origin.sum(0) == 1).all()
    taken = origin.argmax(1)
    together = [np.mean(taken[:, i] == taken[:, j]) for i in range(6) for j in range(i)]
    assert np.mean(together) < 0.1  # by chance, 1 in 40
    assert not np.array_equal(paired, unrelated(series, seed=2))


def test_what_is_missing_is_told_from_the_rest(rng):
    # Three nodes that follow a trend closely, but not alike, beside three that do not.
    series = ar1(rng, coefficient=0.3)
    slopes = np.array([4.0, 40, 400, 0, 0, 0])
    series += slopes * np.linspace(-1, 1, 60)[:, None]
    arrays, facts = tiny_study.analysed(series, [0, 0, 1, 1, 2, 2])
    found = facts["excess"]
    lost = 6 - arrays["excess_trials"][np.triu_indices(6, 1)]
    assert found["missing"] == lost.sum() > 0
    assert not found["complete"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pairs without a reference
        reference = synkern.persistence_reference(series, average=None)["sts"]
    sts = synkern.phiid(series, average=None)["sts"]
    groups = {"with": [], "without": []}
    for trial, i, j in product(range(6), range(6), range(6)):
        if i < j:
            group = "with" if np.isfinite(reference[trial, i, j]) else "without"
            drift = [abs(np.corrcoef(series[trial, :, k], np.arange(60))[0, 1]) for k in (i, j)]
            groups[group].append((sts[trial, i, j], np.mean(drift)))
    for group, values in groups.items():
        expected = np.mean(values, axis=0)
        assert [found[f"{name}_{group}"] for name in ("sts", "drift")] == pytest.approx(
            expected, abs=1e-6
        )
    assert found["drift_without"] > found["drift_with"]
    assert any("have no persistence reference" in warning for warning in facts["warnings"])


def test_an_excess_that_cannot_be_had_leaves_the_rest(rng):
    # Nodes that follow one trend, each more closely than the last: no two AR(1) nodes do.
    series = ar1(rng, coefficient=0.3)
    series += np.array([20.0, 40, 80, 160, 320, 640]) * np.linspace(-1, 1, 60)[:, None]
    arrays, facts = tiny_study.analysed(series, np.arange(6) // 2)
    assert "no pair of the 6 nodes" in facts["excess"]["absent"]
    assert not any("excess" in name for name in arrays)
    assert np.isfinite(arrays["sts"][0, 1])


def ranks(values):
    """Ranks from 1, ties at their mean, by counting."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def test_autocorrelations_and_rank_correlations_are_what_they_say(finished):
    for weights in ("trained", "random"):
        arrays = {n.removeprefix(f"{weights}_"): a for n, a in finished.arrays.items()}
        norms = arrays["series"].astype(float)
        own = [
            np.mean([np.corrcoef(trial[:-1, node], trial[1:, node])[0, 1] for trial in norms])
            for node in range(8)
        ]
        np.testing.assert_allclose(arrays["autocorrelation"], own, rtol=1e-9)
        columns = {
            "synergy": np.nanmean(arrays["sts"], axis=1),
            "redundancy": np.nanmean(arrays["rtr"], axis=1),
            "autocorrelation": own,
        } | dict(zip(RANKINGS, arrays["profile_scores"], strict=False))
        found = finished.description["stages"][f"analysis ({weights})"]["correlations"]
        columns["excess synergy"] = np.nanmean(arrays["excess_sts"], axis=1)
        pairs = [
            *combinations(list(columns)[:3], 2),
            *combinations(RANKINGS, 2),
        ]
        pairs += [("excess synergy", other) for other in ("synergy", "autocorrelation")]
        assert set(found) == {", ".join(pair) for pair in pairs}
        for a, b in pairs:
            expected = np.corrcoef(ranks(columns[a]), ranks(columns[b]))[0, 1]
            assert found[f"{a}, {b}"] == pytest.approx(expected, abs=1e-6)


def test_rank_correlation_with_ties_gaps_and_constants():
    spearman = rank_correlation
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == 0.8
    tied = spearman(np.array([1.0, 1, 2, np.nan, 7]), np.array([1.0, 2, 3, 4, np.inf]))
    assert tied == pytest.approx(np.sqrt(3) / 2, abs=1e-6)
    assert spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None


def test_what_the_decomposition_met_is_counted():
    rng = np.random.default_rng(0)
    series = rng.standard_normal((4, 60, 6)).cumsum(1)
    series[:, :, 5] = series[:, :, 4] + 1e-6 * rng.standard_normal((4, 60))
    series[2, :, 0] = 3.0
    arrays, facts = tiny_study.analysed(series, [0, 0, 1, 1, 2, 2], tau=2, bootstrap=200)
    assert facts["recomputed_from_data"] == 4  # one pair, four trials
    assert facts["degenerate"]["constant"] == 5
    assert facts["skipped_pair_trials"] == 5
    # The trial in which it does not vary says nothing about a node's persistence.
    own = [np.corrcoef(series[t, :-2, 0], series[t, 2:, 0])[0, 1] for t in (0, 1, 3)]
    assert arrays["autocorrelation"][0] == pytest.approx(np.mean(own))
