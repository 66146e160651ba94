"""The steps that set synergy against what would be there without any relation: excess, and null."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis
from synkern._warnings import collected
from synkern.analysis import benjamini_hochberg
from synkern.analysis.nulls import Tally
from synkern.study.errors import StudyError
from synkern.study.numerals import rounded
from synkern.study.of_data.computing import (
    by_unit,
    decomposed,
    estimator,
    placed,
    square,
    taken,
    trials_at_once,
)
from synkern.study.of_data.decomposing import MAIN, Arrays, Facts, persistence_of
from synkern.study.of_data.options import SURROGATES, DecomposeOptions
from synkern.study.of_data.preparing import Floats, Indices, Prepared
from synkern.study.of_data.scoring import Scored, by_group, drawn
from synkern.study.of_data.surrogates import Batch, Chosen, loses_samples, scopes, surrogate
from synkern.study.settings import NONE
from synkern.study.stages.statistics import FALSE_DISCOVERIES, tested

UNRELATED_DRAWS = 5
"""Surrogates of which the excess is taken."""


def excess_absent(options: DecomposeOptions) -> str | None:
    """Why there can be no excess synergy; None if there can."""
    if (options.kind, options.redundancy) != ("gaussian", "MMI"):
        return (
            "the persistence reference exists for kind gaussian with redundancy MMI only, and "
            f"{options.kind} with {options.redundancy} was asked for"
        )
    if options.average != "trials":
        return (
            "the persistence reference is one of single trials, and they were pooled (average "
            f"{options.average})"
        )
    return None


def excess_at(
    options: DecomposeOptions, found: Prepared, tau: int, null: Chosen
) -> tuple[Arrays, Facts]:
    """Take from the synergy of every pair that of two AR(1) nodes with its persistence.

    Returns:
        `excess_sts` (nodes, nodes), mean over units; `node_excess` (nodes,) and `interval_excess`
        (nodes, 2). And facts, with the mean excess of the surrogates of the null if there is one.

    Raises:
        StudyError: no pair has a reference.
    """
    started = time.perf_counter()
    depth = trials_at_once(found.nodes, 4)

    def work(trials: Indices) -> dict[str, Floats]:
        series, mask = taken(found, trials)
        return {"sts": _beyond(options, series, mask, tau, found.pairs)}

    label = f"lag {tau}: beyond persistence"
    try:
        with options.bar(label, found.trials, "trial") as bar:
            averages = analysis.TrialAverages.of(by_unit(found, work, depth, bar.update))
    except ValueError as error:
        raise StudyError(f"lag {tau}: no pair has a persistence reference: {error}") from error
    matrix = averages.mean()["sts"]
    draws = None
    if averages.trials > 1:
        of_draws = drawn(options, averages, None, f"{label}, bootstrap")
        draws = {"excess": of_draws["sts"]}
    result = Scored({"excess": averages.by_node(matrix)}, draws, np.isfinite(matrix).sum(1))
    entries = found.count * averages.trials
    valid = entries if averages.valid is None else int(averages.valid.sum())
    facts: Facts = {
        "mean": result.mean("excess"),
        "missing_share": 1 - valid / entries,
        "unrelated": None,
        "unrelated_draws": 0,
        "unrelated_null": None,
        "groups": by_group(found, result, ("excess",)),
    }
    if null.name != NONE:
        # Where samples differ between trials, those in common are fewer, and the excess that is
        # estimated from fewer is lower: shifts keep all.
        fewer = loses_samples(found, tau, null.name)
        facts["unrelated_null"] = "row_shift" if fewer else null.name
        of_unrelated = _unrelated(options, found, tau, facts["unrelated_null"])
        facts["unrelated"] = rounded(np.nanmean(of_unrelated))
        facts["unrelated_draws"] = UNRELATED_DRAWS
    facts["seconds"] = {"excess": round(time.perf_counter() - started, 3)}
    return {"excess_sts": matrix, **result.arrays()}, facts


def null_at(
    options: DecomposeOptions, found: Prepared, tau: int, null: Chosen
) -> tuple[Arrays, Facts]:
    """Test the mean synergy and redundancy of every pair against surrogates.

    Returns:
        For A `sts` and `rtr`: `null_A_p`, `null_A_q`, `null_A_mean` and `null_A_z`, (nodes,
        nodes). And facts.
    """
    started = time.perf_counter()
    given = scopes(found, tau, null.name)
    draws = options.null_draws or SURROGATES
    tallies = {name: Tally(matrix) for name, matrix in _means(options, found, given).items()}
    rng = np.random.default_rng((options.seed, 2))
    with options.bar(f"lag {tau}: null {null.name}", draws, "surrogate") as bar:
        for _ in range(draws):
            one: Any = null.name
            drawn_means = _means(options, found, surrogate(given, one, rng))
            for name, tally in tallies.items():
                tally.add(drawn_means[name])
            bar.update(1)
    arrays: Arrays = {}
    smallest = _smallest_p(found, tau, null, draws)
    facts: Facts = {
        "null": null.name,
        "why": null.why,
        "draws": draws,
        "smallest_p": smallest,
        # Benjamini and Hochberg: so large a share of the pairs has to reach the smallest p.
        "share_needed": min(1.0, smallest / FALSE_DISCOVERIES),
        "independent_samples": _independent(found, tau),
        "atoms": {},
    }
    for name, tally in tallies.items():
        p = tally.p()
        of_test = p, benjamini_hochberg(p), tally.observed, tally.mean, tally.sd()
        made, facts["atoms"][name] = tested(*of_test)
        arrays |= {f"null_{name}_{key}": matrix for key, matrix in made.items()}
    facts["seconds"] = {"null test": round(time.perf_counter() - started, 3)}
    return arrays, facts


def _beyond(
    options: DecomposeOptions,
    series: Floats,
    mask: NDArray[np.bool_] | None,
    tau: int,
    pairs: Indices | None,
) -> Floats:
    """(trials, nodes, nodes) excess of synergy; NaN without a reference."""
    asked: Any = {"atoms": ("sts",), "average": None}
    result, _ = decomposed(options, series, mask, tau, pairs, **asked)
    both: Any = None if pairs is None else np.concatenate([pairs, pairs[:, ::-1]])
    where = {name: estimator(options)[name] for name in ("backend", "dtype")}
    with collected():  # what has no reference is counted
        reference = analysis.persistence_reference(
            placed(options, series), tau=tau, mask=mask, pairs=both, **where, **asked
        )
        beyond = result.excess(reference)
    return square(beyond, beyond["sts"])


def _unrelated(options: DecomposeOptions, found: Prepared, tau: int, null: Any) -> Floats:
    """(nodes, nodes) excess of surrogates, mean over draws and scopes of the means over trials."""
    given = scopes(found, tau, null)
    rng = np.random.default_rng((options.seed, 3))
    total = np.zeros((found.nodes, found.nodes))
    count = np.zeros((found.nodes, found.nodes))
    depth = trials_at_once(found.nodes, 4)
    for _ in range(UNRELATED_DRAWS):
        for batches in surrogate(given, null, rng):
            of_scope, trials = np.zeros((2, found.nodes, found.nodes))
            for batch in batches:
                for start in range(0, len(batch.series), depth):
                    part = batch.series[start : start + depth]
                    values = _beyond(options, part, None, batch.tau, found.pairs)
                    known = np.isfinite(values)
                    of_scope += np.where(known, values, 0.0).sum(0)
                    trials += known.sum(0)
            total += of_scope / np.where(trials > 0, trials, 1)
            count += trials > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / count, np.float64)


def _means(
    options: DecomposeOptions, found: Prepared, given: Sequence[Sequence[Batch]]
) -> dict[str, Floats]:
    """Mean over scopes of the means over their trials: by atom, (nodes, nodes)."""
    total = {name: np.zeros((found.nodes, found.nodes)) for name in MAIN}
    count = np.zeros((found.nodes, found.nodes))
    for batches in given:
        of_scope = {name: np.zeros((found.nodes, found.nodes)) for name in MAIN}
        trials = np.zeros((found.nodes, found.nodes))
        for batch in batches:
            asked: Any = {"atoms": MAIN, "average": "trials"}
            result, _ = decomposed(options, batch.series, None, batch.tau, found.pairs, **asked)
            valid = square(result, result.valid_trials(), missing=0.0)
            for name in MAIN:
                of_scope[name] += np.where(valid > 0, square(result, result[name]) * valid, 0.0)
            trials += valid
        for name in MAIN:
            total[name] += of_scope[name] / np.where(trials > 0, trials, 1)
        count += trials > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.asarray(total[name] / count, np.float64) for name in MAIN}


def _smallest_p(found: Prepared, tau: int, null: Chosen, draws: int) -> float:
    """The smallest p that a pair can have: shifts of one trial come back to where it was."""
    smallest = 2 / (draws + 1)
    if found.trials == 1 and null.name in ("row_shift", "circular"):
        return max(smallest, 2 / int(found.samples(tau)[0]))
    return smallest


def _independent(found: Prepared, tau: int) -> float | None:
    """Samples of a trial over the correlation time of the median node, as of AR(1) nodes."""
    lag_one = persistence_of(found, 1) if found.samples(1).min() > 1 else np.array([np.nan])
    r = float(np.nanmedian(lag_one)) if np.isfinite(lag_one).any() else float("nan")
    r = min(max(r, 0.0), 1.0)
    return rounded(np.median(found.samples(tau)) * (1 - r) / (1 + r))
