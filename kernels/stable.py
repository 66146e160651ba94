"""The stable path: lambdas from the data themselves, where the closed form cannot be trusted.

Correlations square the condition of the data: y = x + eps noise is lost in them once eps² nears the
rounding error. Here the four centred unit vectors of a pair are factored directly (QR), so that the
error is about u / eps instead of u / eps². What even that cannot resolve has one documented outcome
each, see `Outcome`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from .mmi import Array, Lambdas


class Outcome(IntEnum):
    """What became of a (trial, pair) that has no ordinary decomposition."""

    CONSTANT = 1
    """A node does not vary: no correlation exists. Its atoms are NaN and left out of averages."""
    DETERMINISTIC = 2
    """The past fixes (part of) the future: infinite information. Or past and future depend on each
    other so nearly that rounding of the data would decide the value. NaN, left out of averages."""
    DUPLICATE = 3
    """The two nodes coincide, in the past or in the future, up to scale and offset: one of them is
    dropped, so that `sts` is 0 and `rtr` the information they share. Finite, and averaged."""
    NO_AR1_PAIR = 4
    """No two AR(1) nodes have the observed persistence and lag-0 correlation, or they nearly
    determine each other: no persistence reference. NaN, left out of averages."""
    UNRESOLVED = 5
    """Moments too near singular, and no data to recompute from. NaN, left out of averages."""


VANISHED = 1e-10
"""Residual norm of a unit vector below which it counts as explained. The residual is known to some
rounding errors (1e-16), so information beyond this is off by at most about 1e-5 nats."""


def lambdas_from_data(xp: Any, x: Array, y: Array, a: Array, b: Array) -> tuple[Lambdas, Array]:
    """Wilks' lambdas of pairs, by orthogonal projection of their data.

    Args:
        xp: numpy or torch.
        x: past of the first node, (pairs, samples), centred, unit norm, float64.
        y: past of the second node.
        a: future of the first node.
        b: future of the second node.

    Returns:
        The lambdas (pairs,) and what became of each pair, (pairs,) int64: 0, or an `Outcome`:
        `DETERMINISTIC` where a variable is fixed by the other three to working precision;
        `DUPLICATE` where x and y, or a and b, coincide: there the lambdas are those of the reduced
        set of variables.
    """
    # Four samples stand for all: the columns of R have the inner products of the data.
    r = _triangle(xp, xp.stack([x, y, a, b], axis=-1))
    x, y, a, b = (r[..., k] for k in range(4))

    y_x, past_duplicate = _direction(xp, _residual(y, x))
    b_a, future_duplicate = _direction(xp, _residual(b, a))
    a_xy, b_xy = _residual(a, x, y_x), _residual(b, x, y_x)
    x_ab, y_ab = _residual(x, a, b_a), _residual(y, a, b_a)
    b_xya = _residual(b_xy, _direction(xp, a_xy)[0])
    # det Σ_ab|xy / det Σ_ab = Λ(xy; a) times what is left of b once a is known, before and after.
    rest = xp.where(future_duplicate, 1.0, _square(b_xya) / _square_or_one(xp, _residual(b, a)))

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
    smallest = xp.minimum(
        xp.minimum(_square(_residual(x_ab, other_past)), _square(_residual(a_xy, other_future))),
        xp.minimum(
            xp.where(past_duplicate, 1.0, _square(_residual(y_ab, _direction(xp, x_ab)[0]))),
            xp.where(future_duplicate, 1.0, _square(b_xya)),
        ),
    )
    outcome = xp.where(past_duplicate | future_duplicate, int(Outcome.DUPLICATE), 0)
    return v, xp.where(smallest < VANISHED**2, int(Outcome.DETERMINISTIC), outcome)


def _triangle(xp: Any, matrix: Array) -> Array:
    """R of the QR factorisation; only CuPy forms Q matrix by matrix, and only torch needs it."""
    return xp.linalg.qr(matrix)[1] if hasattr(xp, "autograd") else xp.linalg.qr(matrix, mode="r")


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
