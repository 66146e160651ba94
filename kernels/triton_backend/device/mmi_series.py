"""Gaussian MMI of all pairs from the series: correlations exist only in registers.

A program has one tile of pairs and one chunk of trials. For every trial it forms the four lagged
products of the tile with `tl.dot`, eliminates, and multiplies the terms up; once for every GROUP of
trials it takes logarithms; once at its end it writes the tile and its mirror image.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: 0.13 GB (0.03 ms), 31.6 GFLOP of
products (0.47 ms), 2.0 G double-precision instructions (0.12 ms): floor 0.6 ms. Not yet measured.
Counts are derived in ../README.md.
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
def correlations(
    both,
    own,
    trial,
    row,
    column,
    nodes,
    samples,
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """xy, ab, xa, xb, ya, yb of the tile (row, column), [B, B]; xa is [B, 1] and yb is [1, B].

    One product holds all four lagged ones: past and future of a node lie side by side in memory.
    (Four products that share operands make Triton give each warp whole rows of the tile.)
    """
    row_lanes = (row * 2 * BLOCK + tl.arange(0, 2 * BLOCK))[None, :]
    column_lanes = (column * 2 * BLOCK + tl.arange(0, 2 * BLOCK))[None, :]
    base = both + tl.cast(trial, tl.int64) * samples * nodes * 2
    product = tl.zeros((2 * BLOCK, 2 * BLOCK), DTYPE)
    for start in range(0, samples, DEPTH):
        time = start + tl.arange(0, DEPTH)
        at = base + time.to(tl.int64)[:, None] * nodes * 2
        inside = time[:, None] < samples
        left = tl.load(at + row_lanes, mask=inside & (row_lanes < 2 * nodes), other=0)
        right = tl.load(at + column_lanes, mask=inside & (column_lanes < 2 * nodes), other=0)
        product = tl.dot(
            tl.trans(left.to(DTYPE)),  # [2B, DEPTH]
            right.to(DTYPE),  # [DEPTH, 2B]
            product,
            # TF32 is off by 1e-3, and 3xTF32 has no proof here that it keeps 1e-5.
            input_precision="ieee",
            out_dtype=DTYPE,
        )
    four = tl.permute(tl.reshape(product, (BLOCK, 2, BLOCK, 2)), (0, 2, 1, 3))
    with_y, with_b = tl.split(four)
    xy, ya = tl.split(with_y)
    xb, ab = tl.split(with_b)
    rows = row * BLOCK + tl.arange(0, BLOCK)
    columns = column * BLOCK + tl.arange(0, BLOCK)
    lagged = own + tl.cast(trial, tl.int64) * nodes
    xa = tl.load(lagged + rows, mask=rows < nodes, other=0).to(DTYPE)[:, None]
    yb = tl.load(lagged + columns, mask=columns < nodes, other=0).to(DTYPE)[None, :]
    return (xy, ab, xa, xb, ya, yb)


@triton.jit(do_not_specialize=["trials", "chunk_trials", "capacity", "limit", "limit_double"])
def mmi_series_kernel(
    both,  # (trials, samples, nodes, 2) float64, contiguous: past and future of each node
    own,  # (trials, nodes) float64, lagged correlation of each node with itself
    constant,  # (trials, nodes) uint8
    out,  # (atoms, chunks, nodes, nodes)
    marked,  # (capacity,) int64
    count,  # (1,) int64, zero
    trials,
    nodes,
    samples,
    tiles,
    chunks,
    chunk_trials,
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
    DEPTH: tl.constexpr,
):
    """Fill `out` with sums over each chunk of trials, zero where a pair is not trusted."""
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
            c = correlations(both, own, trial, row, column, nodes, samples, DTYPE, BLOCK, DEPTH)
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
                        c64 = correlations(
                            both, own, trial, row, column, nodes, samples, tl.float64, BLOCK, DEPTH
                        )
                        if ALONE:
                            c64 = without_influence(c64)
                        m64 = minors(c64)
                        done = undone & trusted(m64, limit_from(limit_double, tl.float64))
                        one = filled(1, tl.zeros((BLOCK, BLOCK), tl.float64), len(TERMS))
                        promoted = multiplied(one, terms(m64, TERMS), done)
                        sums = with_logarithms(sums, promoted, TERMS)
                        undone = undone & ~done
                mark(marked, count, capacity, undone, trial, rows, columns, nodes)
    store(out, sums, chunk, chunks, rows, columns, nodes, COEFFICIENTS, MIRRORS)
