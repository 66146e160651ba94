"""Gaussian MMI of all pairs from moments in memory: elementwise, every number read once.

A program has one tile of pairs and one chunk of trials, as in `mmi_series`; the difference is that
correlations are read, `A` and `B` above the diagonal only, `C` on both sides of it. They are
float64 whatever the dtype of the arithmetic, so that promotion needs no second source.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: 1.3 GB read (0.27 ms), 2.0 G
double-precision instructions (0.12 ms), after 47 GFLOP of products (0.71 ms) that write 1.9 GB
(0.40 ms): floor 1.1 ms with the products. Not yet measured. Counts: ../README.md.
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
from .tiles import any_of, fold, limit_from, mark, pairs, store, varying


@triton.jit
def correlations(moments, own, trial, rows, columns, nodes):
    """xy, ab, xa, xb, ya, yb of a tile, [B, B] float64; xa is [B, 1] and yb is [1, B]."""
    past, future, lagged = moments
    base = tl.cast(trial, tl.int64) * nodes * nodes
    here = base + rows.to(tl.int64)[:, None] * nodes + columns[None, :]
    there = base + columns.to(tl.int64)[:, None] * nodes + rows[None, :]
    inside = (rows[:, None] < nodes) & (columns[None, :] < nodes)
    across = (rows[None, :] < nodes) & (columns[:, None] < nodes)
    xy = tl.load(past + here, mask=inside, other=0)
    ab = tl.load(future + here, mask=inside, other=0)
    xb = tl.load(lagged + here, mask=inside, other=0)
    ya = tl.trans(tl.load(lagged + there, mask=across, other=0))
    diagonal = own + tl.cast(trial, tl.int64) * nodes
    xa = tl.load(diagonal + rows, mask=rows < nodes, other=0)[:, None]
    yb = tl.load(diagonal + columns, mask=columns < nodes, other=0)[None, :]
    return (xy, ab, xa, xb, ya, yb)


@triton.jit
def cast(c, DTYPE: tl.constexpr):
    """The correlations in another dtype."""
    xy, ab, xa, xb, ya, yb = c
    return (xy.to(DTYPE), ab.to(DTYPE), xa.to(DTYPE), xb.to(DTYPE), ya.to(DTYPE), yb.to(DTYPE))


@triton.jit(
    do_not_specialize=["trials", "first_trial", "chunk_trials", "capacity", "limit", "limit_double"]
)
def mmi_moments_kernel(
    past,  # (trials, nodes, nodes) float64, contiguous
    future,
    lagged,  # C[i, j] = corr(x_i(t), x_j(t + tau))
    own,  # (trials, nodes) float64, the diagonal of `lagged`
    constant,  # (trials, nodes) uint8
    out,  # (atoms, chunks, nodes, nodes)
    marked,  # (capacity,) int64
    count,  # (1,) int64
    trials,
    nodes,
    tiles,
    chunks,
    chunk_trials,
    first_trial,  # of the whole, for the list: these moments may be those of a part of the trials
    capacity,
    limit,  # bits of a float64, as a float argument would be a float32
    limit_double,
    DTYPE: tl.constexpr,
    GROUP: tl.constexpr,
    TERMS: tl.constexpr,
    COEFFICIENTS: tl.constexpr,
    MIRRORS: tl.constexpr,
    ALONE: tl.constexpr,  # as if nodes did not influence each other
    BLOCK: tl.constexpr,
):
    """Fill `out` as `mmi_series_kernel` does."""
    moments = (past, future, lagged)
    chunk, row, column = fold(tl.program_id(0), tiles)
    rows = row * BLOCK + tl.arange(0, BLOCK)
    columns = column * BLOCK + tl.arange(0, BLOCK)
    stands = pairs(rows, columns, nodes)

    zero = tl.zeros((BLOCK, BLOCK), DTYPE)
    sums = filled(0, zero, len(TERMS))
    first = chunk * chunk_trials
    last = tl.minimum(first + chunk_trials, trials)
    for start in range(first, last, GROUP):
        stop = tl.minimum(start + GROUP, last)
        products = filled(1, zero, len(TERMS))
        left = tl.zeros((BLOCK, BLOCK), tl.int32)  # Bit k: trial start + k is not done.
        for trial in range(start, stop):
            c = cast(correlations(moments, own, trial, rows, columns, nodes), DTYPE)
            if ALONE:
                c = without_influence(c)
            m = minors(c)
            wanted = stands & varying(constant, trial, rows, columns, nodes)
            ok = wanted & trusted(m, limit_from(limit, DTYPE))
            products = multiplied(products, terms(m, TERMS), ok)
            left |= (wanted & ~ok).to(tl.int32) << (trial - start)
        sums = with_logarithms(sums, products, TERMS)

        if any_of(left):
            for trial in range(start, stop):
                undone = ((left >> (trial - start)) & 1) > 0
                if DTYPE == tl.float32:
                    if any_of(undone.to(tl.int32)):  # Promoted: the same in float64.
                        c64 = correlations(moments, own, trial, rows, columns, nodes)
                        if ALONE:
                            c64 = without_influence(c64)
                        m64 = minors(c64)
                        done = undone & trusted(m64, limit_from(limit_double, tl.float64))
                        one = filled(1, tl.zeros((BLOCK, BLOCK), tl.float64), len(TERMS))
                        promoted = multiplied(one, terms(m64, TERMS), done)
                        sums = with_logarithms(sums, promoted, TERMS)
                        undone = undone & ~done
                mark(marked, count, capacity, undone, first_trial + trial, rows, columns, nodes)
    store(out, sums, chunk, chunks, rows, columns, nodes, COEFFICIENTS, MIRRORS)
