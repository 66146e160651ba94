"""The stages of a study that compute: decomposition with profiles over depth, and the null test.

Each takes settings and the arrays of the recording, and returns arrays by name together with facts
about how they came about. Names of arrays begin with the weights they belong to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import synkern
from synkern._arrays import to_numpy
from synkern._warnings import collected
from synkern.analysis.averages import Averages, PooledAverages, TrialAverages
from synkern.analysis.nulls import null_test
from synkern.analysis.persistence import persistence_reference
from synkern.analysis.profile import (
    MEANS,
    MISSING_TOLERATED,
    LayerProfile,
    layer_profiles,
    profiles_from_arrays,
    profiles_to_arrays,
)
from synkern.analysis.scores import RANKINGS, node_means, tied_rank
from synkern.decomposition import BACKENDS
from synkern.decomposition.preprocess import PREPROCESSING
from synkern.decomposition.result import PhiIDResult
from synkern.study.choices import NONE
from synkern.study.folder import StudyError
from synkern.study.settings import Settings
from synkern.study.stages.recording import TRAINED, Arrays, Facts, named

Floats = NDArray[np.float64]

RAW, EXCESS, BASELINE = MEANS
"""What the profiles of synergy itself are called: as it is, beyond persistence, and beyond
persistence where heads of different prompts are paired, which have no relation."""

FALSE_DISCOVERIES = 0.05
"""Rate at which pairs count as significant, and p value at which they do by themselves."""

# Begins the name of every array of `profiles_to_arrays`, after the weights.
_PROFILE = "profile_"
# Atoms, reference and temporaries of one block of trials, in bytes.
_BLOCK_BYTES = 256 * 2**20
_MATRICES_PER_TRIAL = 4
# A decomposition that takes longer than this, times the draws, is announced.
_LONG = 60.0


def analyse(
    settings: Settings, recorded: Mapping[str, NDArray[Any]], weights: str
) -> tuple[Arrays, Facts]:
    """Decompose all pairs of heads, score the heads, and fit their profiles over depth.

    Raises:
        StudyError: the recording gives nothing to decompose or to show.
    """
    series, layer = prepared(settings, recorded[f"{weights}_norms"]), recorded[f"{weights}_layer"]
    trials, samples, nodes = series.shape
    if nodes < 2:
        raise StudyError(
            f"model {settings.model!r} has {nodes} attention head(s); pairs need at least 2"
        )
    started = time.perf_counter()
    result, warned = decompose(settings, series)
    decomposed = time.perf_counter()
    bootstrap = partial(_bootstrapped, settings, layer)
    try:
        averages = _averages(settings, series, result)
        if isinstance(averages, PooledAverages):
            _announce(settings, f"{weights}: bootstrap", decomposed - started, settings.bootstrap)
        profiles = bootstrap(f"{weights}: bootstrap", averages, (*RANKINGS, RAW))
    except ValueError as error:
        remedy = "" if weights == TRAINED else "; leave the control out to study the rest"
        raise StudyError(
            f"the model with {weights} weights gives no profile: {error}{remedy}"
        ) from error
    mean = averages.mean()
    first = profiles[RANKINGS[0]]
    autocorrelation = _autocorrelation(series, settings.tau)
    arrays: Arrays = {
        "sts": mean["sts"],
        "rtr": mean["rtr"],
        "autocorrelation": node_means(autocorrelation.T),
    }
    beyond: Facts = {"absent": settings.excess_absent}
    if isinstance(averages, TrialAverages) and settings.excess_absent is None:
        try:
            found = excess_averages(settings, series)
            # What the estimate gives, from so few samples, where there is nothing beyond.
            shuffled = excess_averages(settings, unrelated(series, settings.seed))
            label = f"{weights}: bootstrap of excess"
            profiles |= bootstrap(label, found, (EXCESS,)) | bootstrap(label, shuffled, (BASELINE,))
            arrays |= {"excess_sts": found.mean()["excess"], "excess_trials": _counts(found)}
            beyond |= _about_the_missing(averages, found, series)
        except ValueError as error:
            # The rest of the study stands without it; the report gives the reason.
            beyond["absent"] = str(error)
    finished = time.perf_counter()

    arrays |= {f"{_PROFILE}{name}": rows for name, rows in profiles_to_arrays(profiles).items()}
    facts: Facts = {
        "seconds": {
            "decomposition": round(decomposed - started, 3),
            "scores and bootstrap": round(finished - decomposed, 3),
        },
        "trials": trials,
        "samples": samples,
        "nodes": nodes,
        "pairs": nodes * (nodes - 1) // 2,
        "decompositions": averages.entries,
        "backend_that_ran": str(result.backend),
        "unit": str(result.unit),
        "degenerate": {kind: int(count) for kind, count in result.degenerate.items()},
        "recomputed_from_data": int(result.rescued),
        "skipped_pair_trials": first.skipped_pair_trials,
        "skipped_nodes": first.skipped_nodes,
        "negative": {atom: int((mean[atom] < 0).sum()) // 2 for atom in ("sts", "rtr")},
        "excess": beyond,
        "warnings": warned + _warning_of_the_missing(beyond),
        "failed_draws": {r: p.failed_draws for r, p in profiles.items()},
        "correlations": _correlations(arrays, profiles),
    }
    return named(weights, arrays), facts


def compare_with_null(
    settings: Settings, recorded: Mapping[str, NDArray[Any]], weights: str
) -> tuple[Arrays, Facts]:
    """Test synergy and redundancy of every pair against those of unrelated nodes.

    Raises:
        StudyError: the recording cannot be tested.
    """
    series = prepared(settings, recorded[f"{weights}_norms"])
    started = time.perf_counter()
    decompose(settings, series)
    n = settings.null_draws or 0
    _announce(settings, f"{weights}: {settings.null}", time.perf_counter() - started, n)
    try:
        test, warned = _null_test(settings, placed(settings, series))
    except ValueError as error:
        raise StudyError(f"the null test of {weights} weights cannot be done: {error}") from error
    arrays: Arrays = {}
    facts: Facts = {
        "seconds": {"null test": round(time.perf_counter() - started, 3)},
        "null": test.null,
        "draws": test.n,
        "smallest_p": 2 / (test.n + 1),
        # Benjamini and Hochberg: so large a share of the pairs has to reach the smallest p.
        "share_needed": min(1.0, 2 / (test.n + 1) / FALSE_DISCOVERIES),
        "warnings": warned,
        "atoms": {},
    }
    for atom in ("sts", "rtr"):
        p, q, observed, center, sd = (
            to_numpy(values[atom])
            for values in (test.p, test.q, test.observed, test.null_mean, test.null_sd)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(sd > 0, (observed - center) / sd, np.nan)
        arrays |= {f"null_{atom}_p": p, f"null_{atom}_q": q, f"null_{atom}_z": z}
        arrays[f"null_{atom}_mean"] = center
        upper = np.triu_indices(len(p), 1)
        p, q, raised, z = p[upper], q[upper], (observed > center)[upper], z[upper]
        tested = np.isfinite(p)
        count = int(tested.sum())
        significant = q <= FALSE_DISCOVERIES
        facts["atoms"][atom] = {
            "tested": count,
            "without_value": test.without_value[atom],
            "share_p": _share(int((p <= FALSE_DISCOVERIES).sum()), count),
            "share_q": _share(int(significant.sum()), count),
            "share_q_above": _share(int((significant & raised).sum()), count),
            "share_q_below": _share(int((significant & ~raised).sum()), count),
            "median_z": _rounded(np.median(z[np.isfinite(z)])) if np.isfinite(z).any() else None,
        }
    return named(weights, arrays), facts


def try_out(settings: Settings) -> None:
    """Use all options on a few random numbers: what cannot work is found before the recording.

    Raises:
        ValueError: a backend that cannot run here, or options that exclude each other.
    """
    rng = np.random.default_rng(0)
    decompose(replace(settings, tau=1), rng.normal(size=(1, 64, 4)))
    if settings.null != NONE:
        # As many as there will be, or enough of them: what a null needs is a length at least.
        few = rng.normal(size=(2, min(settings.new_tokens, 1000), 3))
        _null_test(replace(settings, null_draws=19), prepared(settings, few))


def profiles_from(arrays: Mapping[str, NDArray[Any]], weights: str) -> dict[str, LayerProfile]:
    """The layer profiles that `analyse` left in `arrays`, by ranking."""
    prefix = f"{weights}_{_PROFILE}"
    return profiles_from_arrays(
        {n.removeprefix(prefix): rows for n, rows in arrays.items() if n.startswith(prefix)}
    )


def prepared(settings: Settings, norms: NDArray[Any]) -> NDArray[Any]:
    """The series to decompose, (trials, time, nodes): the norms after the step of the settings."""
    if settings.detrend == NONE:
        return norms
    return np.asarray(PREPROCESSING[settings.detrend](norms))


def decompose(settings: Settings, series: NDArray[Any]) -> tuple[PhiIDResult, list[str]]:
    """`synkern.phiid` of the series, every trial or pooled as the settings say, and its warnings.

    On the GPU where both the model and the backend can run there, else on the host.
    """
    average: Any = None if settings.average == "trials" else settings.average
    with collected() as messages:
        result = synkern.phiid(placed(settings, series), average=average, **settings.estimator)
    return result, messages


def placed(settings: Settings, series: NDArray[Any]) -> Any:
    """The series where the backend of the settings takes it: on the GPU, or as it is."""
    candidates = [b for b in BACKENDS if settings.backend in ("auto", b.name)]
    kind = torch.device(settings.device).type
    on_gpu = kind == "cuda" and any(kind in b.status().devices for b in candidates)
    return torch.from_numpy(series).to(settings.device) if on_gpu else series


def excess_averages(settings: Settings, series: NDArray[Any]) -> TrialAverages:
    """Excess synergy of every trial, as the atom `excess`; pairs without a reference have none.

    A block of trials at a time: trials do not know of each other, so blocks joined are what one
    call would give, while no more than a block of full matrices is alive.

    Args:
        settings: Gaussian, MMI, average over trials.
        series: (trials, time, nodes).

    Raises:
        ValueError: no pair has a reference in any trial.
    """
    trials, _, nodes = series.shape
    depth = max(1, _BLOCK_BYTES // (8 * _MATRICES_PER_TRIAL * nodes * nodes))

    def blocks() -> Iterator[Mapping[str, Any]]:
        for start in range(0, trials, depth):
            block = placed(settings, series[start : start + depth])
            result = synkern.phiid(block, atoms="sts", average=None, **settings.estimator)
            reference = persistence_reference(block, tau=settings.tau, atoms="sts", average=None)
            yield {"excess": result.excess(reference)["sts"]}

    # The series have been warned of; the missing references are counted by who calls.
    with collected():
        return TrialAverages.of(blocks())


def unrelated(series: NDArray[Any], seed: int) -> NDArray[Any]:
    """The series with every node's trials in an order of their own, as in null `cross_trial`.

    Two nodes then come from one trial only by chance, once in as many times as there are trials.
    """
    trials, time, nodes = series.shape
    # Not the stream of the bootstrap.
    rng = np.random.default_rng((seed, 2))
    order = rng.permuted(np.tile(np.arange(trials)[:, None], nodes), axis=0)
    paired: NDArray[Any] = series[order[:, None, :], np.arange(time)[:, None], np.arange(nodes)]
    return paired


def _averages(settings: Settings, series: NDArray[Any], result: PhiIDResult) -> Averages:
    if settings.average == "trials":
        return TrialAverages.of([result])

    def pooled(drawn: NDArray[Any]) -> PhiIDResult:
        return decompose(settings, drawn)[0]

    return PooledAverages.of(series, pooled)


def _bootstrapped(
    settings: Settings,
    layer: NDArray[np.int64],
    label: str,
    averages: Averages,
    rankings: tuple[str, ...],
) -> dict[str, LayerProfile]:
    with settings.bar(label, settings.bootstrap, "draw") as bar:
        return layer_profiles(
            averages,
            layer,
            rankings=rankings,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
            progress=bar.update,
        )


def _announce(settings: Settings, label: str, seconds: float, times: int) -> None:
    if seconds * times > _LONG:
        settings.say(f"{label}: {times} decompositions, about {seconds * times / 60:.0f} min")


def _null_test(settings: Settings, series: Any) -> tuple[synkern.NullTest, list[str]]:
    null: Any = settings.null
    n = settings.null_draws or 0
    with collected() as messages:
        test = null_test(series, null, n=n, seed=settings.seed, **settings.estimator)
    return test, messages


def _counts(averages: TrialAverages) -> NDArray[np.int64]:
    """(nodes, nodes): in how many trials each pair has a value; 0 on the diagonal."""
    counts = np.zeros((averages.nodes, averages.nodes), np.int64)
    by_pair = averages.trials if averages.valid is None else averages.valid.sum(0)
    counts[np.triu_indices(averages.nodes, 1)] = by_pair
    return counts + counts.T


def _about_the_missing(raw: TrialAverages, found: TrialAverages, series: NDArray[Any]) -> Facts:
    """How many (trial, pair) have no excess, and what distinguishes them from the rest."""
    facts: Facts = {
        "missing": found.missing,
        "missing_share": found.missing / found.entries,
        "complete": found.missing <= MISSING_TOLERATED * found.entries,
    }
    if found.valid is None:
        return facts
    known = found.valid > 0
    lost = ~known if raw.valid is None else ~known & (raw.valid > 0)
    rows, columns = np.triu_indices(raw.nodes, 1)
    place = np.broadcast_to(np.arange(series.shape[1])[:, None], series.shape[1:])
    drift = np.abs(_correlation(series, np.broadcast_to(place, series.shape)))
    # Of a pair: the mean of its two heads.
    drift = (drift[:, rows] + drift[:, columns]) / 2
    for name, values in (("sts", raw.atoms["sts"]), ("drift", drift)):
        for group, members in (("with", known), ("without", lost)):
            chosen = values[members]
            chosen = chosen[np.isfinite(chosen)]
            facts[f"{name}_{group}"] = _rounded(chosen.mean()) if len(chosen) else None
    return facts


def _warning_of_the_missing(beyond: Facts) -> list[str]:
    if beyond["absent"] is not None or beyond["complete"]:
        return []
    percent = f"{100 * beyond['missing_share']:.0f} %"
    return [
        f"{percent} of the (prompt, pair) have no persistence reference; the excess synergy of the "
        "others does not stand for them, and no verdict is given on it"
    ]


def _correlations(arrays: Arrays, profiles: Mapping[str, LayerProfile]) -> dict[str, float | None]:
    """Over nodes; Spearman, so that a few extreme heads do not decide."""
    columns = {
        "synergy": node_means(arrays["sts"]),
        "redundancy": node_means(arrays["rtr"]),
        "autocorrelation": arrays["autocorrelation"],
    }
    rankings = {ranking: profiles[ranking].scores for ranking in RANKINGS}
    pairs = [*combinations(columns, 2), *combinations(rankings, 2)]
    if EXCESS in profiles:
        columns["excess synergy"] = profiles[EXCESS].scores
        pairs += [("excess synergy", other) for other in ("synergy", "autocorrelation")]
    columns |= rankings
    return {f"{a}, {b}": _spearman(columns[a], columns[b]) for a, b in pairs}


def _spearman(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Rank correlation over the entries finite in both; None where one of them does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [tied_rank(values[both]) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    matrix: Any = np.corrcoef(ranks)
    return _rounded(matrix[0, 1])


def _autocorrelation(series: NDArray[Any], tau: int) -> Floats:
    """(trials, nodes), each node's own correlation at lag tau; NaN where it does not vary."""
    return _correlation(series[:, :-tau], series[:, tau:])


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Correlation over time of two (trials, time, nodes): (trials, nodes), NaN where undefined."""
    a, b = (part - part.mean(1, keepdims=True) for part in (a.astype(float), b.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.asarray(r, dtype=np.float64)


def _share(count: int, of: int) -> float | None:
    return count / of if of else None


def _rounded(value: Any) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
