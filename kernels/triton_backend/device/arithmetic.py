"""Gaussian MMI of one pair in registers: from six correlations to the arguments of logarithms.

The elimination is that of `formulas.mmi`, with its quotients multiplied out. Where that divides by
det Σ_xy = 1 - r², here the same quantity times det Σ_xy stands: x_a p - u² in place of x_a - u²/p.
Both subtract the same two numbers, once before and once after the division, so the rounding errors
relative to the result are the same, and no trial costs a division.

Literals are integers: a float literal is a float32 to Triton.
"""

import triton
import triton.language as tl

from ..plan import DENOMINATOR as _DENOMINATOR
from ..plan import NUMERATOR as _NUMERATOR

NUMERATOR: tl.constexpr = tl.constexpr(_NUMERATOR)
DENOMINATOR: tl.constexpr = tl.constexpr(_DENOMINATOR)


@triton.jit
def without_influence(c):
    """Correlations of two AR(1) nodes with the same at lag 0; see `estimators.PersistenceMMI`."""
    xy, ab, xa, _xb, _ya, yb = c
    q = (xy + ab) / 2
    return (q, q, xa, yb * q, xa * q, yb)


@triton.jit
def minors(c):
    """Determinants of sub-matrices of the pair's correlations, the first terms of `plan.TERMS`."""
    xy, ab, xa, xb, ya, yb = c
    past = 1 - xy * xy
    future = 1 - ab * ab
    x_a = 1 - xa * xa
    x_b = 1 - xb * xb
    y_a = 1 - ya * ya
    y_b = 1 - yb * yb

    # Given x and y, times det Σ_xy; u and w are what a and b share with y beyond x.
    u = ya - xy * xa
    w = yb - xy * xb
    xy_a = x_a * past - u * u
    xy_b = x_b * past - w * w
    ab_xy = (ab - xa * xb) * past - u * w
    joint = xy_a * xy_b - ab_xy * ab_xy

    # Given a and b, times det Σ_ab.
    s = xb - ab * xa
    t = yb - ab * ya
    x_ab = x_a * future - s * s
    y_ab = y_a * future - t * t
    return (past, future, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint)


@triton.jit
def trusted(m, limit):
    """Whether min_k det Σ / det Σ_without_k, see `formulas.mmi.lambdas`, is at least the limit."""
    past, future, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = m
    least = tl.minimum(tl.minimum(past, tl.minimum(xy_a, xy_b)), joint)
    least = tl.minimum(least, tl.minimum(future, tl.minimum(x_ab, y_ab)))
    largest = tl.maximum(tl.maximum(xy_a, xy_b), tl.maximum(x_ab, y_ab))
    return (least > 0) & (joint >= limit * past * largest)


@triton.jit
def terms(m, TERMS: tl.constexpr):
    """Terms of `plan.TERMS` that are wanted; the compiler drops what the others would need."""
    past, future, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = m
    rtx = tl.maximum(x_a, y_a)
    rty = tl.maximum(x_b, y_b)
    single = tl.minimum(x_a, x_b) * tl.minimum(y_a, y_b)
    both = tl.minimum(xy_a, xy_b) * tl.minimum(x_ab, y_ab)
    extrema = (
        rtx,
        rty,
        tl.maximum(rtx, rty),
        tl.maximum(x_a, x_b),
        tl.maximum(y_a, y_b),
        tl.maximum(xy_a, xy_b),
        tl.maximum(x_ab, y_ab),
        joint * single,
        past * both * tl.minimum(rtx, rty),
    )
    every = m + extrema
    wanted = ()
    for n in tl.static_range(len(TERMS)):
        wanted = wanted + (every[TERMS[n]],)
    return wanted


@triton.jit
def filled(value, like, N: tl.constexpr):
    """N arrays of an integer value."""
    out = ()
    for _ in tl.static_range(N):
        out = out + (tl.full(like.shape, value, like.dtype),)
    return out


@triton.jit
def multiplied(products, factors, ok):
    """Products with one more factor where it is trusted: a sign or NaN elsewhere never enters."""
    out = ()
    for n in tl.static_range(len(products)):
        out = out + (tl.where(ok, products[n] * factors[n], products[n]),)
    return out


@triton.jit
def with_logarithms(sums, products, TERMS: tl.constexpr):
    """Sums with the logarithms of the products added, that of the quotient of `sts` as one."""
    out = ()
    for n in tl.static_range(len(TERMS)):
        if TERMS[n] == NUMERATOR:
            out = out + (sums[n] + tl.log(products[n] / products[n + 1]).to(sums[n].dtype),)
        elif TERMS[n] == DENOMINATOR:
            out = out + (sums[n],)
        else:
            out = out + (sums[n] + tl.log(products[n]).to(sums[n].dtype),)
    return out


@triton.jit
def atom(sums, COEFFICIENTS: tl.constexpr, index: tl.constexpr):
    """-1/2 of the integer combination of the sums of logarithms; coefficients (atoms * terms)."""
    total = tl.zeros(sums[0].shape, sums[0].dtype)
    first: tl.constexpr = index * len(sums)
    for n in tl.static_range(len(sums)):
        if COEFFICIENTS[first + n] == 1:
            total += sums[n]
        elif COEFFICIENTS[first + n] == -1:
            total -= sums[n]
        elif COEFFICIENTS[first + n] != 0:
            total += COEFFICIENTS[first + n] * sums[n]
    return (0 - total) / 2  # Not total / -2: zero would come out as -0.
