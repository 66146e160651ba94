"""Redundancies by common change in surprisal, averaged over samples, in few passes of torch.

The arithmetic of `formulas.ccs` for a library that fuses products with sums, adds up and clamps
with vector instructions, and does not compare so: per 100 numbers (one thread of AVX2) a fused
product takes 35 to 60 ns, a sum 50, `clamp`, `relu` and `hardshrink` 30 to 45, a comparison 80 to
115, `where` 430. So signs are numbers, and everything is measured in the resolution of a local
information, below which it has no sign:

    clamp(i, -1, 1)         is the sign of i; less than 1 in magnitude where it has none
    u = hardshrink(sum of m of these, m - little)   is m or -m where all agree, 0 elsewhere
    u relu(u s)             is m² s where s has the sign that all agree on, 0 elsewhere

What depends on one node, i(x; a) and i(y; b), is formed once for a row or a column of a tile.
Innovations are formed by the weights that are not zero alone: 22 fused products a sample; with
sums, signs and averages some 110 passes, all in memory that is taken once for a tile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..contract import Array

PLANES = 34
"""Numbers that are held for a sample of a pair."""

_LITTLE = 2.0**-30
"""Far more than sums of signs are rounded, far less than those are off 1 that have no sign."""

# Of the rows of weights: runs in which x, y, a and b stand, without those that need one node alone.
_OF_X, _OF_Y = ((2, 4), (5, 7), (8, 9)), ((1, 3), (5, 6), (7, 9))
_OF_A, _OF_B = ((6, 10),), ((3, 4), (5, 10))
_FIRST_OF_A = slice(1, 3)  # where a is the first to be written, and b in `_OF_B`


class Alone(NamedTuple):
    """What nodes of one side of a tile give alone, (trials, nodes, samples) each.

    Attributes:
        past, future: the variables.
        d_past, d_future: half their squared values.
        own: the local information of the two.
    """

    past: Array
    future: Array
    d_past: Array
    d_future: Array
    own: Array


def alone(past: Array, future: Array, weights: Array, mean: Array, half: float) -> Alone:
    """What nodes of one side give for a tile.

    Args:
        past: (trials, nodes, samples).
        future: likewise.
        weights: (2, trials, nodes): of the past and of the future in the innovation of the future.
        mean: (trials, nodes): the information of the two.
        half: (n - 1)/2.
    """
    innovation = weights[0, ..., None] * past + weights[1, ..., None] * future
    d_past, d_future = (half * values * values for values in (past, future))
    own = mean[..., None] + d_future - innovation * innovation
    return Alone(past, future, d_past, d_future, own)


def redundancies(
    xp: Any, memory: Array, row: Alone, column: Alone, weights: Array, means: Array
) -> tuple[Array, Array, Array]:
    """Averages over samples at the points of `ccs`: (3 or 1, trials, rows, columns) each.

    All in units of the magnitude up to which a local information has no sign.

    Args:
        xp: torch.
        memory: `PLANES` float64 for every sample of every pair, at least; written.
        row: of x and a, (trials, rows, 1, samples).
        column: of y and b, (trials, 1, columns, samples).
        weights: (10, 4, trials, rows, columns): of x, y, a, b in the innovations, see `ccs`.
        means: (9, trials, rows, columns): the table of informations.
    """
    samples = row.past.shape[-1]
    shape = (*means.shape[1:], samples)
    planes = memory[: PLANES * means[0].numel() * samples].view(PLANES, *shape)
    innovations, table = planes[:10], planes[10:19].view(3, 3, *shape)
    _innovations(xp, innovations, row, column, weights[..., None])
    _local(xp, table, innovations, row, column, means[..., None])
    signs = xp.clamp(table, -1, 1, out=innovations[:9].view(3, 3, *shape))
    change, other, agreed, agreed_other, kept = (planes[k : k + 3] for k in range(19, PLANES, 3))
    _combined(xp, table.swapaxes(0, 1), change, sign=-1)
    _combined(xp, table, other, sign=-1)
    agreed_all = xp.add(signs[0, 0], signs[0, 1])
    agreed_all += signs[1, 0]
    agreed_all += signs[1, 1]
    _combined(xp, signs.swapaxes(0, 1), agreed)
    _combined(xp, signs, agreed_other)
    of_sources = _kept(xp, change, agreed, 3, kept)
    # The co-information of both lattices, times 9: see `ccs`.
    xp.sub(kept, change, alpha=9, out=change)
    of_targets = _kept(xp, other, agreed_other, 3, kept)
    change += kept
    both = xp.add(change[:1], change[1:2], out=kept[:1])
    both -= change[2:]
    of_both = _kept(xp, both, agreed_all[None], 4, kept[1:2])
    scale = 1 / (9 * samples)
    return of_sources * scale, of_targets * scale, of_both * (scale / 16)


def _innovations(xp: Any, to: Array, row: Alone, column: Alone, weights: Array) -> None:
    """All of them but a_x and b_y, which need one node alone; `weights` has an axis for samples."""
    x, y, a, b = row.past, column.past, row.future, column.future
    xp.mul(weights[_FIRST_OF_A, 2], a, out=to[_FIRST_OF_A])
    for first, end in _OF_B:
        xp.mul(weights[first:end, 3], b, out=to[first:end])
    for number, values, runs in ((2, a, _OF_A), (1, y, _OF_Y), (0, x, _OF_X)):
        for first, end in runs:
            to[first:end].addcmul_(weights[first:end, number], values)


def _local(
    xp: Any, table: Array, innovations: Array, row: Alone, column: Alone, means: Array
) -> None:
    """Write the table at every sample; `means` has an axis for samples."""
    means = xp.cat([means[:8], means[8:] - means[2:3]])
    flat = table.view(9, *table.shape[2:])
    flat[0] = row.own
    flat[4] = column.own
    for first, end in ((1, 4), (5, 9)):
        roots = innovations[first:end]
        xp.addcmul(means[first:end], roots, roots, value=-1, out=flat[first:end])
    flat[1:3] += row.d_future
    flat[3] += column.d_future
    flat[5] += column.d_future
    flat[6] += row.d_past
    flat[7] += column.d_past
    # i(xy; ab) = I + half [d(a) + d(b | a) - d(a | xy) - d(b | xya)], of which i(xy; a) has half.
    flat[8] += flat[2]
    flat[8].addcmul_(innovations[9], innovations[9])


def _combined(xp: Any, three: Array, to: Array, *, sign: int = 1) -> None:
    """Write the sum of the first two and the third one, this with a sign."""
    xp.add(three[0], three[1], out=to)
    to.add_(three[2], alpha=sign)


def _kept(xp: Any, change: Array, agreed: Array, number: int, to: Array) -> Array:
    """Write the changes, times number², whose sign is that of `number` signs; their sums."""
    agreed = xp.nn.functional.hardshrink(agreed, number - _LITTLE)
    xp.mul(agreed, change, out=to)
    to.relu_()
    to *= agreed
    return to.sum(-1)
