"""Gaussian ΦID with redundancy by common change in surprisal (CCS), averaged over time.

CCS redundancy is pointwise (Ince, Entropy 19, 318, 2017): at one sample it is the co-information
s = i1 + i2 - i12 where i1, i2, i12 and s all have one sign, and nothing elsewhere; so it needs the
local informations at every sample. Those that are zero but for rounding have no sign, be it at one
sample or at all of a pair (`formulas.uncorrelated`). With unit vectors of n samples one is

    i(u; v) = I(u; v) + (n - 1)/2 [d(v) - d(v | u)],

d(v) the squared value of v and d(v | u) that of its innovation, what is left of v once u is known,
each divided by its variance. The innovations are linear in x, y, a, b and come from the elimination
that gives the lambdas (`formulas.mmi`): per pair one product of a (10 x 4) with a (4 x samples)
matrix. Sums, signs and averages are some 30 passes over 3 to 10 numbers per sample. Arrays have
these numbers first. torch, where nothing is recorded for a gradient, has signs that are numbers and
memory that is taken once: `formulas.saturated`. Where it is, as the backward pass computes tiles
again, what rows share is one large product of matrices, the rest two fused passes over planes.

Measured, one thread, 100 samples, ns a pair in torch / NumPy: 738 / 307 in a batched product of
this size, 1,760 / 890 in one of (16 x 11) forms with the eleven monomials and 1, which needs 500 to
900 more for the monomials and 1,000 to 2,000 for its coefficients. Per 100 numbers: a product 28 /
30, a comparison 47 / 11, `where` 80 to 150 / 92, a product with a mask 87 / 47 (42 in torch where
the mask is bytes), an operation on masks 5 / 7. In all 8 to 9 us / 7 to 8 us; by monomials and
`where`, without parts, 24 / 20 us. Planes first took 6 to 15 % from torch and nothing from NumPy
(thread time, in turns, on a busy machine); planes without the small products would take 3 to 12 %
more in NumPy. `formulas.saturated` takes a tenth to a third less than masks in torch (99 samples).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..contract import Array, Library
from . import saturated
from .mmi import Correlations, Lambdas, informations, invert
from .uncorrelated import correlated, local_resolution


class Nodes(NamedTuple):
    """Unit vectors of the past and the future of nodes: (trials, nodes, samples) each."""

    past: Array
    future: Array


# The informations as a table: a row for each target a, b, ab, a column for each source x, y, xy.
_TABLE = ("x_a", "y_a", "xy_a", "x_b", "y_b", "xy_b", "x_ab", "y_ab", "xy_ab")
# The innovation v_u that stands in d(v | u) of each; I(x; ab) = I(ab; x), and I(xy; ab) is the sum
# of I(xy; a) and I(xy; b | a), to which b_xya and the last innovation belong.
_INNOVATIONS = ("a_x", "a_y", "a_xy", "b_x", "b_y", "b_xy", "x_ab", "y_ab", "b_xya", "b_a")
# Those with y among them, and those with b.
_WITH_Y, _WITH_B = slice(1, 9), slice(3, 10)
# Points of the product lattice: redundancies of the sources about each target, of the targets about
# each source, and of both.
_POINTS = ("rtx", "rty", "rts", "xtr", "ytr", "str", "rtr")
# The informations at each whose signs have to agree; where none of these is zero, nor is the third
# one, of all sources or about all targets.
_PARTS = {
    "rtx": ("x_a", "y_a"),
    "rty": ("x_b", "y_b"),
    "rts": ("x_ab", "y_ab"),
    "xtr": ("x_a", "x_b"),
    "ytr": ("y_a", "y_b"),
    "str": ("xy_a", "xy_b"),
    "rtr": ("x_a", "x_b", "y_a", "y_b"),
}


def atoms(
    lib: Library,
    row: Nodes,
    column: Nodes,
    c: Correlations,
    v: Lambdas,
    names: Sequence[str],
    places: Iterable[tuple[slice, slice, slice]],
    *,
    masked: bool = False,
) -> list[Array]:
    """Atoms in nats, averaged over samples, one array (trials, rows, columns) per name.

    Args:
        lib: of the arrays.
        row: samples of the first nodes, x and a.
        column: samples of the second nodes, y and b.
        c: their correlations; broadcast, like the lambdas, to (trials, rows, columns).
        v: `mmi.lambdas` of these.
        names: atoms wanted.
        places: trials, rows and columns to take at a time; entries in none of them are not meant.
        masked: correlations of some pairs are not theirs, so that what is of one node cannot be
            taken from any pair of it.
    """
    xp = lib.xp
    shape = tuple(c.xy.shape)
    c = Correlations(*(xp.broadcast_to(r, shape) for r in c))
    v = Lambdas(*(xp.broadcast_to(lam, shape) for lam in v))
    mean = Lambdas(*informations(xp, v))
    table = xp.stack([getattr(mean, name) for name in _TABLE])
    compared = masked or not lib.fuses or c.xy.requires_grad
    averages = _compared if compared else _saturated
    means = averages(lib, row, column, functools.partial(_weights, xp, c, v), table, places)
    signed = correlated(xp, c, row.past.shape[-1])
    redundancies = {
        point: lib.keep(means[k], _all(getattr(signed, name) for name in _PARTS[point]))
        for k, point in enumerate(_POINTS)
    }
    return invert(redundancies, mean, names)


def _compared(
    lib: Library,
    row: Nodes,
    column: Nodes,
    weights_of: Callable[[float], Array],
    table: Array,
    places: Iterable[tuple[slice, slice, slice]],
) -> Array:
    """(7, trials, rows, columns): redundancies at `_POINTS`, averaged over samples."""
    samples = row.past.shape[-1]
    half, zero = 0.5 * (samples - 1), local_resolution(samples)
    weights = weights_of(half)
    means = lib.xp.zeros_like(table[: len(_POINTS)])
    for place in places:
        trials, rows, columns = place
        x, a = (vectors[trials, rows, None] for vectors in row)
        y, b = (vectors[trials, None, columns] for vectors in column)
        part = (slice(None), *place)
        innovations = _innovations(lib, (x, a), (y, b), weights[:, part[0], *place])
        local = _local_informations(lib, (x, y, a, b), innovations, table[part], half)
        shared = _redundancies(lib, local, zero)
        means[part] = lib.xp.concatenate([values.mean(-1) for values in shared])
    return means


def _saturated(
    lib: Library,
    row: Nodes,
    column: Nodes,
    weights_of: Callable[[float], Array],
    table: Array,
    places: Iterable[tuple[slice, slice, slice]],
) -> Array:
    """The same by `formulas.saturated`, in memory that all parts share; nothing is recorded."""
    samples = row.past.shape[-1]
    unit = local_resolution(samples)
    half = 0.5 * (samples - 1) / unit
    weights, table = weights_of(half), table / unit
    means = lib.xp.zeros_like(table[: len(_POINTS)])
    # What is of one node is the same in all columns, or in all rows.
    rows_alone = saturated.alone(*row, weights[0, ::2, :, :, 0], table[0, :, :, 0], half)
    columns_alone = saturated.alone(*column, weights[4, 1::2, :, 0], table[4, :, 0], half)
    memory: Array = table[:0].reshape(-1)
    for place in places:
        trials, rows, columns = place
        part = (slice(None), *place)
        needed = saturated.PLANES * table[part][0].numel() * samples
        if len(memory) < needed:
            memory = lib.empty((needed,), "float64", table)
        shared = saturated.redundancies(
            lib.xp,
            memory,
            saturated.Alone(*(values[trials, rows, None] for values in rows_alone)),
            saturated.Alone(*(values[trials, None, columns] for values in columns_alone)),
            weights[:, part[0], *place],
            table[part],
        )
        means[part] = lib.xp.concatenate(shared)
    return means * unit


def _weights(xp: Any, c: Correlations, v: Lambdas, half: float) -> Array:
    """(10, 4, ...): coefficients of x, y, a, b in `_INNOVATIONS`, whose squares are half d(v|u)."""
    past, future = 1 - c.xy * c.xy, 1 - c.ab * c.ab
    # Regression coefficients on the second variable of a side, the first being known.
    a_y, b_y = (c.ya - c.xy * c.xa) / past, (c.yb - c.xy * c.xb) / past
    x_b, y_b = (c.xb - c.ab * c.xa) / future, (c.yb - c.ab * c.ya) / future
    # ... and of b on a, x and y being known.
    b_a = (c.ab - c.xa * c.xb - a_y * (c.yb - c.xy * c.xb)) / v.xy_a
    one, none = xp.ones_like(past), xp.zeros_like(past)
    a_xy = (a_y * c.xy - c.xa, -a_y, one, none)
    b_xy = (b_y * c.xy - c.xb, -b_y, none, one)
    innovations = {
        "a_x": ((-c.xa, none, one, none), v.x_a),
        "a_y": ((none, -c.ya, one, none), v.y_a),
        "a_xy": (a_xy, v.xy_a),
        "b_x": ((-c.xb, none, none, one), v.x_b),
        "b_y": ((none, -c.yb, none, one), v.y_b),
        "b_xy": (b_xy, v.xy_b),
        "x_ab": ((one, none, x_b * c.ab - c.xa, -x_b), v.x_ab),
        "y_ab": ((none, one, y_b * c.ab - c.ya, -y_b), v.y_ab),
        # det of a and b given x and y is Λ(xy; ab) times that of a and b.
        "b_xya": (
            tuple(q - b_a * p for p, q in zip(a_xy, b_xy, strict=True)),
            v.xy_ab * future / v.xy_a,
        ),
        "b_a": ((none, none, -c.ab, one), future),
    }
    rows = [innovations[name] for name in _INNOVATIONS]
    vectors = xp.stack([coefficient for row, _ in rows for coefficient in row])
    variances = xp.stack([variance for _, variance in rows])
    return vectors.reshape(-1, 4, *past.shape) * xp.sqrt(half / variances)[:, None]


def _innovations(
    lib: Library, of_rows: tuple[Array, Array], of_columns: tuple[Array, Array], weights: Array
) -> Array:
    """(10, trials, rows, columns, samples): `_INNOVATIONS` at every sample.

    Args:
        lib: of the arrays.
        of_rows: x and a, (trials, rows, 1, samples).
        of_columns: y and b, (trials, 1, columns, samples).
        weights: (10, 4, trials, rows, columns), from `_weights`.
    """
    xp = lib.xp
    trials, rows, columns = weights.shape[2:]
    if not lib.fuses:  # One product of small matrices for each pair takes less time than planes do.
        each = xp.ascontiguousarray(xp.moveaxis(weights, (0, 1), (-2, -1)))
        shape = trials, rows, columns, of_rows[0].shape[-1]
        (x, a), (y, b) = of_rows, of_columns
        stacked = xp.stack([xp.broadcast_to(values, shape) for values in (x, y, a, b)], -2)
        return xp.moveaxis(each @ stacked, -2, 0)
    # What rows share is one product of matrices for each: (10 columns, 2) with (2, samples).
    shared = xp.moveaxis(weights[:, ::2], (2, 3, 0, 4, 1), (0, 1, 2, 3, 4))
    shared = shared.reshape(trials, rows, len(_INNOVATIONS) * columns, 2)
    found = shared @ xp.concatenate(of_rows, -2)
    found = xp.moveaxis(found.reshape(trials, rows, len(_INNOVATIONS), columns, -1), 2, 0)
    y, b = of_columns
    lib.add_product(found[_WITH_Y], weights[_WITH_Y, 1, ..., None], y)
    lib.add_product(found[_WITH_B], weights[_WITH_B, 3, ..., None], b)
    return found


def _local_informations(
    lib: Library, variables: Sequence[Array], innovations: Array, table: Array, half: float
) -> Array:
    """(3, 3, ..., samples): the table at every sample, target by target.

    Args:
        lib: of the arrays.
        variables: x, y, a, b, arrays (..., samples) that broadcast.
        innovations: (10, ..., samples), from `_innovations`, whose squares are half d(v | u).
        table: (9, ...), its means.
        half: (n - 1)/2.
    """
    x, y, a, b = (half * values * values for values in variables)  # half d(v)
    local = lib.minus_square(table[..., None], innovations[:9])
    local[:3] += a
    local[3:6] += b
    local[6] += x
    local[7] += y
    # i(xy; ab) = I + half [d(a) + d(b | a) - d(a | xy) - d(b | xya)]
    local[8] += a
    lib.add_product(local[8], innovations[9], innovations[9])
    lib.add_product(local[8], -innovations[2], innovations[2])
    return local.reshape(3, 3, *local.shape[1:])


def _redundancies(lib: Library, local: Array, zero: float) -> tuple[Array, Array, Array]:
    """Redundancies at every sample, (3 or 1, ..., samples), in the order of `_POINTS`.

    Local informations up to `zero` in magnitude have no sign.
    """
    signs = local > zero, local < -zero
    targets = [local[k] for k in range(3)]
    sources = [local[:, k] for k in range(3)]
    change_of_sources = sources[0] + sources[1] - sources[2]
    change_of_targets = targets[0] + targets[1] - targets[2]
    of_sources = lib.keep(
        change_of_sources,
        _agree(change_of_sources, *([s[:, k] for k in range(3)] for s in signs)),
    )
    of_targets = lib.keep(
        change_of_targets,
        _agree(change_of_targets, *([s[k] for k in range(3)] for s in signs)),
    )
    # The co-information of both lattices, of the sources' changes by target and of what is shared:
    # the redundancy for which, these given, there is no synergy.
    terms = of_sources + of_targets - change_of_sources
    change = terms[:1] + terms[1:2] - terms[2:]
    places = [(slice(k, k + 1), m) for k in range(2) for m in range(2)]
    singles = ([s[place] for place in places] for s in signs)
    return of_sources, of_targets, lib.keep(change, _agree(change, *singles))


def _agree(change: Array, positive: Sequence[Array], negative: Sequence[Array]) -> Array:
    """Mask of the changes that have the sign of all that are in them."""
    return _all([*positive, change > 0]) | _all([*negative, change < 0])


def _all(masks: Iterable[Array]) -> Array:
    return functools.reduce(operator.and_, masks)
