"""What the analysis of a study does with a recording: decompose, score, and fit profiles.

Either all pairs are kept as matrices, or, of nodes too many for that, only the means over the pairs
of each node: then nothing is ever as large as the number of pairs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis, decomposition
from synkern.analysis.profile import profiles_to_arrays
from synkern.analysis.scores import OF_MEANS, RANKINGS, mean_over_pairs
from synkern.study.errors import StudyError
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import EXCESS, RAW, Arrays, Facts
from synkern.study.stages.excess import (
    about_the_missing,
    counts_of,
    excess_of,
    warning_of_the_missing,
)
from synkern.study.stages.routing import routing_of
from synkern.study.stages.series import announce, decompose, decompose_by_node, prepared
from synkern.study.stages.statistics import Floats, autocorrelation, rank_correlation

PROFILE = "profile_"
"""Begins the name of every array of `profiles_to_arrays`."""

# Float64 copies of the series of a chunk of trials that is averaged by node, in bytes, and how many
# a decomposition makes.
_CHUNK_BYTES = 256 * 2**20
_COPIES = 4


@dataclass(frozen=True)
class _Decomposed:
    """A recording, decomposed.

    Attributes:
        averages: what a bootstrap draws from.
        persistence: (trials, nodes), each node's own correlation at lag tau.
        samples: tokens of a series that was decomposed.
        series: (trials, samples, nodes) as decomposed; None where it was averaged by node, trial by
            trial.
        met: what computed, and what it met that is no ordinary pair.
        warnings: what it warned of.
    """

    averages: analysis.Averages
    persistence: Floats
    samples: int
    series: NDArray[Any] | None
    met: Facts
    warnings: list[str]


def analyse(
    settings: Settings,
    recorded: NDArray[Any],
    layer: NDArray[np.int64],
    weights: str,
    routed: NDArray[np.int64] | None = None,
) -> tuple[Arrays, Facts]:
    """Decompose all pairs of nodes, score the nodes, and fit their profiles over depth.

    Args:
        settings: of the study.
        recorded: (trials, time, nodes).
        layer: (nodes,).
        weights: whose they are, for messages.
        routed: (trials, nodes), at how many tokens each node took part; None where all always do.

    Raises:
        StudyError: the recording gives nothing to decompose or to show.
    """
    trials, _, nodes = recorded.shape
    if nodes < 2:
        raise StudyError(
            f"model {settings.model!r} has {nodes} {settings.words.one}; pairs need at least 2"
        )
    started = time.perf_counter()
    # What a null or an excess is made of is not there in the means.
    rankings = OF_MEANS if settings.averaged else RANKINGS
    bootstrap = partial(_bootstrapped, settings, layer)
    try:
        found = (_averaged if settings.averaged else _kept)(settings, recorded, weights)
        decomposed = time.perf_counter()
        if isinstance(found.averages, analysis.PooledAverages):
            announce(settings, f"{weights}: bootstrap", decomposed - started, settings.bootstrap)
        profiles = bootstrap(f"{weights}: bootstrap", found.averages, (*rankings, RAW))
    except ValueError as error:
        remedy = "" if weights == TRAINED else "; leave the control out to study the rest"
        raise StudyError(
            f"the model with {weights} weights gives no profile: {error}{remedy}"
        ) from error
    mean = found.averages.mean()
    synergy, redundancy = (found.averages.by_node(mean[atom]) for atom in ("sts", "rtr"))
    arrays: Arrays = (
        {"synergy": synergy, "redundancy": redundancy}
        if settings.averaged
        else {"sts": mean["sts"], "rtr": mean["rtr"]}
    )
    arrays["autocorrelation"] = mean_over_pairs(found.persistence.T)
    columns = {"synergy": synergy, "redundancy": redundancy}
    columns["autocorrelation"] = arrays["autocorrelation"]
    beyond = _beyond(settings, found, arrays, profiles, partial(bootstrap, _label(weights)))
    seconds = {
        "decomposition": round(decomposed - started, 3),
        "scores and bootstrap": round(time.perf_counter() - decomposed, 3),
    }
    arrays |= {f"{PROFILE}{name}": rows for name, rows in profiles_to_arrays(profiles).items()}
    first = profiles[rankings[0]]
    return arrays, {
        "seconds": seconds,
        "trials": trials,
        "samples": found.samples,
        "nodes": nodes,
        "pairs": nodes * (nodes - 1) // 2,
        "decompositions": found.averages.entries,
        **found.met,
        "skipped_pair_trials": first.skipped_pair_trials,
        "skipped_nodes": first.skipped_nodes,
        "negative": None
        if settings.averaged
        else {atom: int((mean[atom] < 0).sum()) // 2 for atom in ("sts", "rtr")},
        "excess": beyond,
        "warnings": found.warnings + warning_of_the_missing(beyond),
        "failed_draws": {r: p.failed_draws for r, p in profiles.items()},
        "correlations": _correlations(columns, rankings, profiles),
        "routing": None
        if routed is None
        else routing_of(recorded, routed, profiles, pooled=settings.average != "trials"),
    }


def averages_of(settings: Settings, recorded: NDArray[Any], weights: str) -> analysis.Averages:
    """Decompose all pairs of a recording as `analyse` does: what profiles and draws are made of."""
    return (_averaged if settings.averaged else _kept)(settings, recorded, weights).averages


def scores_of(
    settings: Settings, recorded: NDArray[Any], ranking: str, weights: str
) -> NDArray[np.float64]:
    """Return the scores of nodes by some of the prompts, (nodes,).

    Args:
        settings: of the study.
        recorded: (trials, time, nodes), of these prompts.
        ranking: by which.
        weights: whose they are, for messages.

    Raises:
        ValueError: they give nothing to decompose, or are too few.
    """
    averages = averages_of(settings, recorded, weights)
    return averages.scored(averages.mean(), ranking)


def _kept(settings: Settings, recorded: NDArray[Any], weights: str) -> _Decomposed:
    """All pairs as matrices, of every trial or of all together."""
    series = prepared(settings, recorded)
    result, warned = decompose(settings, series)

    def pooled(drawn: NDArray[Any]) -> decomposition.PhiIDResult:
        return decompose(settings, drawn)[0]

    by_trial = settings.average == "trials"
    return _Decomposed(
        averages=analysis.TrialAverages.of([result])
        if by_trial
        else analysis.PooledAverages.of(series, pooled),
        persistence=autocorrelation(series, settings.tau),
        samples=series.shape[1],
        series=series,
        met=_met([result]),
        warnings=warned,
    )


def _averaged(settings: Settings, recorded: NDArray[Any], weights: str) -> _Decomposed:
    """Means over the pairs of each node, a few trials at a time."""
    trials, steps, nodes = recorded.shape
    depth = max(1, _CHUNK_BYTES // (8 * _COPIES * steps * nodes))
    persistence: list[Floats] = []
    samples: list[int] = []
    results: list[decomposition.NodeMeans] = []
    messages: list[str] = []

    def chunks() -> Iterator[decomposition.NodeMeans]:
        for start in range(0, trials, depth):
            # A copy: what is recorded may be a file.
            series = prepared(settings, np.array(recorded[start : start + depth]))
            samples.append(series.shape[1])
            persistence.append(autocorrelation(series, settings.tau))
            result, warned = decompose_by_node(settings, series)
            results.append(result)
            messages.extend(warned)
            bar.update(len(series))
            yield results[-1]

    with settings.bar(f"{weights}: decomposing", trials, "prompt") as bar:
        averages = analysis.NodeAverages.of(chunks())
    met = _met(results)
    # Every chunk warned of its own.
    warned = [m for m in dict.fromkeys(messages) if "are degenerate:" not in m]
    counts = ", ".join(f"{count:,} {kind}" for kind, count in met["degenerate"].items() if count)
    if counts:
        total = sum(met["degenerate"].values())
        warned.append(f"{total:,} of {averages.entries:,} (trial, pair) are degenerate: {counts}")
    return _Decomposed(
        averages=averages,
        persistence=np.concatenate(persistence),
        samples=samples[0],
        series=None,
        met=met,
        warnings=warned,
    )


def _met(results: list[Any]) -> Facts:
    """What computed chunks of trials, and what it met in all of them."""
    degenerate: Counter[str] = Counter()
    for result in results:
        degenerate.update({kind: int(count) for kind, count in result.degenerate.items()})
    return {
        "backend_that_ran": str(results[0].backend),
        "unit": str(results[0].unit),
        "degenerate": {kind: degenerate[kind] for kind in results[0].degenerate},
        "recomputed_from_data": sum(int(result.rescued) for result in results),
    }


def _label(weights: str) -> str:
    return f"{weights}: bootstrap of excess"


def _beyond(
    settings: Settings,
    found: _Decomposed,
    arrays: Arrays,
    profiles: dict[str, analysis.LayerProfile],
    bootstrap: Any,
) -> Facts:
    """What is beyond persistence: adds to the arrays and the profiles; facts, or why not."""
    beyond: Facts = {"absent": settings.excess_absent}
    averages, series = found.averages, found.series
    if beyond["absent"] is not None:
        return beyond
    if series is None or not isinstance(averages, analysis.TrialAverages):
        raise TypeError("an excess is one of the pairs of single trials")
    try:
        excess, excess_profiles = excess_of(settings, series, bootstrap)
        profiles |= excess_profiles
        arrays |= {"excess_sts": excess.mean()["excess"], "excess_trials": counts_of(excess)}
        beyond |= about_the_missing(averages, excess, series)
    except ValueError as error:
        # The rest of the study stands without it; the report gives the reason.
        beyond["absent"] = str(error)
    return beyond


def _bootstrapped(
    settings: Settings,
    layer: NDArray[np.int64],
    label: str,
    averages: analysis.Averages,
    rankings: tuple[str, ...],
) -> dict[str, analysis.LayerProfile]:
    with settings.bar(label, settings.bootstrap, "draw") as bar:
        return analysis.layer_profiles(
            averages,
            layer,
            rankings=rankings,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
            progress=bar.update,
        )


def _correlations(
    columns: dict[str, NDArray[Any]],
    rankings: tuple[str, ...],
    profiles: Mapping[str, analysis.LayerProfile],
) -> dict[str, float | None]:
    """Correlations over nodes; of ranks, so that a few extreme nodes do not decide."""
    scores = {ranking: profiles[ranking].scores for ranking in rankings}
    pairs = [*combinations(columns, 2), *combinations(scores, 2)]
    if EXCESS in profiles:
        columns = columns | {"excess synergy": profiles[EXCESS].scores}
        pairs += [("excess synergy", other) for other in ("synergy", "autocorrelation")]
    columns = columns | scores
    return {f"{a}, {b}": rank_correlation(columns[a], columns[b]) for a, b in pairs}
