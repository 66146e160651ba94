"""Calls of the decomposition, unit by unit: where, with which options, and what they met."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern import decomposition
from synkern._arrays import to_numpy
from synkern._warnings import collected
from synkern.decomposition import PhiIDResult
from synkern.study.of_data.options import DecomposeOptions
from synkern.study.of_data.preparing import Floats, Indices, Prepared

# Matrices of one chunk of trials, with temporaries, in bytes, and how many a trial has at once.
CHUNK_BYTES = 256 * 2**20
_MATRICES_PER_TRIAL = 4

Work = Callable[[Any, NDArray[np.bool_] | None], PhiIDResult]


@dataclass
class Met:
    """What computed, and what it met that is no ordinary pair.

    Attributes:
        backend: the one that ran.
        unit: of the atoms.
        degenerate: (trial, pair) by kind.
        rescued: (trial, pair) that were recomputed from the data.
        messages: of what was warned.
    """

    backend: str = ""
    unit: str = ""
    degenerate: Counter[str] = field(default_factory=Counter)
    rescued: int = 0
    messages: list[str] = field(default_factory=list)

    def add(self, result: PhiIDResult, messages: list[str]) -> None:
        """Take in a result and what was warned while it was made."""
        self.backend, self.unit = result.backend, result.unit
        self.degenerate.update(result.degenerate)
        self.rescued += int(result.rescued)
        # Every chunk warns of its own; what is degenerate is counted over all.
        self.messages += [m for m in messages if "are degenerate:" not in m]

    def warnings(self, entries: int) -> list[str]:
        """Return each message once, and one of all degenerate pairs of so many (trial, pair)."""
        counts = ", ".join(f"{n:,} {kind}" for kind, n in self.degenerate.items() if n)
        told = list(dict.fromkeys(self.messages))
        if counts:
            total = self.degenerate.total()
            told.append(f"{total:,} of {entries:,} (trial, pair) are degenerate: {counts}")
        return told


def estimator(options: DecomposeOptions) -> dict[str, Any]:
    """Return the options of `phiid` that all calls have in common."""
    names = ("kind", "redundancy", "backend", "dtype")
    return {name: getattr(options, name) for name in names}


def placed(options: DecomposeOptions, series: Floats) -> Any:
    """Return the series where it is decomposed: on the device, or as it is."""
    if options.device == "cpu":
        return series
    torch = importlib.import_module("torch")
    return torch.from_numpy(np.ascontiguousarray(series)).to(options.device)


def decomposed(
    options: DecomposeOptions,
    series: Floats,
    mask: NDArray[np.bool_] | None,
    tau: int,
    pairs: Indices | None,
    **asked: Any,
) -> tuple[PhiIDResult, list[str]]:
    """Decompose a series, (trials, time, nodes).

    Args:
        options: of the estimator.
        series: whose pairs are asked for.
        mask: as in `phiid`.
        tau: lag.
        pairs: as in `Prepared`.
        **asked: further options of `phiid`: average, atoms.

    Returns:
        The result, and what was warned of.
    """
    both = None if pairs is None else np.concatenate([pairs, pairs[:, ::-1]])
    with collected() as messages:
        result = decomposition.phiid(
            placed(options, series), tau=tau, mask=mask, pairs=both, **estimator(options), **asked
        )
    return result, messages


def square(result: PhiIDResult, values: Any, missing: float = np.nan) -> Floats:
    """Return (..., nodes, nodes) of what a result has for each pair; `missing` where it has none.

    Args:
        result: of all pairs, or of chosen ones in both orders.
        values: (..., nodes, nodes), or (..., pairs).
        missing: stands for the pairs that were not chosen.
    """
    array = np.asarray(to_numpy(values), np.float64)
    if result.pairs is None:
        return array
    out = np.full((*array.shape[:-1], result.nodes, result.nodes), missing)
    out[..., result.pairs[:, 0], result.pairs[:, 1]] = array
    return out


def trials_at_once(nodes: int, atoms: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """Return how many trials are decomposed in one call."""
    return max(1, chunk_bytes // (8 * _MATRICES_PER_TRIAL * atoms * nodes * nodes))


def by_unit(
    found: Prepared,
    work: Callable[[Indices], Mapping[str, Floats]],
    depth: int,
    progress: Callable[[int], Any],
) -> Iterator[dict[str, Floats]]:
    """Yield units in order, several at a time: by atom, (units, nodes, nodes).

    Args:
        found: the recording.
        work: given some trials, what each has: by atom, (trials, nodes, nodes).
        depth: most trials that it is given.
        progress: called with the number of trials that are done.

    An entry is the mean over a unit's trials in which it has a value.
    """
    sizes = np.bincount(found.unit_of, minlength=len(found.units))
    if (sizes == 1).all():
        order = np.argsort(found.unit_of, kind="stable").astype(np.int64)
        for start in range(0, len(order), depth):
            trials = order[start : start + depth]
            yield dict(work(trials))
            progress(len(trials))
        return
    for unit in range(len(found.units)):
        trials = found.of_unit(unit)
        total: dict[str, Floats] = {}
        count: dict[str, Floats] = {}
        for start in range(0, len(trials), depth):
            some = trials[start : start + depth]
            for name, values in work(some).items():
                known = np.isfinite(values)
                total[name] = total.get(name, 0.0) + np.where(known, values, 0.0).sum(0)
                count[name] = count.get(name, 0.0) + known.sum(0)
            progress(len(some))
        with np.errstate(invalid="ignore", divide="ignore"):
            yield {name: (total[name] / count[name])[None] for name in total}


def taken(found: Prepared, trials: Indices) -> tuple[Floats, NDArray[np.bool_] | None]:
    """Return the series of some trials, and their mask; None where all samples are valid."""
    valid = found.valid[trials]
    return found.series[trials], None if valid.all() else valid
