"""Discrete ΦID of arrays of pairs: every node binarised at its mean, all states counted at once.

With x, y the past bits and a, b the future bits of a pair, everything follows from how often each
of their 16 joint states occurs among n samples. For states u, v of some of the sources and targets,

    h(u) = -log2(n_u / n),     i(u; v) = h(u) + h(v) - h(u, v),     I = Σ n_uv / n i(u; v)

are the local entropy (surprisal), the local information and its mean, in bits; a state that never
occurs has no part in the sum. The redundancy of two informations, of two sources about one target
or of one source about two targets, and the double redundancy of two sources about two targets, are

    MMI  the least of the mean informations (Barrett, Phys. Rev. E 91, 052802, 2015);
    CCS  the mean of the common change in surprisal (Ince, Entropy 19, 318, 2017): at a state, the
         co-information i1 + i2 - i12 where i1, i2, i12 and it have one sign, otherwise 0; for the
         double redundancy the co-information of both lattices at once, where it and the four
         single informations have one sign (Mediano et al., arXiv:2109.13186).

Counting is matrix multiplication: a node is, at each sample, in one of four states (its past and
its future bit), and the 16 products of the indicators of two nodes' states are the joint counts.

The functions are written for any array library with NumPy's names (`xp` is numpy, torch or cupy).
On a CPU they work on parts of `PART_ENTRIES` entries (trial, pair) and hold, besides the result, 13
MB for "MMI" and 15 MB for "CCS"; elsewhere on a whole tile, which takes 48 and 134 MB at 64,000.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, Library, Limits, Tile
from ..lattice import ATOMS, moebius_matrix
from .above_mean import above_mean
from .parts import parts
from .unit_vectors import join

PART_ENTRIES = {"MMI": 1 << 14, "CCS": 1 << 13}
"""(trial, pair) entries that a CPU takes at a time; all states of 2^13 in float64 are 1 MB."""

PART_ROWS = 40
"""Rows that a CPU takes at a time."""

RESOLUTION = 3e-14
"""Bits by which rounding may move a local information; at most 2^24 samples taken for granted."""

_BITS = "xayb"  # Order of the state axes: the bits of the first node, then those of the second.
_OTHER_BIT = {"x": "a", "a": "x", "y": "b", "b": "y"}

# The variables of the informations at a point of the lattice, as source and as target, ...
_SOURCES = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
_TARGETS = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}
# ... these together, and the sign of the point in co-information: Σ sign (r, x, y, s) = 0.
_ALL_SOURCES = {point: "".join(parts) for point, parts in _SOURCES.items()}
_ALL_TARGETS = {point: "".join(parts) for point, parts in _TARGETS.items()}
_COINFORMATION = {"x": 1, "y": 1, "s": -1, "r": -1}


class Bits(NamedTuple):
    """Binarised nodes.

    Attributes:
        past: (trials, nodes, samples) of 0 and 1, samples = time - tau. float32, in which matrix
            products are fast and counts up to 2^24 exact; float64 for more samples than that.
        future: likewise.
        both: their product.
        constant: (trials, nodes) bool: the series does not vary in its past or in its future. Its
            bits there are 0 and its pairs have finite atoms; what becomes of them is the caller's.
    """

    past: Array
    future: Array
    both: Array
    constant: Array

    @property
    def like(self) -> Array:
        """Tells the library and the device."""
        return self.past

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.past.shape[-1])

    def of_nodes(self, trials: slice, nodes: Array) -> Bits:
        """Some nodes of some trials."""
        return Bits(*(v[trials][:, nodes] for v in self))

    def of_pairs(self, pairs: Array) -> Bits:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        return Bits(*(v[:, pairs].reshape(-1, 2, *v.shape[2:]) for v in self))


def binarise(xp: Any, series: Array, tau: int, pooled: str | None = None) -> Bits:
    """Bits of past and future: 1 above the mean, each about its own mean, as phyid does.

    A sample that equals the mean exactly is not above it; see `above_mean`.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes) float64, finite.
        tau: lag in samples.
        pooled: as in `unit_vectors`: "moments" joins the bits of all trials, each about the
            mean of its own, "concatenate" the samples.
    """
    past, future, constant = are_above(xp, series, tau, pooled)
    # In which matrix products are fast, and counts exact.
    exact = xp.float32 if past.shape[-1] <= 1 << 24 else xp.float64
    # Not `asarray`: torch's moves to its default device.
    past, future = (xp.zeros_like(bits, dtype=exact) + bits for bits in (past, future))
    return Bits(past, future, past * future, constant)


def are_above(
    xp: Any, series: Array, tau: int, pooled: str | None = None
) -> tuple[Array, Array, Array]:
    """Past and future bits as truth values, (trials, nodes, samples), and `Bits.constant`.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes) float64, finite.
        tau: lag in samples.
        pooled: as in `binarise`.
    """
    by_node = xp.swapaxes(series, 1, 2)
    past, past_constant = _bits(xp, by_node[..., :-tau], pooled)
    future, future_constant = _bits(xp, by_node[..., tau:], pooled)
    return past, future, past_constant | future_constant


def _bits(xp: Any, segment: Array, pooled: str | None) -> tuple[Array, Array]:
    if pooled != "moments":
        return _above(xp, join(xp, segment, pooled))
    bits, constant = _above(xp, segment)
    return join(xp, bits, "concatenate"), constant.all(0)[None]


def discrete_tile(
    lib: Library, bits: Bits, tile: Tile, names: Sequence[str], redundancy: str
) -> list[Array]:
    """Atoms of a tile of pairs, in bits.

    Args:
        lib: of the arrays.
        bits: from `binarise`.
        tile: trials, rows (first nodes) and columns (second nodes).
        names: atoms wanted.
        redundancy: "MMI" or "CCS".

    Returns:
        By name, (trials, rows, columns) float64. Where rows and columns are the same nodes, only
        what lies above the diagonal is meant: the rest may be computed or left 0.
    """
    xp = lib.xp
    tables = tables_of(lib, bits)
    shape = tuple(s.stop - s.start for s in tile)
    result = [lib.zeros(shape, "float64", bits.like) for _ in names]
    for part, place in parts(tile, PART_ENTRIES[redundancy], PART_ROWS, bits.like):
        first = _indicators(xp, *(v[part.trials, part.rows] for v in bits[:3]))
        second = _indicators(xp, *(v[part.trials, part.columns] for v in bits[:3]))
        atoms = _atoms(lib, _count(lib, first, second), tables, names, redundancy)
        for whole, values in zip(result, atoms, strict=True):
            whole[place] = values
    return result


def discrete_pairs(
    lib: Library,
    bits: Bits,
    positions: Array,
    names: Sequence[str],
    redundancy: str,
    limits: Limits,
) -> list[Array]:
    """Atoms of a list of pairs, in bits.

    Args:
        lib: of the arrays.
        bits: from `binarise`.
        positions: (pairs, 3) int64: trial, row (first node), column (second node).
        names: atoms wanted.
        redundancy: "MMI" or "CCS".
        limits: bound the numbers that are gathered at a time.

    Returns:
        By name, (pairs,) float64.
    """
    xp = lib.xp
    result = [lib.zeros((len(positions),), "float64", bits.like) for _ in names]
    tables = tables_of(lib, bits)
    size = max(1, min(PART_ENTRIES[redundancy], limits.rescued // (8 * bits.samples)))
    for start in range(0, len(positions), size):
        part = slice(start, start + size)
        trial, row, column = (positions[part, k] for k in range(3))
        # Every pair is a trial of its own, with one row and one column.
        first = _indicators(xp, *(v[trial, row][:, None] for v in bits[:3]))
        second = _indicators(xp, *(v[trial, column][:, None] for v in bits[:3]))
        atoms = _atoms(lib, _count(lib, first, second), tables, names, redundancy)
        for whole, values in zip(result, atoms, strict=True):
            whole[part] = values.reshape(-1)
    return result


def _above(xp: Any, segment: Array) -> tuple[Array, Array]:
    """Whether above the mean of its row, and the rows that are constant: nowhere above theirs."""
    constant = xp.amax(segment, -1) == xp.amin(segment, -1)
    return above_mean(xp, segment) & ~constant[..., None], constant


def _indicators(xp: Any, past: Array, future: Array, both: Array) -> Array:
    """(trials, 4, nodes, samples): 1 where (past, future) is 00, 01, 10, 11."""
    return xp.stack([1 - past - future + both, future - both, past - both, both], 1)


def _count(lib: Library, first: Array, second: Array) -> dict[str, Array]:
    """Counts of the states of all pairs of rows and columns, and of their nodes.

    Args:
        lib: of the arrays.
        first: `_indicators` of the rows.
        second: of the columns.

    Returns:
        By variables, int32: the state axes of `_BITS`, of length 2, or 1 for other variables, then
        (trials, rows, columns), 1 along the other kind of node in the counts of a node.
    """
    xp = lib.xp
    trials, _, rows, samples = first.shape
    columns = second.shape[2]
    # All products in one, 16 where nine and differences would do: fewer passes over the counts.
    joint = first.reshape(trials, -1, samples) @ xp.swapaxes(
        second.reshape(trials, -1, samples), -1, -2
    )
    joint = joint.reshape(trials, 4, rows, 4, columns)
    joint = xp.stack([joint[:, i, :, j] for i in range(4) for j in range(4)])
    row_states, column_states = (xp.swapaxes(v.sum(-1), 0, 1) for v in (first, second))
    return {
        "xyab": lib.cast(joint, "int32").reshape(2, 2, 2, 2, trials, rows, columns),
        "xa": lib.cast(row_states, "int32").reshape(2, 2, 1, 1, trials, rows, 1),
        "yb": lib.cast(column_states, "int32").reshape(1, 1, 2, 2, trials, 1, columns),
    }


def _marginal(counts: dict[str, Array], variables: str) -> Array:
    """Counts of the states of some of x, y, a, b, in this order; kept among the others."""
    if variables not in counts:
        missing = [v for v in _BITS if v not in variables]
        # A single bit follows from its own node, and the rest from one variable more.
        summed = _OTHER_BIT[variables] if len(variables) == 1 else missing[0]
        table = _marginal(counts, "".join(sorted(variables + summed, key="xyab".index)))
        # Halves are added because `sum` would widen to int64.
        before = (slice(None),) * _BITS.index(summed)
        counts[variables] = table[(*before, slice(0, 1))] + table[(*before, slice(1, 2))]
    return counts[variables]


class _Tables(NamedTuple):
    """Bits by count k = 0 ... samples, float64; made once a call.

    Attributes:
        surprisal: -log2(k / samples), of a state that occurs k times; for k = 0 a finite stand-in.
        entropy: k / samples of it, the state's share in the entropy; 0 for k = 0.
        samples: their number.
    """

    surprisal: Array
    entropy: Array
    samples: int


def tables_of(lib: Library, bits: Bits) -> _Tables:
    """Bits by count, for so many samples."""
    return tables(lib, bits.samples, bits.like)


def tables(lib: Library, samples: int, like: Array) -> _Tables:
    """Bits by count; `like` tells the device."""
    one = lib.zeros((samples + 1,), "float64", like) + 1
    number = lib.xp.cumsum(one, 0) - 1
    surprisal = -lib.xp.log2(lib.xp.maximum(number, one) / samples)
    return _Tables(surprisal, number / samples * surprisal, samples)


def _look_up(xp: Any, table: Array, index: Array) -> Array:
    """Entries of a table; fastest of what was measured, in ns per entry.

    numpy: take 0.8, log2 1.8. torch: index_select 0.7, take 2.6, index 4.3, log2 4.7.
    """
    flat = index.reshape(-1)
    if xp is np:
        found = table.take(flat, mode="clip")
    else:  # torch's own name for it; CuPy knows no mode
        found = table.index_select(0, flat) if hasattr(xp, "index_select") else table.take(flat)
    return found.reshape(index.shape)


def _over_states(values: Array) -> Array:
    return values.reshape(-1, *values.shape[4:]).sum(0)


def _atoms(
    lib: Library, counts: dict[str, Array], tables: _Tables, names: Sequence[str], redundancy: str
) -> list[Array]:
    """Atoms, (trials, rows, columns), from the cumulative quantities that make them up."""
    signs = [_moebius_row(name) for name in names]
    points = [point for point in ATOMS if any(sign[point] for sign in signs)]
    cumulative = {"MMI": _mmi, "CCS": _ccs}[redundancy](lib, counts, tables, points)
    return [_combine(cumulative, sign) for sign in signs]


@functools.cache
def _moebius_row(name: str) -> dict[str, int]:
    return dict(zip(ATOMS, moebius_matrix([name])[0].tolist(), strict=True))


def _combine(terms: Mapping[str, Array], signs: Mapping[str, int]) -> Array:
    """Sum with signs 1, 0, -1, of which some are 1."""
    added, subtracted = ([terms[key] for key, s in signs.items() if s == sign] for sign in (1, -1))
    return functools.reduce(operator.sub, subtracted, functools.reduce(operator.add, added))


def _parts_of(point: str) -> list[tuple[str, str]]:
    """Source and target of the informations whose redundancy stands at a point; one: itself."""
    return list(itertools.product(_SOURCES[point[0]], _TARGETS[point[2]]))


def _whole(point: str) -> tuple[str, str]:
    """All sources and all targets at a point."""
    return _ALL_SOURCES[point[0]], _ALL_TARGETS[point[2]]


def _mmi(
    lib: Library, counts: dict[str, Array], tables: _Tables, points: Sequence[str]
) -> dict[str, Array]:
    """Mean informations at points of the lattice; the redundancy of some is the least."""

    @functools.cache
    def entropy(variables: str) -> Array:
        return _over_states(_look_up(lib.xp, tables.entropy, _marginal(counts, variables)))

    @functools.cache
    def information(source: str, target: str) -> Array:
        return entropy(source) + entropy(target) - entropy(source + target)

    return {
        point: functools.reduce(lib.xp.minimum, itertools.starmap(information, _parts_of(point)))
        for point in points
    }


def _ccs(
    lib: Library, counts: dict[str, Array], tables: _Tables, points: Sequence[str]
) -> dict[str, Array]:
    """Means over states of local informations at points of the lattice and what these share."""
    number = {u + v: _marginal(counts, u + v) for u, v in map(_whole, ATOMS)}
    local = _local_informations(lib, counts, tables)
    # An information that is not zero is the logarithm of a ratio of different integers up to
    # samples², hence larger than this. One that is zero has no sign, and must not get that of its
    # rounding error (as in phyid), on which a whole term of the redundancy would hang.
    resolution = max(tables.samples**-2, RESOLUTION)
    signs = {key: (value > resolution, value < -resolution) for key, value in local.items()}
    shared: dict[str, Array] = {}
    for point in reversed(ATOMS):  # Every point after those above it, rtr last.
        parts = _parts_of(point)
        if len(parts) == 1:
            shared[point] = local[parts[0]]
        elif point == "rtr":
            change = _double_coinformation(shared)
            shared[point] = _common(change, [signs[part] for part in parts])
        else:
            change = local[parts[0]] + local[parts[1]] - local[_whole(point)]
            shared[point] = _common(change, [signs[part] for part in (*parts, _whole(point))])
    return {
        point: _over_states(lib.cast(number["".join(_whole(point))], "float64") * shared[point])
        / tables.samples
        for point in points
    }


def _local_informations(
    lib: Library, counts: dict[str, Array], tables: _Tables
) -> dict[tuple[str, str], Array]:
    """The nine local informations of every state, by source and target."""

    @functools.cache
    def entropy(variables: str) -> Array:
        return _look_up(lib.xp, tables.surprisal, _marginal(counts, variables))

    return {
        (u, v): entropy(u) + entropy(v) - entropy(u + v)
        for u, v in itertools.product(("x", "y", "xy"), ("a", "b", "ab"))
    }


def _double_coinformation(local: Mapping[str, Array]) -> Array:
    """The local `rtr` for which co-information vanishes on the product of both lattices.

    Target by target: the informations about fewer variables have fewer states to add.
    """
    by_target = {}
    for t in _COINFORMATION:
        known = {f"{s}t{t}": sign for s, sign in _COINFORMATION.items() if s + t != "rr"}
        by_target[t] = _combine(local, known)
    # The sign of rtr itself is 1.
    return -_combine(by_target, _COINFORMATION)


def _common(change: Array, signs: Iterable[tuple[Array, Array]]) -> Array:
    """A change in surprisal where it and all informations have one sign, otherwise 0.

    Args:
        change: bits, by state.
        signs: of each information, where it is positive and where it is negative.
    """
    rises, falls = (functools.reduce(operator.and_, sign) for sign in zip(*signs, strict=True))
    return change * (rises & (change > 0) | falls & (change < 0))
