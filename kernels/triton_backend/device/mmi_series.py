"""Gaussian MMI of all pairs from the series: correlations exist only in registers.

A program has one tile of pairs and one chunk of trials. For every trial it forms the four lagged
products of the tile with `tl.dot`, eliminates, and multiplies the terms up; once for every GROUP of
trials it takes logarithms; once at its end it writes the tile and its mirror image.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: 0.13 GB (0.03 ms), 31.6 GFLOP of
products (0.47 ms), 2.0 G double-precision instructions (0.12 ms): floor 0.6 ms. By the
rates measured on an H100 0.70 ms; it took 2.63 there. Counts are derived in ../README.md.
"""

import triton
import triton.language as tl

from .tiles import UNSPECIALISED, pairs, store, tile_of
from .trials import sums_of_trials


@triton.jit(do_not_specialize=UNSPECIALISED)
def mmi_series_kernel(
    both,  # (trials, samples, nodes, 2) float64, contiguous: past and future of each node
    own,  # (trials, nodes) float64, lagged correlation of each node with itself
    constant,  # (trials, nodes) uint8
    out,  # (atoms, chunks, nodes, nodes), or of a rectangle (..., rows, columns)
    marked,  # (capacity,) int64
    count,  # (1,) int64, zero
    trials,
    nodes,
    row_start,  # of the rectangle, if it is one; see `tiles`
    row_stop,
    column_start,
    column_stop,
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
    RECTANGLE: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Fill `out` with sums over each chunk of trials, zero where a pair is not trusted."""
    area = (nodes, row_start, row_stop, column_start, column_stop)
    chunk, first_row, first_column = tile_of(tl.program_id(0), tiles, area, BLOCK, RECTANGLE)
    rows = first_row + tl.arange(0, BLOCK)
    columns = first_column + tl.arange(0, BLOCK)
    stands = pairs(rows, columns, area, RECTANGLE)

    first = chunk * chunk_trials
    sums, _ = sums_of_trials(
        (both, own, samples),
        constant,
        (first_row, first_column, rows, columns),
        stands,
        area,
        (first, tl.minimum(first + chunk_trials, trials), 0),
        (limit, limit_double),
        (marked, count, capacity),
        True,
        True,
        DTYPE,
        GROUP,
        TERMS,
        ALONE,
        DEPTH,
        RECTANGLE,
    )
    store(out, sums, chunk, chunks, rows, columns, area, COEFFICIENTS, MIRRORS, RECTANGLE)
