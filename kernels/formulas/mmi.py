"""Gaussian ΦID with minimum-mutual-information redundancy, in closed form, for arrays of pairs.

For a pair of nodes let x, y be their past and a, b their future, all standardised. Every mutual
information of jointly Gaussian variables is

    I(u; v) = -1/2 log Λ(u; v),     Λ(u; v) = det Σ_uv / (det Σ_u det Σ_v),

with Λ Wilks' lambda: the share of (generalised) variance that u and v leave unexplained in each
other. MMI redundancy is the least of the informations, hence the *largest* of the lambdas, so that
the averages, and with them the six correlations of the pair, are all that is needed (Barrett, Phys.
Rev. E 91, 052802, 2015; Mediano et al., arXiv:2109.13186).

The functions are written for any array library with NumPy's names (`xp` is numpy, torch or cupy),
act elementwise and broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..contract import Array
from ..lattice import ATOMS, moebius_matrix


class Correlations(NamedTuple):
    """Correlations among x, y (past) and a, b (future) of a pair; arrays that broadcast."""

    xy: Array
    ab: Array
    xa: Array
    xb: Array
    ya: Array
    yb: Array


class Lambdas(NamedTuple):
    """Wilks' lambdas of the nine informations; `xy_a` belongs to I(x, y; a), and so on."""

    x_a: Array
    x_b: Array
    y_a: Array
    y_b: Array
    xy_a: Array
    xy_b: Array
    x_ab: Array
    y_ab: Array
    xy_ab: Array


def lambdas(xp: Any, c: Correlations) -> tuple[Lambdas, Array]:
    """Wilks' lambdas from correlations, with a measure of how far they can be trusted.

    The past is eliminated first (y's residual given x, then a and b given both), and every term
    shares the same rounded residual covariances: this is an LDL' factorisation, which is backward
    stable. Its result is that of a matrix whose entries are off by a few rounding errors u, so a
    logarithm of a determinant is off by about u / λ_min(Σ). Expanding the determinants, or
    inverting Σ_xy, has no such bound: at y = x + 1e-4 noise it is wrong by 0.03 nats.

    Args:
        xp: numpy, torch or cupy.
        c: correlations that broadcast against each other.

    Returns:
        The lambdas, and the smallest conditional variance of one of the four variables given the
        other three, min_k 1 / (Σ⁻¹)_kk = det Σ / max_k det Σ_without_k. It lies between λ_min and
        4 λ_min. It is 0 or NaN where Σ is numerically singular.
    """
    past = 1 - c.xy * c.xy
    future = 1 - c.ab * c.ab
    x_a, x_b, y_a, y_b = (1 - r * r for r in (c.xa, c.xb, c.ya, c.yb))

    # Covariances with y of what x leaves over, then (co)variances of a and b given x and y.
    ya_x = c.ya - c.xy * c.xa
    yb_x = c.yb - c.xy * c.xb
    on_ya, on_yb = ya_x / past, yb_x / past
    xy_a = x_a - ya_x * on_ya
    xy_b = x_b - yb_x * on_yb
    ab_xy = c.ab - c.xa * c.xb - ya_x * on_yb
    joint = xy_a * xy_b - ab_xy * ab_xy

    # The other way round: x and y given a and b.
    bx_a = c.xb - c.ab * c.xa
    by_a = c.yb - c.ab * c.ya
    x_ab = x_a - bx_a * bx_a / future
    y_ab = y_a - by_a * by_a / future

    # Where rounding leaves two of these below zero their product is positive, and proves nothing.
    least = xp.minimum(xp.minimum(past, xp.minimum(xy_a, xy_b)), joint)
    least = xp.minimum(least, xp.minimum(future, xp.minimum(x_ab, y_ab)))
    minors = xp.maximum(past * xp.maximum(xy_a, xy_b), future * xp.maximum(x_ab, y_ab))
    return (
        Lambdas(x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint / future),
        xp.where(least > 0, past * joint / minors, 0.0),
    )


def atoms(xp: Any, v: Lambdas, names: Sequence[str]) -> list[Array]:
    """Atoms in nats, one array per name.

    `rtr` and `sts` alone take a path of their own that never forms the other fourteen.
    """
    paths = {"rtr": redundancy, "sts": synergy}
    if all(name in paths for name in names):
        return [paths[name](xp, v) for name in names]
    return _any_atoms(xp, v, names)


def redundancy(xp: Any, v: Lambdas) -> Array:
    """`rtr`, the least of the four single informations: one logarithm, of the largest lambda."""
    return -0.5 * xp.log(xp.maximum(xp.maximum(v.x_a, v.x_b), xp.maximum(v.y_a, v.y_b)))


def synergy(xp: Any, v: Lambdas) -> Array:
    """`sts` by one logarithm.

    The Möbius inversion at the top of the lattice, with R + U = I and min + max = sum, leaves

        sts = I(xy; ab) - max(I(xy; a), I(xy; b)) - max(I(x; ab), I(y; ab))
              + max(I(x; a), I(x; b)) + max(I(y; a), I(y; b))
              - max(min(I(x; a), I(y; a)), min(I(x; b), I(y; b))),

    and as I falls with Λ, each max (min) of informations is a min (max) of lambdas under one log.
    """
    single = xp.minimum(v.x_a, v.x_b) * xp.minimum(v.y_a, v.y_b)
    shared = xp.minimum(xp.maximum(v.x_a, v.y_a), xp.maximum(v.x_b, v.y_b))
    joint = xp.minimum(v.xy_a, v.xy_b) * xp.minimum(v.x_ab, v.y_ab)
    return -0.5 * xp.log(v.xy_ab * single / (joint * shared))


def informations(xp: Any, v: Lambdas) -> list[Array]:
    """The nine informations in nats, in the order of `Lambdas`."""
    return [-0.5 * xp.log(lam) for lam in v]


def _any_atoms(xp: Any, v: Lambdas, names: Sequence[str]) -> list[Array]:
    return from_informations(xp, Lambdas(*informations(xp, v)), names)


def from_informations(xp: Any, i: Lambdas, names: Sequence[str]) -> list[Array]:
    """Any of the 16 atoms: redundancies as minima, then the Möbius inversion.

    Args:
        xp: numpy, torch or cupy.
        i: the nine informations in nats, in place of the lambdas.
        names: atoms wanted.
    """
    least_a, least_b = xp.minimum(i.x_a, i.y_a), xp.minimum(i.x_b, i.y_b)
    redundancies = {
        "rtr": xp.minimum(least_a, least_b),
        "rtx": least_a,
        "rty": least_b,
        "rts": xp.minimum(i.x_ab, i.y_ab),
        "xtr": xp.minimum(i.x_a, i.x_b),
        "ytr": xp.minimum(i.y_a, i.y_b),
        "str": xp.minimum(i.xy_a, i.xy_b),
    }
    return invert(redundancies, i, names)


def invert(redundancies: Mapping[str, Array], i: Lambdas, names: Sequence[str]) -> list[Array]:
    """Atoms from the seven redundancies and the nine informations, by Möbius inversion.

    Args:
        redundancies: by their point of the product lattice, `rtr rtx rty rts xtr ytr str`.
        i: the informations, in place of the lambdas.
        names: atoms wanted.
    """
    cumulative = {
        **redundancies,
        "xtx": i.x_a,
        "xty": i.x_b,
        "ytx": i.y_a,
        "yty": i.y_b,
        "stx": i.xy_a,
        "sty": i.xy_b,
        "xts": i.x_ab,
        "yts": i.y_ab,
        "sts": i.xy_ab,
    }
    return [
        sum(
            (sign * cumulative[point] for point, sign in zip(ATOMS, row, strict=True) if sign),
            start=0.0,
        )
        for row in moebius_matrix(names).tolist()
    ]
