"""The step that decomposes all pairs at a lag, averages over units, and scores the nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis
from synkern.analysis.scores import RANKINGS, mean_over_pairs
from synkern.kernels import ATOMS
from synkern.study.errors import StudyError
from synkern.study.of_data.computing import (
    Met,
    by_unit,
    decomposed,
    square,
    taken,
    trials_at_once,
)
from synkern.study.of_data.options import ALL, DecomposeOptions
from synkern.study.of_data.preparing import Floats, Indices, Prepared
from synkern.study.of_data.scoring import PERSISTENCE, by_group, scored
from synkern.study.stages.statistics import correlation

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]

MAIN = ("sts", "rtr")
"""The atoms that scores are made of."""

_OF_GROUPS = ("synergy", "redundancy", RANKINGS[0], PERSISTENCE)


def names_of(options: DecomposeOptions) -> tuple[str, ...]:
    """Return the atoms that are kept, in their order."""
    asked = ATOMS if ALL in options.atoms else (*options.atoms, *MAIN)
    return tuple(atom for atom in ATOMS if atom in asked)


def decompose_at(options: DecomposeOptions, found: Prepared, tau: int) -> tuple[Arrays, Facts]:
    """Decompose at a lag.

    Returns:
        Arrays: each atom, (nodes, nodes), mean over units; `node_N` (nodes,) and `interval_N`
        (nodes, 2) for synergy, redundancy, every ranking and persistence; `unit_synergy` and
        `unit_redundancy` (units, nodes); `unit_sts` and `unit_rtr` (units, nodes, nodes) where they
        are kept. And facts, as JSON holds them.

    Raises:
        StudyError: no pair has a value.
    """
    started = time.perf_counter()
    names, met = names_of(options), Met()
    kept: dict[str, list[Floats]] = {name: [] for name in MAIN}
    of_nodes: dict[str, list[Floats]] = {name: [] for name in MAIN}
    sums = {name: np.zeros((found.nodes, found.nodes)) for name in names}
    count = {name: np.zeros((found.nodes, found.nodes)) for name in names}

    def units() -> Iterator[dict[str, Floats]]:
        label = f"lag {tau}: decomposing"
        with options.bar(label, found.trials, "trial") as bar:
            for some in _units(options, found, tau, met, bar.update):
                for name, values in some.items():
                    known = np.isfinite(values)
                    sums[name] += np.where(known, values, 0.0).sum(0)
                    count[name] += known.sum(0)
                for name in MAIN:
                    of_nodes[name].append(np.asarray(mean_over_pairs(some[name]), float))
                    kept[name] += [some[name]] if options.keep_subjects else []
                yield {name: some[name] for name in MAIN}

    try:
        averages: analysis.Averages = analysis.TrialAverages.of(units())
    except ValueError as error:
        raise StudyError(f"lag {tau}: {error}") from error
    arrays: Arrays = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        arrays |= {name: sums[name] / count[name] for name in names}
    taken_at = time.perf_counter()
    persistence = persistence_of(found, tau)
    over_trials = pooled_alone(options, found)
    if over_trials:
        averages, persistence_drawn = _drawn_trials(options, found, tau), persistence
    else:
        persistence_drawn = _by_unit(found, persistence)
    pairs = np.isfinite(arrays["sts"]).sum(1)
    result = scored(options, averages, persistence_drawn, pairs, f"lag {tau}: bootstrap")
    arrays |= result.arrays()
    for name, atom in (("synergy", "sts"), ("redundancy", "rtr")):
        arrays[f"unit_{name}"] = np.concatenate(of_nodes[atom])
    arrays |= {f"unit_{name}": np.concatenate(rows) for name, rows in kept.items() if rows}
    samples = found.samples(tau)
    entries = found.count * (len(found.units) if options.average != "trials" else found.trials)
    entries = found.count if over_trials else entries
    return arrays, {
        "seconds": {
            "decomposition": round(taken_at - started, 3),
            "scores and bootstrap": round(time.perf_counter() - taken_at, 3),
        },
        "samples": [int(samples.min()), int(samples.max())],
        "pairs": found.count,
        "decompositions": entries,
        "backend_that_ran": met.backend,
        "unit": met.unit,
        "degenerate": dict(met.degenerate),
        "recomputed_from_data": met.rescued,
        "without_value": found.count - int(np.isfinite(arrays["sts"]).sum()) // 2,
        "warnings": met.warnings(entries),
        "drawn": averages.trials if averages.trials > 1 else 0,
        "means": {name: result.mean(name) for name in result.values if name != "rank_difference"},
        "correlations": {
            f"{a}, {b}": result.correlation(a, b)
            for a, b in (
                ("synergy", PERSISTENCE),
                ("redundancy", PERSISTENCE),
                ("synergy", "redundancy"),
                (RANKINGS[0], RANKINGS[1]),
                (RANKINGS[0], RANKINGS[2]),
                (RANKINGS[0], PERSISTENCE),
            )
        },
        "stability": result.stability(RANKINGS[0]),
        "groups": by_group(found, result, _OF_GROUPS),
    }


def pooled_alone(options: DecomposeOptions, found: Prepared) -> bool:
    """Whether all trials are pooled, so that trials are drawn and decomposed anew."""
    return options.average != "trials" and not found.of_subjects


def persistence_of(found: Prepared, tau: int) -> Floats:
    """(trials, nodes), each node's own correlation at the lag, over its valid samples."""
    rows = []
    for trial in range(found.trials):
        past, future = found.rows(trial, tau)
        rows.append(correlation(past[None], future[None])[0])
    return np.stack(rows)


def _by_unit(found: Prepared, values: Floats) -> Floats:
    """Means over the trials of each unit: (trials, nodes) to (units, nodes)."""
    return np.stack(
        [mean_over_pairs(values[found.of_unit(unit)].T) for unit in range(len(found.units))]
    )


def _units(
    options: DecomposeOptions, found: Prepared, tau: int, met: Met, progress: Any
) -> Iterator[dict[str, Floats]]:
    """Atoms of every unit, (units, nodes, nodes), some units at a time."""
    names = names_of(options)
    if options.average == "trials":
        depth = trials_at_once(found.nodes, 2 * len(names))

        def work(trials: Indices) -> dict[str, Floats]:
            return _atoms(options, found, trials, tau, met, None)

        yield from by_unit(found, work, depth, progress)
        return
    of_units = range(len(found.units)) if found.of_subjects else [None]
    for unit in of_units:
        trials = np.arange(found.trials) if unit is None else found.of_unit(unit)
        atoms = _atoms(options, found, trials, tau, met, options.average)
        yield {name: values[None] for name, values in atoms.items()}
        progress(len(trials))


def _atoms(
    options: DecomposeOptions,
    found: Prepared,
    trials: Indices,
    tau: int,
    met: Met,
    average: str | None,
) -> dict[str, Floats]:
    series, mask = taken(found, trials)
    asked = {"atoms": names_of(options), "average": average}
    result, messages = decomposed(options, series, mask, tau, found.pairs, **asked)
    met.add(result, messages)
    return {name: square(result, result[name]) for name in result}


def _drawn_trials(options: DecomposeOptions, found: Prepared, tau: int) -> analysis.Averages:
    """All trials pooled, so that draws are decomposed anew; NaN stands for what is not valid."""

    def pooled(series: Floats) -> dict[str, Floats]:
        mask = np.isfinite(series[..., 0])
        asked = {"atoms": MAIN, "average": options.average}
        filled = np.where(mask[..., None], series, 0.0)
        valid = None if mask.all() else mask
        result, _ = decomposed(options, filled, valid, tau, found.pairs, **asked)
        return {name: square(result, result[name]) for name in MAIN}

    gapped = np.where(found.valid[..., None], found.series, np.nan)
    return analysis.PooledAverages.of(gapped, pooled)


def pooled_said(average: str) -> str:
    """Return in words how trials combine."""
    return {
        "trials": "computed for each trial and averaged",
        "moments": "from moments (or counts) about each trial's own mean, pooled over trials and "
        "decomposed once",
        "concatenate": "from the trials joined to one long series, lags across the seams left out",
    }[average]
