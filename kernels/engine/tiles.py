"""Tiles of the matrix of pairs: which there are, which entries stand for pairs, and their atoms.

All pairs are covered by the tiles on and above the diagonal: exchanging the nodes of a pair
exchanges x and y in the names of its atoms, so the lower half is the upper one, transposed and
renamed. A rectangle has no mirror image, and is covered by its own tiles. Either way a tile holds
some trials of some rows and columns, few enough for its temporaries to stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..contract import Array, Features, Library, Request, Tile, smallest_trusted

FEWEST_ROWS = 16
"""Rows and columns of a tile at least, where there are as many."""


def tiles(features: Features, request: Request) -> Iterator[Tile]:
    """Cover every trial of every pair of a request once; tiles of some pairs follow each other."""
    trials, nodes = features.constant.shape
    entries = request.limits.tile or request.estimator.tile_entries(features)
    rectangle = request.rectangle
    if rectangle is not None:
        yield from _of_rectangle(rectangle.rows, rectangle.columns, trials, entries)
        return
    if nodes == 2:  # Nothing but the one pair: not the diagonal, nor its mirror image.
        yield from _of_rectangle(slice(0, 1), slice(1, 2), trials, entries)
        return
    depth, width = _depth_and_width(nodes * nodes, trials, entries, nodes)
    for i in range(0, nodes, width):
        rows = slice(i, min(i + width, nodes))
        for j in range(i, nodes, width):
            columns = slice(j, min(j + width, nodes))
            for k in range(0, trials, depth):
                yield Tile(slice(k, min(k + depth, trials)), rows, columns)


def _depth_and_width(pairs: int, trials: int, entries: int, longest: int) -> tuple[int, int]:
    """Trials of a tile, and the rows and columns of a square one."""
    depth = max(1, min(trials, entries // 4096))
    width = max(FEWEST_ROWS, math.isqrt(entries // depth))
    if longest <= width:  # Few pairs: let trials fill the tile.
        depth = max(1, entries // pairs)
    return depth, width


def _of_rectangle(rows: slice, columns: slice, trials: int, entries: int) -> Iterator[Tile]:
    """Tiles of a rectangle; a narrow one is cut into longer tiles, of as many entries."""
    height, width = rows.stop - rows.start, columns.stop - columns.start
    depth, side = _depth_and_width(height * width, trials, entries, max(height, width))
    tall = min(height, side if width >= side else max(side, side * side // width))
    wide = min(width, max(side, side * side // tall))
    for i in range(rows.start, rows.stop, tall):
        for j in range(columns.start, columns.stop, wide):
            for k in range(0, trials, depth):
                yield Tile(
                    slice(k, min(k + depth, trials)),
                    slice(i, min(i + tall, rows.stop)),
                    slice(j, min(j + wide, columns.stop)),
                )


def place(request: Request, tile: Tile) -> tuple[slice, slice]:
    """Rows and columns of a tile in the matrices of a request, which may be of a rectangle."""
    if request.rectangle is None:
        return tile.rows, tile.columns
    first = (side.start for side in request.rectangle)
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(tile[1:], first, strict=True)
    )
    return rows, columns


def pair_mask(lib: Library, features: Features, tile: Tile) -> Array:
    """(trials, rows, columns): which entries of a tile stand for a pair of nodes that both vary."""
    rows, columns = tile.rows, tile.columns
    constant = features.constant[tile.trials]
    pairs = ~(constant[:, rows, None] | constant[:, None, columns])
    return lib.xp.triu(pairs, 1) if rows == columns else pairs


def closed_form(
    lib: Library, features: Features, request: Request, tile: Tile
) -> tuple[list[Array], Array, Array]:
    """Atoms of a tile by the closed form, as far as that can be trusted.

    In float32 the pairs that would miss its tolerance are promoted: taken from float64; all of an
    estimator that has no float32.

    Returns:
        (trials, rows, columns) atoms in the order of the names, zero where they cannot be trusted
        or no pair stands; bool of the pairs that both vary; and bool of those among them that are
        marked: that need the stable path.
    """
    xp = lib.xp
    pairs = pair_mask(lib, features, tile)
    done = lib.zeros(tuple(pairs.shape), "bool", features.like)
    values: list[Array] = [lib.zeros((1,), request.dtype, features.like)] * len(request.names)
    tolerances = request.estimator.tolerance(features)
    dtypes = ("float32", "float64") if request.dtype == "float32" else ("float64",)
    for dtype in dtypes:
        if dtype not in tolerances:
            continue
        limit = smallest_trusted(features.samples, dtype, tolerances[dtype])
        if limit >= 1:  # More than any conditional variance: float32 cannot do any pair.
            continue
        found = request.estimator.of_tile(lib, features, tile, request.names, dtype, request.limits)
        new = pairs & ~done
        if found.variance is not None:
            new = new & (found.variance >= limit)
        values = [
            xp.where(new, lib.cast(atom, request.dtype), value)
            for atom, value in zip(found.atoms, values, strict=True)
        ]
        done = done | new
        if dtype != dtypes[-1] and bool((done == pairs).all()):
            break
    return values, pairs, pairs & ~done
