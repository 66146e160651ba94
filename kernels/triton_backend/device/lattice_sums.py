"""Sums of a pair's atoms from its nine informations, for kernels without shared logarithms.

Informations are a tuple in the order x_a, y_a, xy_a, x_b, y_b, xy_b, x_ab, y_ab, xy_ab; cumulative
quantities one in the order of `lattice.ATOMS`. Literals are integers, see `arithmetic`.
"""

import triton
import triton.language as tl


@triton.jit
def cumulative(i, shared):
    """The points of the product lattice; `shared` are rtr, rtx, rty, rts, xtr, ytr, str."""
    x_a, y_a, xy_a, x_b, y_b, xy_b, x_ab, y_ab, xy_ab = i
    rtr, rtx, rty, rts, xtr, ytr, s_tr = shared
    of_sources = (rtr, rtx, rty, rts, xtr, x_a, x_b, x_ab)
    return of_sources + (ytr, y_a, y_b, y_ab, s_tr, xy_a, xy_b, xy_ab)


@triton.jit
def least(i):
    """MMI redundancies, from mean informations."""
    x_a, y_a, xy_a, x_b, y_b, xy_b, x_ab, y_ab, _xy_ab = i
    rtx = tl.minimum(x_a, y_a)
    rty = tl.minimum(x_b, y_b)
    return (
        tl.minimum(rtx, rty),
        rtx,
        rty,
        tl.minimum(x_ab, y_ab),
        tl.minimum(x_a, x_b),
        tl.minimum(y_a, y_b),
        tl.minimum(xy_a, xy_b),
    )


@triton.jit
def common(change, above, below, J: tl.constexpr, K: tl.constexpr, L: tl.constexpr):
    """A change in surprisal where it and the informations J, K, L have one sign, otherwise 0."""
    rises = above[J] & above[K] & above[L] & (change > 0)
    falls = below[J] & below[K] & below[L] & (change < 0)
    return tl.where(rises | falls, change, tl.zeros(change.shape, change.dtype))


@triton.jit
def common_changes(i, above, below):
    """CCS redundancies at one sample or state, see `formulas.ccs` and `formulas.discrete`.

    Args:
        i: local informations.
        above: which of them are positive.
        below: which are negative; one that is zero may be neither.
    """
    x_a, y_a, xy_a, x_b, y_b, xy_b, x_ab, y_ab, xy_ab = i
    about_a = x_a + y_a - xy_a
    about_b = x_b + y_b - xy_b
    about_ab = x_ab + y_ab - xy_ab
    rtx = common(about_a, above, below, 0, 1, 2)
    rty = common(about_b, above, below, 3, 4, 5)
    rts = common(about_ab, above, below, 6, 7, 8)
    xtr = common(x_a + x_b - x_ab, above, below, 0, 3, 6)
    ytr = common(y_a + y_b - y_ab, above, below, 1, 4, 7)
    s_tr = common(xy_a + xy_b - xy_ab, above, below, 2, 5, 8)
    # The redundancy for which, these given, there is no co-information of both lattices.
    change = (rtx + xtr - about_a) + (rty + ytr - about_b) - (rts + s_tr - about_ab)
    rises = above[0] & above[1] & above[3] & above[4] & (change > 0)
    falls = below[0] & below[1] & below[3] & below[4] & (change < 0)
    rtr = tl.where(rises | falls, change, tl.zeros(change.shape, change.dtype))
    return (rtr, rtx, rty, rts, xtr, ytr, s_tr)


@triton.jit
def added(sums, more):
    """Sums, entry by entry."""
    out = ()
    for n in tl.static_range(len(sums)):
        out = out + (sums[n] + more[n],)
    return out


@triton.jit
def with_atoms(sums, points, weight, ok, SIGNS: tl.constexpr):
    """Sums of atoms with weight times those of some points added; signs (atoms * points)."""
    out = ()
    for a in tl.static_range(len(sums)):
        total = tl.zeros(sums[a].shape, sums[a].dtype)
        for p in tl.static_range(len(points)):
            if SIGNS[a * len(points) + p] == 1:
                total += points[p]
            elif SIGNS[a * len(points) + p] == -1:
                total -= points[p]
        out = out + (sums[a] + tl.where(ok, weight * total, tl.zeros(total.shape, total.dtype)),)
    return out
