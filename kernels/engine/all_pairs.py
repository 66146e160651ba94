"""All pairs in tiles of whole-array operations: the engine that the numpy and torch backends share.

    features of nodes -> atoms of a tile of pairs -> sums over trials, mirrored tile too
                                `-> pairs out of range -> stable path -> added to the sums

Only tiles on and above the diagonal are computed: exchanging the nodes of a pair exchanges x and y
in the names of its atoms, so the lower half is the upper one, transposed and renamed. A tile holds
some trials of a rectangle of pairs, few enough for its temporaries to stay in the cache; moments
exist only tile by tile, so memory is a few times the input, plus the output, plus 40 bytes for each
pair that is out of range. What is computed is an `Estimator`; see `formulas.estimators`. Chosen
pairs go the same way, see `engine.chosen_pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..contract import (
    Array,
    Estimator,
    Features,
    Library,
    Outcome,
    Pairs,
    Request,
    Tile,
    Totals,
    TotalsOf,
    lost_flags,
    smallest_trusted,
)
from ..lattice import swap_nodes

RESCUE_ELEMENTS = 1 << 20
"""Numbers gathered at a time for the stable path; bounds its memory to some 50 MB."""


def decompose(
    lib: Library, features: Features, names: Sequence[str], request: Request, totals_of: TotalsOf
) -> Pairs:
    """Atoms of all pairs, averaged over trials or per trial.

    Args:
        lib: numpy or torch.
        features: from `request.estimator.features`.
        names: atoms wanted.
        request: from `request_for`.
        totals_of: `totals` of features and a request, in this library.
    """
    found = totals_of(features, request)
    return finish(lib, request, found, names, constant=features.constant)


def request_for(
    names: Sequence[str], *, per_trial: bool, dtype: str, estimator: Estimator
) -> Request:
    """The request for these atoms and for those that their mirrored tiles need."""
    closed = dict.fromkeys([*names, *(swap_nodes(name) for name in names)])
    return Request(tuple(closed), per_trial, dtype, estimator)


def totals(lib: Library, features: Features, request: Request) -> Totals:
    """Sum the atoms of all pairs over trials by tiles, then rescue what these could not resolve."""
    trials, nodes = features.constant.shape
    shape = (trials, nodes, nodes) if request.per_trial else (nodes, nodes)
    sums = {name: lib.zeros(shape, request.dtype, features.past) for name in request.names}
    marked = [lib.zeros((0, 3), "int64", features.past)]
    for tile in tiles(features, request.estimator):
        values, unresolved = block(lib, features, request, tile)
        _add_tile(request, sums, tile, values)
        if bool(unresolved.any()):
            marked.append(positions(lib, unresolved, tile))
    flagged, rescued = rescue(lib, features, request, sums, lib.xp.concatenate(marked))
    return Totals(sums, flagged, rescued)


def tiles(features: Features, estimator: Estimator) -> Iterator[Tile]:
    """Blocks that cover every trial of every pair i < j once."""
    trials, nodes = features.constant.shape
    entries = estimator.tile_entries(features)
    if nodes == 2:  # Nothing but the one pair: not the diagonal, nor its mirror image.
        for k in range(0, trials, entries):
            yield Tile(slice(k, min(k + entries, trials)), slice(0, 1), slice(1, 2))
        return
    depth = max(1, min(trials, entries // 4096))
    width = max(16, math.isqrt(entries // depth))
    if nodes <= width:  # Few pairs: let trials fill the tile.
        depth = max(1, entries // (nodes * nodes))
    for i in range(0, nodes, width):
        rows = slice(i, min(i + width, nodes))
        for j in range(i, nodes, width):
            columns = slice(j, min(j + width, nodes))
            for k in range(0, trials, depth):
                yield Tile(slice(k, min(k + depth, trials)), rows, columns)


def pair_mask(lib: Library, features: Features, tile: Tile) -> Array:
    """(trials, rows, columns): which entries of a tile stand for a pair of nodes that both vary."""
    rows, columns = tile.rows, tile.columns
    constant = features.constant[tile.trials]
    pairs = ~(constant[:, rows, None] | constant[:, None, columns])
    return lib.xp.triu(pairs, 1) if rows == columns else pairs


def block(
    lib: Library, features: Features, request: Request, tile: Tile
) -> tuple[list[Array], Array]:
    """Atoms of a tile, zero where they cannot be trusted or no pair stands, and the unresolved.

    In float32 the pairs that would miss its tolerance are promoted: taken from float64; all of an
    estimator that has no float32.
    """
    xp = lib.xp
    pairs = pair_mask(lib, features, tile)
    done = lib.zeros(tuple(pairs.shape), "bool", features.past)
    values: list[Array] = [lib.zeros((1,), request.dtype, features.past)] * len(request.names)
    tolerances = request.estimator.tolerance(features)
    for dtype in ("float32", "float64") if request.dtype == "float32" else ("float64",):
        if dtype not in tolerances:
            continue
        limit = smallest_trusted(features.samples, dtype, tolerances[dtype])
        if limit >= 1:  # More than any conditional variance: float32 cannot do any pair.
            continue
        found = request.estimator.block(lib, features, tile, request.names, dtype)
        new = pairs & ~done
        if found.variance is not None:
            new = new & (found.variance >= limit)
        values = [
            xp.where(new, lib.cast(atom, request.dtype), value)
            for atom, value in zip(found.atoms, values, strict=True)
        ]
        done = done | new
        if bool((done == pairs).all()):
            break
    return values, pairs & ~done


def _add_tile(
    request: Request, sums: dict[str, Array], tile: Tile, values: Sequence[Array]
) -> None:
    rows, columns = tile.rows, tile.columns
    for name, value in zip(request.names, values, strict=True):
        if request.per_trial:
            sums[name][tile.trials, rows, columns] += value
            sums[swap_nodes(name)][tile.trials, columns, rows] += value.swapaxes(-1, -2)
        else:
            summed = value.sum(0)
            sums[name][rows, columns] += summed
            sums[swap_nodes(name)][columns, rows] += summed.swapaxes(-1, -2)


def positions(lib: Library, mask: Array, tile: Tile) -> Array:
    """(marks, 3) int64 trial, row, column of the true entries of a tile's mask."""
    found = lib.xp.stack(lib.xp.where(mask), -1)
    origin = (tile.trials.start, tile.rows.start, tile.columns.start)
    for k, start in enumerate(origin):
        found[:, k] += start
    return found


def rescue(
    lib: Library, features: Features, request: Request, sums: dict[str, Array], marked: Array
) -> tuple[Array, Array]:
    """Recompute marked pairs by the estimator's stable path and add them to the sums.

    Returns:
        Flags of the degenerate ones and positions of the others, as in `Totals`.
    """
    flags = [lib.zeros((0, 4), "int64", marked)]
    resolved = [marked[:0]]
    for part in rescue_parts(features, marked):
        found = request.estimator.listed(lib, features, part, request.names)
        flagged = found.outcome != 0
        known = ~flagged | (found.outcome == int(Outcome.DUPLICATE))
        k, i, j = (part[known][:, c] for c in range(3))
        for name, value in zip(request.names, found.atoms, strict=True):
            kept = lib.cast(value[known], request.dtype)
            for total, pair in ((sums[name], (i, j)), (sums[swap_nodes(name)], (j, i))):
                lib.add_at(total, (k, *pair) if request.per_trial else pair, kept)
        flags.append(lib.xp.concatenate([part[flagged], found.outcome[flagged][:, None]], -1))
        resolved.append(part[~flagged])
    return lib.xp.concatenate(flags), lib.xp.concatenate(resolved)


def rescue_parts(features: Features, marked: Array) -> Iterator[Array]:
    """Marked pairs in parts whose gathered data stay within `RESCUE_ELEMENTS`."""
    size = max(1, RESCUE_ELEMENTS // (4 * features.samples))
    for start in range(0, len(marked), size):
        yield marked[start : start + size]


def finish(
    lib: Library, request: Request, found: Totals, names: Sequence[str], *, constant: Array
) -> Pairs:
    """Turn sums into averages over the trials with a value, and what has none into NaN.

    The sums are used up: averages take their memory.
    """
    lost = lost_flags(found.flagged)
    atoms_by_name = {name: found.sums.pop(name) for name in names}
    found.sums.clear()
    if request.per_trial:
        _blank(lib, atoms_by_name, lost, constant)
    else:
        _average(lib, request, atoms_by_name, lost, constant)
    for value in atoms_by_name.values():
        diagonal = lib.arange(value.shape[-1], value)
        value[..., diagonal, diagonal] = math.nan
    return Pairs(atoms_by_name, constant, found.flagged, len(found.rescued))


def _blank(lib: Library, atoms_by_name: dict[str, Array], lost: Array, constant: Array) -> None:
    """Write NaN where a trial has no value."""
    k, i, j = (lost[:, c] for c in range(3))
    trial, node = lib.xp.where(constant)
    for value in atoms_by_name.values():
        value[k, i, j] = math.nan
        value[k, j, i] = math.nan
        value[trial, node] = math.nan
        value[trial, :, node] = math.nan


def _average(
    lib: Library, request: Request, atoms_by_name: dict[str, Array], lost: Array, constant: Array
) -> None:
    """Divide by the number of trials that have a value, NaN where there is none."""
    trials = constant.shape[0]
    if not len(lost) and not bool(constant.any()):
        for total in atoms_by_name.values():
            total[...] = total / trials
        return
    varies = lib.cast(~constant, request.dtype)
    count = varies.swapaxes(0, 1) @ varies
    less = lib.zeros((len(lost),), request.dtype, count) - 1
    for i, j in ((1, 2), (2, 1)):
        lib.add_at(count, (lost[:, i], lost[:, j]), less)
    missing = count == 0
    count[missing] = 1
    for total in atoms_by_name.values():
        total[...] = total / count
        total[missing] = math.nan
