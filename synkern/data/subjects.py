"""Series of several subjects, in whatever they come, as trials of one length and their mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import incoming, to_numpy
from synkern._names import Named, node_names, roles_of, unnamed
from synkern.data.axes import ROLES, role_in
from synkern.data.dataset import Dataset
from synkern.decomposition.labels import numbered
from synkern.decomposition.masks import stack_trials

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subjects:
    """Trials of several subjects.

    Attributes:
        series: (trials, time, nodes) float64, finite wherever they are valid.
        mask: (trials, time), True where a sample is valid; None: everywhere.
        owner: (trials,) whose each trial is, the number of the subject; None: each is its own.
        nodes: names of the nodes; None if they have none.
    """

    series: Floats
    mask: npt.NDArray[np.bool_] | None
    owner: npt.NDArray[np.int64] | None
    nodes: tuple[str, ...] | None

    @classmethod
    def of_rows(cls, series: Floats, allow_missing: bool) -> Subjects:
        """Take (subjects, time, nodes) without names."""
        return cls(*_without_gaps(series, None, allow_missing), None, None)

    def part(self, trials: slice) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Series and mask of some trials."""
        return self.series[trials], None if self.mask is None else self.mask[trials]

    def check_length(self, tau: int, lost: int) -> None:
        """Raise ValueError where a trial has too few samples.

        Args:
            tau: lag in samples.
            lost: samples that preprocessing takes from the start.
        """
        trials, time, _ = self.series.shape
        if self.mask is None:
            check.samples(time - lost, tau, trials=trials)
        else:
            mask = self.mask
            for _ in range(lost):
                mask = mask[:, 1:] & mask[:, :-1]
            counts = (mask[:, tau:] & mask[:, :-tau]).sum(1)
            check.pairs_of_samples(counts, tau, None, valid=mask.sum(1))

    def named(self, given: Sequence[Any] | None) -> tuple[str, ...]:
        """Names of the nodes: those given, else those they have, else numbers."""
        nodes = self.series.shape[-1]
        found = node_names(given, Named(None, self.nodes, lambda array: array), nodes)
        return tuple(map(str, range(nodes))) if found is None else found

    def means(self, vectors: Floats) -> Floats:
        """(trials, features) as (subjects, features): means over the trials with a value."""
        if self.owner is None:
            return vectors
        known = np.isfinite(vectors)
        shape = (int(self.owner.max()) + 1, vectors.shape[1])
        total, count = np.zeros(shape), np.zeros(shape)
        np.add.at(total, self.owner, np.where(known, vectors, 0.0))
        np.add.at(count, self.owner, known)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / count)


def subjects_of(X: Any, *, allow_missing: bool = False) -> Subjects | None:
    """Take in the series of several subjects; see `SynergyConnectivity` for what they may be.

    Returns:
        None for what has two axes, or none.

    Raises:
        ValueError: no subject; nodes that differ between subjects; values that are not finite.
        TypeError: not real numbers.
    """
    if isinstance(X, Dataset):
        series, mask = _without_gaps(X.series, X.mask, allow_missing)
        owner = None
        if X.subjects is not None:
            owner = numbered(X.subjects, len(series), argument="X", what="trial")
        return Subjects(series, mask, owner, X.node_names)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = list(X)
    if isinstance(X, list | tuple):
        return _of_list(X, allow_missing)
    if len(getattr(X, "shape", ())) == 4:
        ordered, nodes = _of_four_axes(X)
        array = _numbers(ordered, "X")
        owner = np.repeat(np.arange(array.shape[0]), array.shape[1])
        flat = array.reshape(-1, *array.shape[2:])
        return Subjects(*_without_gaps(flat, None, allow_missing), owner, nodes)
    if len(getattr(X, "shape", ())) == 3:
        named = unnamed(X, "X")
        array = _numbers(named.array, "X")
        return Subjects(*_without_gaps(array, named.valid, allow_missing), None, named.nodes)
    return None


def _of_four_axes(X: Any) -> tuple[Any, tuple[str, ...] | None]:
    """Put axes with names in the order subject, trial, time, node; with the names of the nodes.

    Raises:
        ValueError: the names do not say which axis is which.
    """
    dims = tuple(getattr(X, "dims", ()))
    if not dims or dims == tuple(f"dim_{axis}" for axis in range(4)):  # xarray's own, by position
        return X, None
    roles = roles_of(dims, role_in)
    if roles is None:
        raise ValueError(
            f"the axes {dims} of X do not say which is which; name them 'subject', 'trial', 'time' "
            "and 'node', or pass the array without names, in this order"
        )
    ordered = X.transpose(*(dims[roles.index(role)] for role in ROLES))
    return ordered, unnamed(ordered[0], "X").nodes


def _of_list(X: Sequence[Any], allow_missing: bool) -> Subjects | None:
    each = [unnamed(one, f"X[{k}]") for k, one in enumerate(X)]
    axes = [_axes(one.array) for one in each]
    if not axes or min(axes) < 2:
        return None
    if max(axes) > 3:
        raise ValueError(
            f"X[{axes.index(max(axes))}] has {max(axes)} axes; the series of a subject is (time, "
            "nodes) or (trials, time, nodes)"
        )
    nodes = _same_nodes(each)
    trials, valid, owner = [], [], []
    for k, one in enumerate(each):
        array = _numbers(one.array, f"X[{k}]")
        array = array if array.ndim == 3 else array[None]
        trials += [*array]
        owner += [k] * len(array)
        known = True if one.valid is None else one.valid
        valid += [*np.broadcast_to(known, array.shape[:2])]
    series, mask = stack_trials(trials)
    for row, known in zip(mask, valid, strict=True):
        row[: len(known)] &= known
    taken = _without_gaps(series, None if mask.all() else mask, allow_missing)
    several = len(owner) > len(each)
    return Subjects(*taken, np.array(owner) if several else None, nodes)


def _axes(one: Any) -> int:
    try:
        return len(one.shape) if hasattr(one, "shape") else np.ndim(one)
    except ValueError:  # rows of unequal length
        return 0


def _same_nodes(each: Sequence[Named]) -> tuple[str, ...] | None:
    named = [(k, one.nodes) for k, one in enumerate(each) if one.nodes is not None]
    for k, nodes in named:
        if nodes != named[0][1]:
            raise ValueError(
                f"the nodes of X[{k}] have other names than those of X[{named[0][0]}]: {nodes} and "
                f"{named[0][1]}; give all subjects the same nodes in the same order"
            )
    return named[0][1] if named else None


def _numbers(array: Any, argument: str) -> Floats:
    # Not as whole numbers without an offset: subjects are stacked, and preprocessing comes first.
    return np.asarray(to_numpy(incoming(array, "numpy", argument=argument).array), np.float64)


def _without_gaps(
    series: Floats, mask: npt.NDArray[np.bool_] | None, allow_missing: bool
) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
    """A series and its mask, in which samples with NaN are missing where that is allowed.

    Raises:
        ValueError: values that are not finite.
    """
    missing = np.asarray(np.isnan(series).any(-1))
    if allow_missing and missing.any():
        mask = ~missing if mask is None else mask & ~missing
    known = np.asarray(np.isfinite(series).all(-1))
    wrong = ~known if mask is None else mask & ~known
    if wrong.any():
        trial, time = np.argwhere(wrong)[0]
        what = "NaN" if missing[trial, time] else "infinity"
        raise ValueError(
            f"Input X contains {what}, the first in series {trial} at time {time}"
            + ("; allow_missing=True leaves such samples out" if what == "NaN" else "")
        )
    return series, mask
