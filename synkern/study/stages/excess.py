"""Synergy beyond the persistence of single nodes, as the analysis of a study finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import analysis, decomposition
from synkern._warnings import collected
from synkern.analysis.profile import MISSING_TOLERATED
from synkern.study.numerals import rounded
from synkern.study.settings import Settings
from synkern.study.stage import BASELINE, EXCESS, Facts
from synkern.study.stages.series import for_backend
from synkern.study.stages.statistics import correlation

EXCESS_SYNERGY = {"sts": "excess"}
"""The atom that a study asks for beyond persistence, and what it is called then."""

# Atoms, reference and temporaries of one chunk of trials, in bytes.
CHUNK_BYTES = 256 * 2**20
_MATRICES_PER_TRIAL = 4


def excess_of(
    settings: Settings,
    series: NDArray[Any],
    bootstrap: Callable[[analysis.Averages, tuple[str, ...]], dict[str, analysis.LayerProfile]],
) -> tuple[analysis.TrialAverages, dict[str, analysis.LayerProfile]]:
    """The excess synergy, and its profiles: also what so few samples give where there is none."""
    found = excess_averages(settings, series)
    shuffled = excess_averages(settings, unrelated(series, settings.seed))
    return found, bootstrap(found, (EXCESS,)) | bootstrap(shuffled, (BASELINE,))


def excess_averages(
    settings: Settings,
    series: NDArray[Any],
    chunk_bytes: int = CHUNK_BYTES,
    names: Mapping[str, str] = EXCESS_SYNERGY,
) -> analysis.TrialAverages:
    """Return what atoms of every trial have beyond persistence; NaN without a reference.

    A chunk of trials at a time: trials do not know of each other, so chunks joined are what one
    call would give, while no more than a chunk of full matrices is alive.

    Args:
        settings: Gaussian, MMI, average over trials.
        series: (trials, time, nodes).
        chunk_bytes: what the matrices of a chunk may take.
        names: by atom, what its excess is called: synergy alone, as `excess`, by default.

    Raises:
        ValueError: no pair has a reference in any trial.
    """
    trials, _, nodes = series.shape
    atoms = tuple(names)
    depth = max(1, chunk_bytes // (8 * _MATRICES_PER_TRIAL * len(atoms) * nodes * nodes))

    def chunks() -> Iterator[Mapping[str, Any]]:
        for start in range(0, trials, depth):
            chunk = for_backend(settings, series[start : start + depth])
            result = decomposition.phiid(chunk, atoms=atoms, average=None, **settings.estimator)
            reference = analysis.persistence_reference(
                chunk, tau=settings.tau, atoms=atoms, average=None
            )
            beyond = result.excess(reference)
            yield {name: beyond[atom] for atom, name in names.items()}

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


def counts_of(averages: analysis.TrialAverages) -> NDArray[np.int64]:
    """(nodes, nodes): in how many trials each pair has a value; 0 on the diagonal."""
    counts = np.zeros((averages.nodes, averages.nodes), np.int64)
    by_pair = averages.trials if averages.valid is None else averages.valid.sum(0)
    counts[np.triu_indices(averages.nodes, 1)] = by_pair
    return counts + counts.T


def about_the_missing(
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
    drift = np.abs(correlation(series, np.broadcast_to(place, series.shape)))
    # Of a pair: the mean of its two nodes.
    drift = (drift[:, rows] + drift[:, columns]) / 2
    for name, values in (("sts", raw.atoms["sts"]), ("drift", drift)):
        for group, members in (("with", known), ("without", lost)):
            chosen = values[members]
            chosen = chosen[np.isfinite(chosen)]
            facts[f"{name}_{group}"] = rounded(chosen.mean()) if len(chosen) else None
    return facts


def warning_of_the_missing(beyond: Facts) -> list[str]:
    """A warning if too many pairs have no excess, by what `about_the_missing` says; or none."""
    if beyond["absent"] is not None or beyond["complete"]:
        return []
    percent = f"{100 * beyond['missing_share']:.0f} %"
    return [
        f"{percent} of the (prompt, pair) have no persistence reference; the excess synergy of the "
        "others does not stand for them, and no verdict is given on it"
    ]
