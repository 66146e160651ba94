"""Arrays of dask, of which some trials are in memory at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from synkern._arrays import to_numpy
from synkern._names import node_names, unnamed
from synkern._warnings import collected, warn
from synkern.decomposition.asked import Options
from synkern.decomposition.masks import Valid, valid_samples
from synkern.decomposition.result import PhiIDResult

Decompose = Callable[[Any, Options], dict[int, PhiIDResult]]


@dataclass(frozen=True)
class Lazy:
    """Trials that are computed when they are decomposed.

    Attributes:
        array: a dask array (trials, time, nodes), its blocks some trials each, whole otherwise.
        valid: (trials, time) or None.
        node_names: if there are any.
        trial_names: likewise.
    """

    array: Any
    valid: Valid | None
    node_names: tuple[str, ...] | None
    trial_names: tuple[str, ...] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of trials, time points and nodes."""
        trials, time, nodes = self.array.shape
        return trials, time, nodes

    def blocks(self) -> Iterator[tuple[slice, Any]]:
        """The trials of each block, and their series."""
        start = 0
        for size in self.array.chunks[0]:
            trials = slice(start, start + size)
            yield trials, self.array[trials].compute()
            start += size


def lazy(series: Any, options: Options) -> Lazy | None:
    """Tell whether a series is one that is computed in parts, and in which.

    Only what is made of single trials is: pooled ones, and nodes of several columns, are taken as a
    whole, and so is a single trial.
    """
    # Whatever holds one has imported it.
    dask = sys.modules.get("dask.array")
    if dask is None or options.pooled is not None or options.members is not None:
        return None
    named = unnamed(series, "series")
    if not isinstance(named.array, dask.Array) or named.array.ndim != 3:
        return None
    array = named.array.rechunk({1: -1, 2: -1})
    names = node_names(options.node_names, named, array.shape[2])
    valid = valid_samples(named.mask(options.mask), array)
    return Lazy(array, valid, names, named.trials)


def in_blocks(given: Lazy, options: Options, decompose: Decompose) -> dict[int, PhiIDResult]:
    """Decompose block after block, by lag; each is forgotten before the next is computed."""
    joined: dict[int, _Joined] = {}
    with collected() as messages:
        for trials, series in given.blocks():
            mask = None if given.valid is None else given.valid[trials]
            found = decompose(series, replace(options, mask=mask, node_names=given.node_names))
            for lag, result in found.items():
                joined.setdefault(lag, _Joined(given, result)).add(trials.start, result)
    for message in dict.fromkeys(messages):
        warn(message)
    return {lag: each.result() for lag, each in joined.items()}


class _Joined:
    """The results of blocks as that of all: sums where trials are averaged."""

    def __init__(self, given: Lazy, first: PhiIDResult) -> None:
        self._given, self._first = given, first
        self._parts: dict[str, Any] = {}
        self._count: Any = 0
        self._constant: list[Any] = []
        self._flagged: list[Any] = []
        self._rescued = 0

    def add(self, start: int, result: PhiIDResult) -> None:
        """Take in the result of a block whose first trial is this."""
        self._constant.append(result.constant)
        self._flagged.append(result.flagged + np.array([start, 0, 0, 0]))
        self._rescued += result.rescued
        if result.average is None:
            for name, value in result.items():
                self._parts.setdefault(name, []).append(to_numpy(value))
            return
        count = result.valid_trials()
        for name, value in result.items():
            total = np.where(count > 0, to_numpy(value).astype(np.float64), 0.0) * count
            self._parts[name] = self._parts.get(name, 0) + total
        self._count = self._count + count

    def result(self) -> PhiIDResult:
        """Of all trials."""
        if self._first.average is None:
            arrays = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        else:
            count = np.where(self._count > 0, self._count, np.nan)
            arrays = {
                name: (total / count).astype(self._first.dtype)
                for name, total in self._parts.items()
            }
        return replace(
            self._first,
            arrays=arrays,
            shape=self._given.shape,
            constant=np.concatenate(self._constant),
            flagged=np.concatenate(self._flagged),
            rescued=self._rescued,
            trial_names=self._given.trial_names,
        )
