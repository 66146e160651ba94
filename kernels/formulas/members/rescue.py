"""The stable path of nodes of several columns: bases of what is left, from the data themselves.

Covariances square the condition of the data; remainders of the data do not (see `formulas.rescue`).
A logarithm of a lambda is the sum of those of the squared remainders of an orthonormal basis of one
side, one after another, once the other side is known. Two nodes may share directions, in the past
or in the future: these count once, so that an information is that of what the nodes span together.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...contract import Array, Outcome
from ..mmi import Lambdas
from ..rescue import VANISHED
from .bases import one_by_one
from .factors import transposed


class Left(NamedTuple):
    """What is left of one side once another is known.

    Attributes:
        logarithm: (pairs,) log Λ of the two.
        basis: (pairs, rows, samples) orthonormal basis of it.
        least: (pairs,) norm of the smallest remainder.
    """

    logarithm: Array
    basis: Array
    least: Array


class Resolved(NamedTuple):
    """What the data of pairs say of them.

    Attributes:
        logarithms: of the lambdas, (pairs,) each; anything where deterministic.
        outcome: (pairs,) int64 `Outcome`, or 0.
        known: (pairs, samples) squared distances: d(v), by the sides of the lambdas that end their
            names, a b a b a b ab ab ab in the order of `Lambdas`.
        given: (pairs, samples) likewise d(v | u).
    """

    logarithms: Lambdas
    outcome: Array
    known: Lambdas
    given: Lambdas


def resolve(xp: Any, x: Array, y: Array, a: Array, b: Array) -> Resolved:
    """Informations of pairs from orthonormal bases, (pairs, width, samples) each.

    Rows beyond the last direction of a node are zero.
    """
    y_x, shared_past, least_past = _beside(xp, x, y, a, b)
    b_a, shared_future, least_future = _beside(xp, a, b, x, y)
    past, future = xp.concatenate([x, y_x], -2), xp.concatenate([a, b_a], -2)
    left = Lambdas(
        x_a=_left(xp, a, [x]),
        x_b=_left(xp, b, [x]),
        y_a=_left(xp, a, [y]),
        y_b=_left(xp, b, [y]),
        xy_a=_left(xp, a, [past]),
        xy_b=_left(xp, b, [past]),
        x_ab=_left(xp, x, [future]),
        y_ab=_left(xp, y, [future]),
        xy_ab=_left(xp, future, [past]),
    )
    least = functools.reduce(xp.minimum, [*(part.least for part in left), least_past, least_future])
    outcome = xp.where(shared_past | shared_future, int(Outcome.DUPLICATE), 0)
    outcome = xp.where(least < VANISHED, int(Outcome.DETERMINISTIC), outcome)
    sides = (a, b, a, b, a, b, x, y, future)
    return Resolved(
        Lambdas(*(part.logarithm for part in left)),
        outcome,
        Lambdas(*((side * side).sum(-2) for side in sides)),
        Lambdas(*((part.basis * part.basis).sum(-2) for part in left)),
    )


def _beside(xp: Any, x: Array, y: Array, *others: Array) -> tuple[Array, Array, Array]:
    """Basis of y beside x; whether they share a direction; and what all others leave of either.

    A direction of y that x nearly explains is known to rounding over what is left of it, so that
    what the others leave of that in turn is told in its own unit.
    """
    found, shared, least = [], None, None
    for one, other in ((y, x), (x, y)):
        basis, squares = one_by_one(xp, _projected(one, [other]), VANISHED)
        kept = squares > 0
        same = kept.sum(-1) < (one != 0).any(-1).sum(-1)
        known = one_by_one(xp, xp.concatenate([other, *others], -2), VANISHED)[0]
        rest = _projected(basis, [known])
        norms = xp.sqrt((rest * rest).sum(-1) * squares)
        norms = xp.amin(xp.where(kept, norms, 1.0), -1)
        found.append(basis)
        shared = same if shared is None else shared | same
        least = norms if least is None else xp.minimum(least, norms)
    return found[0], shared, least


def _left(xp: Any, side: Array, known: Sequence[Array]) -> Left:
    basis, squares = one_by_one(xp, _projected(side, known), 0.0)
    rows = xp.cumsum(xp.ones_like(squares), -1)
    stands = rows <= (side != 0).any(-1).sum(-1)[..., None]
    positive = squares > 0
    logs = xp.log(xp.where(positive, squares, 1.0))
    least = xp.sqrt(xp.amin(xp.where(stands, squares, 1.0), -1))
    return Left(xp.where(stands, logs, 0.0).sum(-1), xp.where(stands[..., None], basis, 0.0), least)


def _projected(rows: Array, known: Sequence[Array]) -> Array:
    """Rows less what lies along orthonormal rows; twice is enough (Kahan)."""
    for _ in range(2):
        for basis in known:
            rows = rows - (rows @ transposed(basis)) @ basis
    return rows
