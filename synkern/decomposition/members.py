"""Nodes of several columns: which columns a node has, and the series as bases of them.

The Gaussian informations of ΦID are between sets of variables, so a node may be several columns:
the heads of a layer, the first components of a head, the voxels of a region. `members=` of `phiid`
says which columns a node has; the rest of the call is about nodes as ever.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import in_float64, is_tensor, like, spacing, to_numpy
from synkern._names import Named, node_names
from synkern._warnings import collected, warn
from synkern.decomposition.asked import Options
from synkern.decomposition.batches import Batch
from synkern.decomposition.sources import Source
from synkern.kernels import Bases, bases, steady

Columns = npt.NDArray[np.int64]  # (nodes, width), -1 beyond the last column of a node

FEW = 5
"""Samples for each variable of a pair below which the bias of its informations is large."""


@dataclass(frozen=True)
class Members:
    """Which columns each node has.

    Attributes:
        columns: (nodes, width) int64, -1 beyond the last column of a node.
        names: of the nodes, if they have any.
    """

    columns: Columns
    names: tuple[str, ...] | None

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(nodes,) number of columns."""
        return np.asarray((self.columns >= 0).sum(-1))


def of_members(source: Source, series: Any, options: Options) -> Source:
    """A source of nodes in place of columns.

    Args:
        source: of the columns, checked; its names are those of the columns.
        series: the caller's.
        options: of the call, with `members`; its names are those of the nodes.

    Raises:
        ValueError: columns that do not exist, or that a node has twice or shares; fewer samples
            than a pair of nodes has variables (when the data are asked for).
        TypeError: not lists of columns.
    """
    members = taken(options.members, source.shape[2], source.node_names, options.node_names)
    xp: Any = sys.modules[source.backend.arrays]
    resolution = steady.ROUNDINGS * spacing(series)
    judged: set[int] = set()  # lags; on the way back a transform asks again

    def data(array: Any, lag: int) -> list[Batch]:
        with collected() if lag in judged else contextlib.nullcontext():
            judged.add(lag)
            given = source.data(array, lag)
            _judge_samples(given, members, lag, options.pooled)
            made = [_of_columns(xp, batch, members, options.pooled, resolution) for batch in given]
            _warn_of_dropped(made, members)
        return made

    shape = (*source.shape[:2], len(members.columns))
    return replace(source, data=data, shape=shape, node_names=members.names)


# ---- What was asked for --------------------------------------------------------------------------


def taken(members: Any, columns: int, column_names: Sequence[str] | None, names: Any) -> Members:
    """Columns by node, from `phiid(..., members=members)`.

    Args:
        members: a list of columns for each node, or a mapping from names of nodes to these; columns
            by number or name.
        columns: number of columns of the series.
        column_names: their names, if they have any.
        names: of the nodes, if any are given.
    """
    if isinstance(members, Mapping):
        names = [str(name) for name in members] if names is None else names
        listed = list(members.values())
    elif isinstance(members, Set | str | bytes) or not isinstance(members, Iterable):
        raise TypeError(
            "members must be a list of columns for each node, [[0, 1], [2]] for instance, or a "
            f"mapping from names of nodes to such lists; got {members!r}"
        )
    else:
        listed = list(members)
    if len(listed) < 2:
        raise ValueError(f"members must make at least two nodes; got {len(listed)}")
    numbers = _numbers(column_names)
    found = [_columns(node, each, columns, numbers) for node, each in enumerate(listed)]
    _refuse_shared(found)
    table = np.full((len(found), max(map(len, found))), -1, np.int64)
    for row, each in zip(table, found, strict=True):
        row[: len(each)] = each
    return Members(table, node_names(names, Named(None, None, lambda array: array), len(found)))


def _numbers(names: Sequence[str] | None) -> dict[Hashable, int] | None:
    """Number of each column by its name; -1 of a name that several have; None without names."""
    if names is None:
        return None
    numbers: dict[Hashable, int] = {}
    for number, name in enumerate(names):
        numbers[name] = -1 if name in numbers else number
    return numbers


def _columns(
    node: int, given: Any, columns: int, numbers: Mapping[Hashable, int] | None
) -> list[int]:
    """The columns of a node, by number."""
    if isinstance(given, str | bytes | Set) or not isinstance(given, Iterable):
        raise TypeError(
            f"members[{node}] must be a list of columns; got {given!r}: a node of one column is "
            "[column]"
        )
    each = list(to_numpy(given)) if hasattr(given, "__dlpack__") else list(given)
    if not each:
        raise ValueError(f"members[{node}] is empty; a node needs a column, or leave it out")
    named = [isinstance(column, str) for column in each]
    if any(named):
        each = [_by_name(node, column, numbers) for column in each]
    found: list[int] = check.node_indices(f"members[{node}]", each, columns).tolist()
    if len(set(found)) < len(found):
        twice = next(column for column in found if found.count(column) > 1)
        raise ValueError(f"members[{node}] names column {twice} twice; name it once")
    return found


def _by_name(node: int, column: Any, numbers: Mapping[Hashable, int] | None) -> Any:
    if not isinstance(column, str):
        return column
    if numbers is None:
        raise ValueError(
            f"members[{node}] names the column {column!r}, but the columns of the series have no "
            "names; give their numbers, or a frame or xarray"
        )
    if column not in numbers:
        raise ValueError(
            f"members[{node}] names the column {column!r}, which the series does not have; it has "
            f"{', '.join(map(repr, list(numbers)[:8]))}{' ...' if len(numbers) > 8 else ''}"
        )
    if numbers[column] < 0:
        raise ValueError(
            f"members[{node}] names the column {column!r}, as several columns of the series are "
            "named; give their numbers"
        )
    return numbers[column]


def _refuse_shared(found: Sequence[Sequence[int]]) -> None:
    owner: dict[int, int] = {}
    for node, columns in enumerate(found):
        for column in columns:
            if owner.setdefault(column, node) != node:
                raise ValueError(
                    f"members[{owner[column]}] and members[{node}] both have column {column}: what "
                    "it tells would be redundant between them by their definition; give it to one "
                    "of them, or decompose them in separate calls"
                )


# ---- From columns to nodes -----------------------------------------------------------------------


def _of_columns(
    xp: Any, batch: Batch, members: Members, pooled: str | None, resolution: float
) -> Batch:
    series = in_float64(batch.series)
    if batch.unsettled:
        series = steady.settled(xp, series, batch.tau, pooled, batch.unsettled)
    columns = like(members.columns, series)
    # As backends do: torch would round matrix products where a caller has it cast.
    plain: Any = contextlib.nullcontext()
    if is_tensor(series):
        plain = importlib.import_module("torch").autocast(series.device.type, enabled=False)
    with plain:
        made = bases(xp, series, batch.tau, pooled, columns, resolution)
    return batch._replace(series=made, unsettled=0.0)


def _samples(batch: Batch, pooled: str | None) -> int:
    """Number of (past, future) pairs of each trial, or of all together but for their own means."""
    trials, time, _ = batch.series.shape
    if pooled is None:
        return int(time - batch.tau)
    number = int(trials * (time - batch.tau))
    return number - (trials - 1) if pooled == "moments" else number


def _judge_samples(given: Sequence[Batch], members: Members, lag: int, pooled: str | None) -> None:
    """Judge the number of samples by that of the variables of the widest pair.

    Raises:
        ValueError: the covariance of its past and future cannot have full rank.

    Warns:
        UserWarning: fewer than `FEW` samples for each variable.
    """
    widest = np.argsort(-members.sizes, kind="stable")[:2]
    one, other = (int(size) for size in members.sizes[widest])
    variables = 2 * (one + other)
    samples = min(_samples(batch, pooled) for batch in given)
    said = (
        f"nodes {widest[0]} and {widest[1]} have {one} and {other} columns, {variables} variables "
        f"in past and future, and there are {samples} samples at tau = {lag}"
        + ("" if pooled else " of a trial")
    )
    remedy = (
        "fewer columns (the first principal components of a node, say), longer trials, or "
        "average='moments', which pools trials"
    )
    if samples <= variables:
        raise ValueError(f"{said}; at least {variables + 1} are needed: {remedy}")
    if samples < FEW * variables:
        bias = (one + other) ** 2 / (2 * samples)
        warn(
            f"{said}; below {FEW * variables} the bias of the estimate is large, about {bias:.2g} "
            f"nats in all that the pasts of these two tell of their futures: {remedy}"
        )


def _warn_of_dropped(made: Sequence[Batch], members: Members) -> None:
    """Warn of columns that add nothing to their nodes."""
    fewer, total, said = 0, 0, ""
    for batch in made:
        found: Bases = batch.series
        sides = [to_numpy(side) for side in found.directions()]
        least = np.minimum(*sides)
        less = (least < members.sizes) & ~to_numpy(found.constant)
        total += less.size
        fewer += int(less.sum())
        if less.any() and not said:
            trial, node = (int(k) for k in np.argwhere(less)[0])
            said = f"node {node}, {least[trial, node]} of its {members.sizes[node]}"
    if fewer:
        warn(
            f"{fewer} of {total} (trial, node) have columns that are constant or depend linearly "
            f"on the others of their node, and add nothing: independent are, of {said}, for "
            "instance"
        )
