"""The stage that decomposes all pairs of heads: scores of the heads, and profiles over depth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis, decomposition
from synkern._warnings import collected
from synkern.analysis.profile import (
    MEANS,
    MISSING_TOLERATED,
    profiles_from_arrays,
    profiles_to_arrays,
)
from synkern.analysis.scores import RANKINGS, mean_over_pairs, tied_rank
from synkern.study import report
from synkern.study.errors import StudyError
from synkern.study.numerals import rounded
from synkern.study.settings import TRAINED, Settings
from synkern.study.stage import BASELINE, EXCESS, RAW, Arrays, Drawn, Facts, Results, Sources, Stage
from synkern.study.stages.series import announce, decompose, for_backend, prepared

Floats = NDArray[np.float64]

# Begins the name of every array of `profiles_to_arrays`.
_PROFILE = "profile_"
# Atoms, reference and temporaries of one chunk of trials, in bytes.
CHUNK_BYTES = 256 * 2**20
_MATRICES_PER_TRIAL = 4
# Synergy and its reference, of the heads and of unrelated ones.
_FOR_EXCESS = 4
_COMBINED = {
    "trials": "per prompt, then averaged",
    "moments": "moments pooled over prompts, then once",
    "concatenate": "prompts joined to one series, then once",
}


class Analysis(Stage):
    """Decomposes all pairs of heads, scores the heads, and fits their profiles over depth.

    Its arrays: `sts` and `rtr` (nodes, nodes), `autocorrelation` (nodes,), `profile_F` for every
    field F of a layer profile, one row per ranking and mean; where there is excess synergy,
    `excess_sts` and `excess_trials` (nodes, nodes).
    """

    name = "analysis"
    after = ("recording",)
    too_large = "use fewer prompts (max_prompts), or pool them (average = 'moments')"
    pictures = ("profiles", "synergy", "heads_*", "pairs_*", "excess_*")

    def plan(self, settings: Settings, nodes: int, layers: int) -> str:
        """Say how many pairs there are."""
        pairs, pooled = nodes * (nodes - 1) // 2, settings.average != "trials"
        each = pairs if pooled else pairs * len(settings.asked)
        return (
            f"decompose {pairs:,} pairs of heads ({each:,} decompositions"
            f"{', and as many for each bootstrap draw' if pooled else ''}) with "
            f"{settings.bootstrap:,} bootstrap draws"
        )

    def decompositions(self, settings: Settings) -> int:
        """Return one, more for the excess, and one for each draw of prompts that are pooled."""
        if settings.average != "trials":
            return 1 + settings.bootstrap
        return 1 + (_FOR_EXCESS if settings.excess_absent is None else 0)

    def matrices(self, settings: Settings) -> int:
        """Return those of synergy and redundancy, and of the excess and its count."""
        return 2 + (2 if settings.excess_absent is None else 0)

    def try_out(self, settings: Settings) -> None:
        """Decompose a few random numbers.

        Raises:
            ValueError: a backend that cannot run here, or that does not have the estimator.
        """
        series = np.random.default_rng(0).normal(size=(1, 64, 4))
        decompose(replace(settings, tau=1), series)

    def run(self, sources: Sources, weights: str) -> tuple[Arrays, Facts]:
        """Decompose, score and fit.

        Raises:
            StudyError: the recording gives nothing to decompose or to show.
        """
        recorded = sources.of(weights)
        return analyse(sources.settings, recorded["norms"], recorded["layer"], weights)

    def method(self, settings: Settings) -> Facts:
        """Return preparation, decomposition, excess and intervals."""
        return {
            "preparation": settings.detrend,
            "decomposition": f"{settings.kind}, {settings.redundancy} redundancy, float64; "
            + _COMBINED[settings.average],
            "excess": settings.excess_absent
            or "sts minus that of two AR(1) nodes with the pair's "
            "persistence and lag-0 correlation; per prompt, then averaged over prompts with both",
            "intervals": "95 % percentile bootstrap over prompts",
        }

    def summary(self, results: Results) -> list[str]:
        """Say why there is no excess synergy, where there is none."""
        return [
            f"no excess synergy, {weights}: {facts['excess']['absent']}"
            for weights, facts in results.facts(self.name).items()
            if facts["excess"]["absent"] is not None
        ]

    def figures(self, results: Results) -> Iterator[Drawn]:
        """Draw the profiles over depth, of the scores and of the synergy itself."""
        name, facts = results.name, results.facts(self.name)
        titled = {report.of_weights(w): profiles for w, profiles in results.profiles.items()}
        figure = report.layer_profile_curves(titled, f"{name}: layer profiles of three rankings")
        yield Drawn("profiles.png", figure, "profiles")
        missing = {
            report.of_weights(weights): _missing_by_layer(
                self._referenced(results, weights), results.arrays[f"{weights}_layer"]
            )
            for weights, profiles in results.profiles.items()
            if EXCESS in profiles
        }
        unit = next(iter(facts.values()))["unit"]
        figure = report.synergy_curves(titled, missing, f"{name}: synergy over depth", unit)
        yield Drawn("synergy.png", figure, "synergy")

    def figures_of(self, results: Results, weights: str) -> Iterator[Drawn]:
        """Draw the scores of all heads, the atoms of all pairs, and what is beyond persistence."""
        arrays, profiles = results.of(weights), results.profiles[weights]
        layer, unit = arrays["layer"], results.facts(self.name)[weights]["unit"]
        said = f"{results.name}, {report.of_weights(weights)}"
        scores = {r: profile.scores for r, profile in profiles.items() if r not in MEANS}
        figure = report.head_maps(
            scores, layer, arrays["head"], f"{said}: score of every head", unit
        )
        yield Drawn(f"heads_{weights}.png", figure, "heads")
        title = f"{said}: synergy and redundancy of all pairs of heads"
        figure = report.pair_matrices(arrays["sts"], arrays["rtr"], layer, title, unit)
        yield Drawn(f"pairs_{weights}.png", figure, "pairs")
        if EXCESS in profiles:
            share = self._referenced(results, weights)
            known = np.where(share >= 1 - MISSING_TOLERATED, arrays["excess_sts"], np.nan)
            title = f"{said}: synergy of all pairs beyond persistence"
            figure = report.excess_matrices(known, _without_diagonal(share), layer, title, unit)
            yield Drawn(f"excess_{weights}.png", figure, "excess")

    def _referenced(self, results: Results, weights: str) -> Floats:
        """(nodes, nodes) share of the trials in which a pair has a reference."""
        trials = results.facts(self.name)[weights]["trials"]
        return np.asarray(results.arrays[f"{weights}_excess_trials"] / trials, np.float64)


def profiles_from(arrays: Mapping[str, NDArray[Any]]) -> dict[str, analysis.LayerProfile]:
    """Return the layer profiles that the stage left in the arrays of one model, by ranking."""
    return profiles_from_arrays(
        {n.removeprefix(_PROFILE): rows for n, rows in arrays.items() if n.startswith(_PROFILE)}
    )


def analyse(
    settings: Settings, norms: NDArray[Any], layer: NDArray[np.int64], weights: str
) -> tuple[Arrays, Facts]:
    """Decompose all pairs of heads, score the heads, and fit their profiles over depth.

    Args:
        settings: of the study.
        norms: (trials, time, nodes), as recorded.
        layer: (nodes,).
        weights: whose they are, for messages.

    Raises:
        StudyError: the recording gives nothing to decompose or to show.
    """
    series = prepared(settings, norms)
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
        if isinstance(averages, analysis.PooledAverages):
            announce(settings, f"{weights}: bootstrap", decomposed - started, settings.bootstrap)
        profiles = bootstrap(f"{weights}: bootstrap", averages, (*RANKINGS, RAW))
    except ValueError as error:
        remedy = "" if weights == TRAINED else "; leave the control out to study the rest"
        raise StudyError(
            f"the model with {weights} weights gives no profile: {error}{remedy}"
        ) from error
    mean = averages.mean()
    arrays: Arrays = {
        "sts": mean["sts"],
        "rtr": mean["rtr"],
        "autocorrelation": mean_over_pairs(_autocorrelation(series, settings.tau).T),
    }
    beyond: Facts = {"absent": settings.excess_absent}
    if isinstance(averages, analysis.TrialAverages) and settings.excess_absent is None:
        label = f"{weights}: bootstrap of excess"
        try:
            found, excess = _excess(settings, series, partial(bootstrap, label))
            profiles |= excess
            arrays |= {"excess_sts": found.mean()["excess"], "excess_trials": _counts(found)}
            beyond |= _about_the_missing(averages, found, series)
        except ValueError as error:
            # The rest of the study stands without it; the report gives the reason.
            beyond["absent"] = str(error)
    seconds = {
        "decomposition": round(decomposed - started, 3),
        "scores and bootstrap": round(time.perf_counter() - decomposed, 3),
    }
    arrays |= {f"{_PROFILE}{name}": rows for name, rows in profiles_to_arrays(profiles).items()}
    return arrays, {
        "seconds": seconds,
        "trials": trials,
        "samples": samples,
        "nodes": nodes,
        "pairs": nodes * (nodes - 1) // 2,
        "decompositions": averages.entries,
        **_met(result, profiles[RANKINGS[0]]),
        "negative": {atom: int((mean[atom] < 0).sum()) // 2 for atom in ("sts", "rtr")},
        "excess": beyond,
        "warnings": warned + _warning_of_the_missing(beyond),
        "failed_draws": {r: p.failed_draws for r, p in profiles.items()},
        "correlations": _correlations(arrays, profiles),
    }


def _met(result: decomposition.PhiIDResult, first: analysis.LayerProfile) -> Facts:
    """What computed, and what it met that is no ordinary pair."""
    return {
        "backend_that_ran": str(result.backend),
        "unit": str(result.unit),
        "degenerate": {kind: int(count) for kind, count in result.degenerate.items()},
        "recomputed_from_data": int(result.rescued),
        "skipped_pair_trials": first.skipped_pair_trials,
        "skipped_nodes": first.skipped_nodes,
    }


def _excess(
    settings: Settings,
    series: NDArray[Any],
    bootstrap: Callable[[analysis.Averages, tuple[str, ...]], dict[str, analysis.LayerProfile]],
) -> tuple[analysis.TrialAverages, dict[str, analysis.LayerProfile]]:
    """The excess synergy, and its profiles: also what so few samples give where there is none."""
    found = excess_averages(settings, series)
    shuffled = excess_averages(settings, unrelated(series, settings.seed))
    return found, bootstrap(found, (EXCESS,)) | bootstrap(shuffled, (BASELINE,))


def excess_averages(
    settings: Settings, series: NDArray[Any], chunk_bytes: int = CHUNK_BYTES
) -> analysis.TrialAverages:
    """Return the excess synergy of every trial, as the atom `excess`; NaN without a reference.

    A chunk of trials at a time: trials do not know of each other, so chunks joined are what one
    call would give, while no more than a chunk of full matrices is alive.

    Args:
        settings: Gaussian, MMI, average over trials.
        series: (trials, time, nodes).
        chunk_bytes: what the matrices of a chunk may take.

    Raises:
        ValueError: no pair has a reference in any trial.
    """
    trials, _, nodes = series.shape
    depth = max(1, chunk_bytes // (8 * _MATRICES_PER_TRIAL * nodes * nodes))

    def chunks() -> Iterator[Mapping[str, Any]]:
        for start in range(0, trials, depth):
            chunk = for_backend(settings, series[start : start + depth])
            result = decomposition.phiid(chunk, atoms="sts", average=None, **settings.estimator)
            reference = analysis.persistence_reference(
                chunk, tau=settings.tau, atoms="sts", average=None
            )
            yield {"excess": result.excess(reference)["sts"]}

    # The series have been warned of; the missing references are counted by who calls.
    with collected():
        return analysis.TrialAverages.of(chunks())


def unrelated(series: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return the series with each node's trials in an order of its own, as in null `cross_trial`.

    Two nodes then come from one trial only by chance, once in as many times as there are trials.
    """
    trials, time, nodes = series.shape
    # Not the stream of the bootstrap.
    rng = np.random.default_rng((seed, 2))
    order = rng.permuted(np.tile(np.arange(trials)[:, None], nodes), axis=0)
    paired: NDArray[Any] = series[order[:, None, :], np.arange(time)[:, None], np.arange(nodes)]
    return paired


def _averages(
    settings: Settings, series: NDArray[Any], result: decomposition.PhiIDResult
) -> analysis.Averages:
    if settings.average == "trials":
        return analysis.TrialAverages.of([result])

    def pooled(drawn: NDArray[Any]) -> decomposition.PhiIDResult:
        return decompose(settings, drawn)[0]

    return analysis.PooledAverages.of(series, pooled)


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


def _counts(averages: analysis.TrialAverages) -> NDArray[np.int64]:
    """(nodes, nodes): in how many trials each pair has a value; 0 on the diagonal."""
    counts = np.zeros((averages.nodes, averages.nodes), np.int64)
    by_pair = averages.trials if averages.valid is None else averages.valid.sum(0)
    counts[np.triu_indices(averages.nodes, 1)] = by_pair
    return counts + counts.T


def _about_the_missing(
    raw: analysis.TrialAverages, found: analysis.TrialAverages, series: NDArray[Any]
) -> Facts:
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
            facts[f"{name}_{group}"] = rounded(chosen.mean()) if len(chosen) else None
    return facts


def _warning_of_the_missing(beyond: Facts) -> list[str]:
    if beyond["absent"] is not None or beyond["complete"]:
        return []
    percent = f"{100 * beyond['missing_share']:.0f} %"
    return [
        f"{percent} of the (prompt, pair) have no persistence reference; the excess synergy of the "
        "others does not stand for them, and no verdict is given on it"
    ]


def _correlations(
    arrays: Arrays, profiles: Mapping[str, analysis.LayerProfile]
) -> dict[str, float | None]:
    """Correlations over nodes; of ranks, so that a few extreme heads do not decide."""
    columns = {
        "synergy": mean_over_pairs(arrays["sts"]),
        "redundancy": mean_over_pairs(arrays["rtr"]),
        "autocorrelation": arrays["autocorrelation"],
    }
    rankings = {ranking: profiles[ranking].scores for ranking in RANKINGS}
    pairs = [*combinations(columns, 2), *combinations(rankings, 2)]
    if EXCESS in profiles:
        columns["excess synergy"] = profiles[EXCESS].scores
        pairs += [("excess synergy", other) for other in ("synergy", "autocorrelation")]
    columns |= rankings
    return {f"{a}, {b}": rank_correlation(columns[a], columns[b]) for a, b in pairs}


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return the rank correlation over the entries finite in both; None where one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [tied_rank(values[both]) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    matrix: Any = np.corrcoef(ranks)
    return rounded(matrix[0, 1])


def _autocorrelation(series: NDArray[Any], tau: int) -> Floats:
    """(trials, nodes), each node's own correlation at lag tau; NaN where it does not vary."""
    return _correlation(series[:, :-tau], series[:, tau:])


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Correlation over time of two (trials, time, nodes): (trials, nodes), NaN where undefined."""
    a, b = (part - part.mean(1, keepdims=True) for part in (a.astype(float), b.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.asarray(r, dtype=np.float64)


def _missing_by_layer(referenced: Floats, layer: NDArray[np.int64]) -> Floats:
    """(layers,) share of the (trial, pair) of a layer's nodes that have no reference."""
    by_node = 1 - mean_over_pairs(_without_diagonal(referenced))
    return np.array([by_node[layer == one].mean() for one in np.unique(layer)])


def _without_diagonal(matrix: Floats) -> Floats:
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
