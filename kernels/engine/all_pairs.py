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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..formulas.mmi import Array
from ..formulas.rescue import Outcome
from ..lattice import swap_nodes

RESCUE_ELEMENTS = 1 << 20
"""Numbers gathered at a time for the stable path; bounds its memory to some 50 MB."""


class Library(Protocol):
    """numpy or torch, and what the two do not name alike."""

    xp: Any

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`."""

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`."""

    def cast(self, array: Array, dtype: str) -> Array:
        """The array in another dtype; itself where it has that dtype already."""

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur."""


class Tile(NamedTuple):
    """A block of trials, of rows and of columns; rows and columns are equal or disjoint."""

    trials: slice
    rows: slice
    columns: slice


class Values(NamedTuple):
    """Atoms and how far they can be trusted.

    Attributes:
        atoms: one array per name asked for.
        variance: the smallest conditional variance of one of the pair's variables given the other
            three, see `mmi.lambdas`; None where no pair can be ill-conditioned.
    """

    atoms: list[Array]
    variance: Array | None


class Stable(NamedTuple):
    """Atoms of pairs by a path that holds for the ill-conditioned.

    Attributes:
        atoms: one array (pairs,) per name asked for.
        outcome: (pairs,) int64, 0 or what became of a pair, an `Outcome`.
    """

    atoms: list[Array]
    outcome: Array


class Features(Protocol):
    """What is computed once per node, or from all of them: a named tuple, `Segments` for instance.

    Attributes:
        past: array (trials, nodes, ...).
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
        samples: number of samples.
    """

    @property
    def past(self) -> Array: ...  # noqa: D102
    @property
    def constant(self) -> Array: ...  # noqa: D102
    @property
    def samples(self) -> int: ...  # noqa: D102

    def of_nodes(self, trials: slice, nodes: Array) -> Features:
        """Some nodes of some trials."""

    def of_pairs(self, pairs: Array) -> Features:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""


class Estimator(Protocol):
    """What turns the series of two nodes into their atoms; see `formulas.estimators`."""

    @property
    def unit(self) -> str:
        """Unit of its atoms, "nats" or "bits"."""

    @property
    def differentiable(self) -> bool:
        """Whether they have a gradient with respect to the series."""

    @property
    def gathered_cost(self) -> float:
        """Time of a pair that is gathered alone over that of one in a tile; see `chosen_pairs`.

        Measured on one core, 100 samples, rtr and sts.
        """

    def features(self, lib: Library, series: Any, tau: int, pooled: str | None) -> Any:
        """`Features` of (trials, time, nodes) in any real dtype; see `segments.standardise`."""

    def tolerance(self, features: Any) -> Mapping[str, float]:
        """Error in nats that `block` may leave in an atom, by dtype of the arithmetic.

        One that has "float64" alone computes in it whatever the dtype of the output.
        """

    def tile_entries(self, features: Any) -> int:
        """(trial, pair) entries of a tile whose temporaries fit the cache."""

    def block(
        self,
        lib: Library,
        features: Any,
        tile: Tile,
        names: Sequence[str],
        dtype: str,
        use: Array | None = None,
    ) -> Values:
        """Atoms (trials, rows, columns) of a tile.

        With `use`, a mask of that shape, entries that are not used get harmless inputs, so that
        nothing infinite comes back through them with the gradient.
        """

    def listed(self, lib: Library, features: Any, positions: Array, names: Sequence[str]) -> Stable:
        """Atoms (pairs,) of (pairs, 3) trial, row, column."""


@dataclass(frozen=True)
class Request:
    """What to compute.

    Attributes:
        names: atoms, closed under exchange of x and y (mirrored tiles need both).
        per_trial: keep trials apart instead of summing over them.
        dtype: of arithmetic and output, "float64" or "float32".
        estimator: of the atoms.
    """

    names: tuple[str, ...]
    per_trial: bool
    dtype: str
    estimator: Estimator


class Totals(NamedTuple):
    """Atoms before averaging, and the pairs that needed more than the closed form.

    Attributes:
        sums: by atom name, (nodes, nodes) summed over the trials that have a value, or (trials,
            nodes, nodes); zero where there is no value.
        flagged: (flags, 4) int64: trial, row, column (row < column), `Outcome`. Pairs of a constant
            node are not listed here: the features know the nodes.
        rescued: (pairs, 3) int64: trial, row, column of the pairs that the stable path resolved.
    """

    sums: dict[str, Array]
    flagged: Array
    rescued: Array


TotalsOf = Callable[[Any, Request], Totals]


@dataclass(frozen=True)
class Pairs:
    """What a backend returns.

    Attributes:
        atoms: by atom name, (nodes, nodes) averaged over the trials that have a value, or (trials,
            nodes, nodes). NaN on the diagonal and where there is no value.
        constant: (trials, nodes) bool: the node does not vary, and its pairs have no value.
        flagged: (flags, 4) int64: trial, row, column (row < column), `Outcome`, of the other
            degenerate pairs.
        rescued: number of (trial, pair) that only the stable path could resolve.
    """

    atoms: dict[str, Array]
    constant: Array
    flagged: Array
    rescued: int


def smallest_trusted(samples: int, dtype: str, tolerance: float) -> float:
    """Conditional variance below which the closed form may miss a tolerance, in nats.

    The error of an atom is at most (4 + sqrt(samples)) eps / s for a smallest conditional variance
    s: rounding of the factorisation and random-walk growth of that of the moments. Measured against
    the stable path: 3.6 eps / s at 20 samples, 6 at 100, 10 at 1,000, 45 at 10,000.
    """
    return float((4 + math.sqrt(samples)) * np.finfo(dtype).eps / tolerance)


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


def lost_flags(flagged: Array) -> Array:
    """The flags of pairs without a value; duplicates have one."""
    return flagged[flagged[:, -1] != int(Outcome.DUPLICATE)]


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
