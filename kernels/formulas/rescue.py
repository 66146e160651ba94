"""The stable path: lambdas from the data themselves, where the closed form cannot be trusted.

Correlations square the condition of the data: y = x + eps noise is lost in them once eps² nears the
rounding error. Here the four centred unit vectors of a pair are factored directly (QR), so that the
error is about u / eps instead of u / eps². What even that cannot resolve has one documented outcome
each, see `Outcome`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..contract import Array, Outcome
from .mmi import Lambdas

VANISHED = 1e-10
"""Residual norm of a unit vector below which it counts as explained. The residual is known to some
rounding errors (1e-16), so information beyond this is off by at most about 1e-5 nats."""

_EQUAL = 1 + 1e-9
"""Factor within which what two nodes leave open is equal but for rounding."""

_UPPER = np.triu(np.ones((4, 4), bool))


class Resolved(NamedTuple):
    """What the data of pairs say of them.

    Attributes:
        lambdas: Wilks' lambdas, (pairs,) each. Where variables coincide, those of the reduced set:
            the dropped one has the lambdas of the one that stands for it.
        outcome: (pairs,) int64: 0, or an `Outcome`. `DETERMINISTIC` where a variable is fixed by
            others to working precision, be it by one alone of two that coincide; `DUPLICATE` where
            x and y, or a and b, coincide.
        second: (pairs,) bool: of nodes that coincide, the second is kept.
        past: (pairs,) bool: x and y coincide.
        future: (pairs,) bool: a and b coincide.
    """

    lambdas: Lambdas
    outcome: Array
    second: Array
    past: Array
    future: Array


def lambdas_from_data(xp: Any, x: Array, y: Array, a: Array, b: Array) -> tuple[Lambdas, Array]:
    """Lambdas and outcome of pairs; see `resolve`."""
    return resolve(xp, x, y, a, b)[:2]


def resolve(xp: Any, x: Array, y: Array, a: Array, b: Array) -> Resolved:
    """Wilks' lambdas of pairs, by orthogonal projection of their data.

    Nodes that coincide up to `VANISHED` may still differ in how much of their future their own past
    leaves open, where that is as little: a straight line and the same with rounding errors. The
    node that leaves more open is kept, wherever it stands: the result has no order of the nodes. Of
    those that leave as much open, but for rounding, the first is kept.

    Args:
        xp: numpy, torch or cupy.
        x: past of the first node, (pairs, samples), centred, unit norm, float64.
        y: past of the second node.
        a: future of the first node.
        b: future of the second node.
    """
    second = _square(_residual(b, y)) > _square(_residual(a, x)) * _EQUAL
    swap = second[..., None]
    kept = xp.where(swap, y, x), xp.where(swap, b, a)
    other = xp.where(swap, x, y), xp.where(swap, a, b)
    # Four samples stand for all: the columns of R have the inner products of the data.
    r = triangle(xp, xp.stack([kept[0], other[0], kept[1], other[1]], axis=-1))
    v, outcome, past, future = _second_dropped(xp, *(r[..., k] for k in range(4)))
    by_other = (getattr(v, name) for name in _EXCHANGED)
    v = Lambdas(*(xp.where(second, two, one) for one, two in zip(v, by_other, strict=True)))
    return Resolved(v, outcome, second, past, future)


def _second_dropped(
    xp: Any, x: Array, y: Array, a: Array, b: Array
) -> tuple[Lambdas, Array, Array, Array]:
    """Lambdas and outcome, y or b being dropped where they coincide with x or a; and where."""
    y_x, past_duplicate = _direction(xp, _residual(y, x))
    b_a, future_duplicate = _direction(xp, _residual(b, a))
    a_xy, b_xy = _residual(a, x, y_x), _residual(b, x, y_x)
    x_ab, y_ab = _residual(x, a, b_a), _residual(y, a, b_a)
    b_xya = _residual(b_xy, _direction(xp, a_xy)[0])
    # det Σ_ab|xy / det Σ_ab = Λ(xy; a) times what is left of b once a is known, before and after.
    rest = _square(b_xya) / _square_or_one(xp, _residual(b, a))

    v = Lambdas(
        x_a=_square(_residual(a, x)),
        x_b=_square(_residual(b, x)),
        y_a=_square(_residual(a, y)),
        y_b=_square(_residual(b, y)),
        xy_a=_square(a_xy),
        xy_b=_square(b_xy),
        x_ab=_square(x_ab),
        y_ab=_square(y_ab),
        xy_ab=_square(a_xy) * rest,
    )
    # Rounding of the data moves a log-determinant by about u over what is left of a variable once
    # all others are known. That can be far less than any lambda: y = x + 1e-8 (a + 1e-8 noise).
    # The duplicate is neither known nor missed.
    other_past = xp.where(past_duplicate[..., None], 0.0, _direction(xp, y_ab)[0])
    other_future = xp.where(future_duplicate[..., None], 0.0, _direction(xp, b_xy)[0])
    left = [
        _square(_residual(x_ab, other_past)),
        _square(_residual(a_xy, other_future)),
        xp.where(past_duplicate, 1.0, _square(_residual(y_ab, _direction(xp, x_ab)[0]))),
        xp.where(future_duplicate, 1.0, _square(b_xya)),
        # None of these is less, but those of a dropped variable, which may be fixed all the same.
        *(getattr(v, name) for name in Lambdas._fields if name != "xy_ab"),
    ]
    smallest = functools.reduce(xp.minimum, left)
    outcome = xp.where(past_duplicate | future_duplicate, int(Outcome.DUPLICATE), 0)
    outcome = xp.where(smallest < VANISHED**2, int(Outcome.DETERMINISTIC), outcome)
    for dropped, names in (past_duplicate, _WITHOUT_Y), (future_duplicate, _WITHOUT_B):
        reduced = (getattr(v, name) for name in names)
        v = Lambdas(*(xp.where(dropped, of, all_) for all_, of in zip(v, reduced, strict=True)))
    return v, outcome, past_duplicate, future_duplicate


def _renamed(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Names of lambdas with other variables in them, in the order of `Lambdas`."""
    renamed = (
        ["".join(sorted({variables.get(v, v) for v in side})) for side in name.split("_")]
        for name in Lambdas._fields
    )
    return tuple("_".join(sides) for sides in renamed)


_EXCHANGED = _renamed({"x": "y", "y": "x", "a": "b", "b": "a"})
_WITHOUT_Y, _WITHOUT_B = _renamed({"y": "x"}), _renamed({"b": "a"})


def triangle(xp: Any, matrix: Array) -> Array:
    """R of the QR factorisation over the last two axes: (..., k, k) of (..., n, k), n >= k.

    Q, which is as large as the data, is formed only where torch has to differentiate R.
    """
    if xp is np:  # Its mode "r" makes a mask at every call, which takes longer than four columns.
        factored, _ = np.linalg.qr(matrix, mode="raw")
        size = matrix.shape[-1]
        return np.where(_UPPER[:size, :size], xp.swapaxes(factored, -1, -2)[..., :size, :], 0.0)
    mode = "reduced" if getattr(matrix, "requires_grad", False) else "r"
    r = xp.linalg.qr(matrix, mode=mode)
    return r[1] if isinstance(r, tuple) else r


def _residual(v: Array, *basis: Array) -> Array:
    """What is left of v after projection on orthonormal vectors; twice is enough (Kahan)."""
    for _ in range(2):
        for e in basis:
            v = v - (v * e).sum(-1)[..., None] * e
    return v


def _direction(xp: Any, v: Array) -> tuple[Array, Array]:
    """Unit vector along v and False, or the zero vector and True where v vanished."""
    square = _square(v)
    vanished = square < VANISHED**2
    norm = xp.sqrt(xp.where(vanished, 1.0, square))
    return xp.where(vanished[..., None], 0.0, v / norm[..., None]), vanished


def _square(v: Array) -> Array:
    return (v * v).sum(-1)


def _square_or_one(xp: Any, v: Array) -> Array:
    square = _square(v)
    return xp.where(square < VANISHED**2, 1.0, square)
