"""All pairs, or a rectangle of them, in tiles of whole-array operations, for every library.

    features of nodes -> atoms of a tile of pairs -> sums over trials, mirrored tile too
                                `-> marked pairs  -> stable path -> added to the sums

Moments exist only tile by tile, so memory is a few times the input, plus the output, plus 40 bytes
for each marked pair. What is computed is an `Estimator` (`formulas.estimators`); tiles are those of
`engine.tiles`, marked pairs go through `engine.marks`, chosen ones through `engine.chosen_pairs`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

from ..contract import (
    LIMITS,
    Array,
    Estimator,
    Features,
    Library,
    Limits,
    Pairs,
    Rectangle,
    Request,
    Tile,
    Totals,
    lost_flags,
)
from ..lattice import swap_nodes
from .marks import positions, rescue
from .tiles import closed_form, place, tiles

MASKS = 1 << 24
"""Entries of masks of marked pairs that are read together: at each read a host waits for a GPU."""


def request_for(
    wanted: Sequence[str],
    *,
    per_trial: bool,
    dtype: str,
    estimator: Estimator,
    tau: int = 1,
    pooled: str | None = None,
    pairs: Array | None = None,
    by_node: bool = False,
    rectangle: Rectangle | None = None,
    limits: Limits = LIMITS,
) -> Request:
    """The request for these atoms, and for those that mirrored tiles and sums by node need."""
    return Request(
        wanted=tuple(wanted),
        names=_names(tuple(wanted), rectangle, by_node),
        per_trial=per_trial,
        dtype=dtype,
        estimator=estimator,
        tau=tau,
        pooled=pooled,
        pairs=pairs,
        by_node=by_node,
        rectangle=rectangle,
        limits=limits,
    )


def narrowed(request: Request, rectangle: Rectangle | None) -> Request:
    """The same request of a rectangle, or of all pairs."""
    names = _names(request.wanted, rectangle, request.by_node)
    return replace(request, rectangle=rectangle, names=names)


def _names(wanted: tuple[str, ...], rectangle: Rectangle | None, by_node: bool) -> tuple[str, ...]:
    return closed(wanted) if rectangle is None or by_node else tuple(dict.fromkeys(wanted))


@functools.cache
def closed(names: tuple[str, ...]) -> tuple[str, ...]:
    """These atoms, then those that they become when x and y are exchanged."""
    return tuple(dict.fromkeys([*names, *(swap_nodes(name) for name in names)]))


def totals(lib: Library, features: Features, request: Request) -> Totals:
    """Sum the atoms of pairs over trials by tiles, then rescue what these marked."""
    trials, nodes = features.constant.shape
    sides = (nodes, nodes) if request.rectangle is None else request.rectangle.shape
    shape = (trials, *sides) if request.per_trial else sides
    sums = {name: lib.zeros(shape, request.dtype, features.like) for name in request.names}
    marked = [lib.zeros((0, 3), "int64", features.like)]
    waiting: list[tuple[Tile, Array]] = []
    held = 0
    for tile in tiles(features, request):
        values, _, unresolved = closed_form(lib, features, request, tile)
        _add_tile(request, sums, tile, values)
        waiting.append((tile, unresolved))
        held += math.prod(unresolved.shape)
        if held > MASKS:
            marked += _marked(lib, waiting)[0]
            waiting, held = [], 0
    last, some_constant = _marked(lib, waiting, features.constant)
    flagged, rescued = rescue(lib, features, request, sums, lib.xp.concatenate([*marked, *last]))
    return Totals(sums, flagged, rescued, all_vary=not some_constant)


def _marked(
    lib: Library, waiting: Sequence[tuple[Tile, Array]], *others: Array
) -> tuple[list[Array], bool]:
    """Positions of what masks of tiles mark, and whether another mask marks anything: one read."""
    masks = [mask for _, mask in waiting]
    some = lib.xp.stack([mask.any() for mask in [*masks, *others]]).tolist()
    found = [
        positions(lib, mask, tile)
        for (tile, mask), marks in zip(waiting, some, strict=False)
        if marks
    ]
    return found, any(some[len(masks) :])


def _add_tile(
    request: Request, sums: dict[str, Array], tile: Tile, values: Sequence[Array]
) -> None:
    rows, columns = place(request, tile)
    trials = (tile.trials,) if request.per_trial else ()
    for name, value in zip(request.names, values, strict=True):
        summed = value if request.per_trial else value.sum(0)
        sums[name][(*trials, rows, columns)] += summed
        if request.rectangle is None:
            sums[swap_nodes(name)][(*trials, columns, rows)] += summed.swapaxes(-1, -2)


def finish(lib: Library, request: Request, found: Totals, *, constant: Array) -> Pairs:
    """Turn sums into averages over the trials with a value, and what has none into NaN.

    The sums are used up: averages take their memory.
    """
    lost = lost_flags(found.flagged)
    all_vary = found.all_vary or not bool(constant.any())
    atoms_by_name = {name: found.sums.pop(name) for name in request.wanted}
    found.sums.clear()
    if request.per_trial:
        _blank(lib, request, atoms_by_name, lost, None if all_vary else constant)
    elif all_vary and not len(lost):
        for total in atoms_by_name.values():
            total[...] = total / constant.shape[0]
    else:
        _average(lib, request, atoms_by_name, lost, constant)
    if request.rectangle is None:
        for value in atoms_by_name.values():
            diagonal = lib.arange(value.shape[-1], value)
            value[..., diagonal, diagonal] = math.nan
    return Pairs(atoms_by_name, constant, found.flagged, len(found.rescued), all_vary)


def _places(request: Request, lost: Array) -> tuple[Array, Array]:
    """Row and column of lost pairs in the matrices of a request."""
    row, column = lost[:, 1], lost[:, 2]
    if request.rectangle is None:
        return row, column
    rows, columns = request.rectangle
    return row - rows.start, column - columns.start


def _sides(request: Request, constant: Array) -> tuple[Array, Array]:
    """Constant rows and columns, (trials, rows or columns)."""
    if request.rectangle is None:
        return constant, constant
    rows, columns = request.rectangle
    return constant[:, rows], constant[:, columns]


def _blank(
    lib: Library,
    request: Request,
    atoms_by_name: dict[str, Array],
    lost: Array,
    constant: Array | None,
) -> None:
    """Write NaN where a trial has no value; no node is constant where None is given."""
    k, (i, j) = lost[:, 0], _places(request, lost)
    for value in atoms_by_name.values():
        value[k, i, j] = math.nan
        if request.rectangle is None:
            value[k, j, i] = math.nan
    if constant is None:
        return
    rows, columns = _sides(request, constant)
    trial, node = lib.xp.where(rows)
    other_trial, other = lib.xp.where(columns)
    for value in atoms_by_name.values():
        value[trial, node] = math.nan
        value[other_trial, :, other] = math.nan


def _average(
    lib: Library, request: Request, atoms_by_name: dict[str, Array], lost: Array, constant: Array
) -> None:
    """Divide by the number of trials that have a value, NaN where there is none."""
    constant_rows, constant_columns = _sides(request, constant)
    row, column = _places(request, lost)
    count = lib.cast(~constant_rows, request.dtype).swapaxes(0, 1) @ lib.cast(
        ~constant_columns, request.dtype
    )
    less = lib.zeros((len(lost),), request.dtype, count) - 1
    lib.add_at(count, (row, column), less)
    if request.rectangle is None:
        lib.add_at(count, (column, row), less)
    missing = count == 0
    count[missing] = 1
    for total in atoms_by_name.values():
        total[...] = total / count
        total[missing] = math.nan
