"""CCS of nodes of several columns: local informations from squared distances, averaged over time.

As for single columns (`formulas.ccs`) a local information is

    i(u; v) = I(u; v) + (n - 1)/2 [d(v) - d(v | u)],

d the squared length of a vector that was whitened: of a basis as it is, or of what is left of it
once u is known, times the inverse Cholesky factor of its covariance (`closed_form.factored`).
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

from ...contract import Array, Library
from ..mmi import Correlations, Lambdas, invert
from ..uncorrelated import correlated, local_resolution
from .closed_form import Own, Pairs
from .factors import identity, inverse, transposed

# Points of the product lattice with a redundancy: the informations whose signs have to agree, and
# that of all sources or about all targets.
_PARTS = {
    "rtx": ("x_a", "y_a", "xy_a"),
    "rty": ("x_b", "y_b", "xy_b"),
    "rts": ("x_ab", "y_ab", "xy_ab"),
    "xtr": ("x_a", "x_b", "x_ab"),
    "ytr": ("y_a", "y_b", "y_ab"),
    "str": ("xy_a", "xy_b", "xy_ab"),
}
_SINGLE = ("x_a", "x_b", "y_a", "y_b")


def own_distances(xp: Any, own: Own, past: Array, future: Array) -> Array:
    """(..., 3, samples): half (n - 1) d of the past, of the future, and of that given the past."""
    half = 0.5 * (past.shape[-1] - 1)
    width = past.shape[-2]
    given = own.whiten[..., width:, :] @ xp.concatenate([past, future], -2)
    return half * xp.stack([(v * v).sum(-2) for v in (past, future, given)], -2)


def distances(xp: Any, p: Pairs, data: Array) -> Array:
    """(pairs, 9, samples): half (n - 1) d(v | u) of what stands in `local_informations`.

    Args:
        xp: numpy, torch or cupy.
        p: factored covariances.
        data: (pairs, 4 width, samples): past and future of the first, then of the second nodes.
    """
    pairs, double = p.across.shape[0], p.across.shape[-1]
    width = double // 2
    past, future = slice(None, width), slice(width, None)
    unit = identity(xp, double, p.across) + xp.zeros_like(p.across)
    second = xp.concatenate([-transposed(p.onto_second) @ p.first.whiten, unit], -1)
    first = xp.concatenate([unit, -p.onto_first @ p.second.whiten], -1)
    whole = inverse(xp, p.given_first.lower)
    corners = inverse(xp, p.corners.lower)
    rows = [
        whole @ second,
        corners[0] @ second[:, future],
        inverse(xp, p.given_second.lower[:, past, past]) @ first[:, past],
        corners[1] @ first[:, future],
    ]
    each = inverse(xp, p.each.lower)
    for given in range(2):
        for of in range(2):
            of_rows, given_rows = (slice(k * width, (k + 1) * width) for k in (of, given))
            on = -transposed(p.across[:, given_rows, of_rows])
            parts = [xp.zeros_like(on)] * 4
            parts[given], parts[2 + of] = on, unit[:, past, past]
            rows.append(each[:, given, of] @ xp.concatenate(parts, -1))
    whitened = xp.concatenate(rows, -2) @ data
    half = 0.5 * (data.shape[-1] - 1)
    return half * (whitened * whitened).reshape(pairs, 9, width, -1).sum(-2)


def local_informations(i: Lambdas, first: Array, second: Array, between: Array) -> Lambdas:
    """The nine informations at every sample, (pairs, samples) each.

    Args:
        i: their means, (pairs,).
        first: (pairs, 3, samples) from `own_distances`, of the first nodes.
        second: of the second nodes.
        between: (pairs, 9, samples) from `distances`.
    """
    x, a, a_x = (first[:, k] for k in range(3))
    y, b, b_y = (second[:, k] for k in range(3))
    y_xa, b_xya, b_xa, x_yb, a_yb, y_x, b_x, y_a, b_a = (between[:, k] for k in range(9))
    # d(v) - d(v | u), by the chain rule d(u, v) = d(u) + d(v | u).
    terms = Lambdas(
        x_a=a - a_x,
        x_b=b - b_x,
        y_a=y - y_a,
        y_b=b - b_y,
        xy_a=y_x + a - a_x - y_xa,
        xy_b=x + y_x + b - y - b_y - x_yb,
        x_ab=a + b_a - a_x - b_xa,
        y_ab=a + b_a - b_y - a_yb,
        xy_ab=y_x + a + b_a - a_x - y_xa - b_xya,
    )
    return Lambdas(*(mean[:, None] + term for mean, term in zip(i, terms, strict=True)))


def atoms(
    lib: Library, mean: Lambdas, local: Lambdas, signed: Lambdas, names: Sequence[str]
) -> list[Array]:
    """CCS atoms in nats, averaged over samples, (pairs,) each.

    Args:
        lib: of the arrays.
        mean: the informations, (pairs,).
        local: at every sample, (pairs, samples).
        signed: (pairs,) bool, one for each: it is not zero at every sample.
        names: atoms wanted.
    """
    zero = local_resolution(local.x_a.shape[-1])
    local = Lambdas(
        *(lib.keep(v, s[:, None] & (abs(v) > zero)) for v, s in zip(local, signed, strict=True))
    )
    signs = Lambdas(*(v > 0 for v in local)), Lambdas(*(v < 0 for v in local))

    def where_one_sign(change: Array, parts: Sequence[str]) -> Array:
        above = _all([change > 0, *(getattr(signs[0], part) for part in parts)])
        below = _all([change < 0, *(getattr(signs[1], part) for part in parts)])
        return lib.keep(change, above | below)

    shared = {}
    for point, (one, other, both) in _PARTS.items():
        change = getattr(local, one) + getattr(local, other) - getattr(local, both)
        shared[point] = where_one_sign(change, (one, other, both))
    # The redundancy for which, these given, there is no synergy.
    without = invert({**shared, "rtr": 0 * shared["rtx"]}, local, ["sts"])[0]
    shared["rtr"] = where_one_sign(-without, _SINGLE)
    return invert({point: v.mean(-1) for point, v in shared.items()}, mean, names)


def signed(xp: Any, across: Array, first: Array, second: Array, samples: int) -> Lambdas:
    """(pairs,) bool, one for each information: some correlation between its sides is not zero.

    Args:
        xp: numpy, torch or cupy.
        across: (pairs, 2 width, 2 width) past and future of the first with those of the second.
        first: (pairs, width, width) past of the first with its own future.
        second: of the second likewise.
        samples: that they are taken over.
    """
    width = first.shape[-1]
    past, future = slice(None, width), slice(width, None)
    blocks = [across[:, past, past], across[:, future, future], first]
    blocks += [across[:, past, future], across[:, future, past], second]
    xy, ab, xa, xb, ay, yb = (xp.amax(abs(block), (-1, -2)) for block in blocks)
    return correlated(xp, Correlations(xy, ab, xa, xb, ay, yb), samples)


def _all(masks: Iterable[Array]) -> Array:
    return functools.reduce(operator.and_, masks)
