"""The loop over trials that all kernels of Gaussian MMI have: products, logarithms, promotion.

One function for the three of them takes the registers that a loop in each of them took: every row
of the committed table for sm_90 with triton 3.6.0 and 3.7.1 stayed as it was, and with 3.9.0 but
for float32 sums by node of all atoms, trials apart, which take one more. It matters where `undone`
is gathered: behind the condition on promotion instead of inside it, that kernel took ten more. On
other GPUs 20 of 480 rows moved, by a few registers, or from registers to at most 48 bytes of spills
(float32 sums by node on sm_120; the persistence reference from moments on sm_100).
"""

import triton
import triton.language as tl

from .arithmetic import (
    filled,
    minors,
    multiplied,
    terms,
    trusted,
    with_logarithms,
    without_influence,
)
from .correlations import correlations
from .tiles import any_of, limit_from, mark, varying


@triton.jit
def sums_of_trials(
    source,
    constant,
    tile,
    stands,
    area,
    trials,
    limits,
    listed,
    SERIES: tl.constexpr,
    EACH: tl.constexpr,
    DTYPE: tl.constexpr,
    GROUP: tl.constexpr,
    TERMS: tl.constexpr,
    ALONE: tl.constexpr,
    DEPTH: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """Sums of logarithms of the trusted pairs, and [B, B] what is not done of the others.

    Args:
        source: of `correlations`; SERIES says which.
        constant: (trials, nodes) uint8.
        tile: see `correlations`.
        stands: [B, B] which entries are pairs.
        area: see `tiles`.
        trials: start and stop, and what to add to their numbers in the list.
        limits: bits of the least variance that is trusted, in DTYPE and in float64.
        listed: the list, its length and its capacity.
        SERIES: what `source` is.
        EACH: list every (trial, pair) that is not done; else what is returned is not zero where a
            trial is not done.
        DTYPE: of the arithmetic.
        GROUP: trials that share logarithms.
        TERMS: see `plan`.
        ALONE: as if nodes did not influence each other.
        DEPTH: samples of a step of the product.
        RECTANGLE: see `tiles`.
    """
    _first_row, _first_column, rows, columns = tile
    first, last, before = trials
    limit, limit_double = limits
    marked, count, capacity = listed
    nodes = area[0]
    zero = tl.zeros(stands.shape, DTYPE)
    sums = filled(0, zero, len(TERMS))
    undone = tl.zeros(stands.shape, tl.int32)
    for start in range(first, last, GROUP):
        stop = tl.minimum(start + GROUP, last)
        products = filled(1, zero, len(TERMS))
        left = tl.zeros(stands.shape, tl.int32)  # Bit k: trial start + k is not done.
        for trial in range(start, stop):
            c = correlations(source, trial, tile, area, SERIES, DTYPE, DEPTH, RECTANGLE)
            if ALONE:
                c = without_influence(c)
            m = minors(c)
            wanted = stands & varying(constant, trial, rows, columns, nodes)
            ok = wanted & trusted(m, limit_from(limit, DTYPE))
            products = multiplied(products, terms(m, TERMS), ok)
            left |= (wanted & ~ok).to(tl.int32) << (trial - start)
        sums = with_logarithms(sums, products, TERMS)

        if EACH or DTYPE == tl.float32:
            if any_of(left):
                for trial in range(start, stop):
                    again = ((left >> (trial - start)) & 1) > 0
                    if DTYPE == tl.float32:
                        if any_of(again.to(tl.int32)):  # Promoted: the same in float64.
                            c64 = correlations(
                                source, trial, tile, area, SERIES, tl.float64, DEPTH, RECTANGLE
                            )
                            if ALONE:
                                c64 = without_influence(c64)
                            m64 = minors(c64)
                            done = again & trusted(m64, limit_from(limit_double, tl.float64))
                            one = filled(1, tl.zeros(stands.shape, tl.float64), len(TERMS))
                            promoted = multiplied(one, terms(m64, TERMS), done)
                            sums = with_logarithms(sums, promoted, TERMS)
                            again = again & ~done
                            if not EACH:
                                undone |= again.to(tl.int32)
                    if EACH:
                        mark(marked, count, capacity, again, before + trial, rows, columns, nodes)
        else:
            undone |= left
    return sums, undone
