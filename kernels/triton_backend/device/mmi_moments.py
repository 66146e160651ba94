"""Gaussian MMI of all pairs from moments in memory: elementwise, every number read once.

A program has one tile of pairs and one chunk of trials, as in `mmi_series`; the difference is that
correlations are read, `A` and `B` above the diagonal only, `C` on both sides of it. They are
float64 whatever the dtype of the arithmetic, so that promotion needs no second source.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: 1.3 GB read (0.27 ms), 2.0 G
double-precision instructions (0.12 ms), after 47 GFLOP of products (0.71 ms) that write 1.9 GB
(0.40 ms): floor 1.1 ms with the products. An H100 took 3.16 ms, products included. Counts:
../README.md.
"""

import triton
import triton.language as tl

from .tiles import UNSPECIALISED, pairs, store, tile_of
from .trials import sums_of_trials


@triton.jit(do_not_specialize=UNSPECIALISED)
def mmi_moments_kernel(
    past,  # (trials, nodes, nodes) float64, contiguous, or of a rectangle (trials, rows, columns)
    future,
    lagged,  # C[i, j] = corr(x_i(t), x_j(t + tau))
    back,  # of a rectangle (trials, columns, rows), C[j, i]; of all pairs not read
    own,  # (trials, nodes) float64, the diagonal of `lagged`
    constant,  # (trials, nodes) uint8
    out,  # (atoms, chunks, nodes, nodes), or of a rectangle (..., rows, columns)
    marked,  # (capacity,) int64
    count,  # (1,) int64
    trials,
    nodes,
    row_start,  # of the rectangle, if it is one; see `tiles`
    row_stop,
    column_start,
    column_stop,
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
    RECTANGLE: tl.constexpr,
):
    """Fill `out` as `mmi_series_kernel` does."""
    area = (nodes, row_start, row_stop, column_start, column_stop)
    chunk, first_row, first_column = tile_of(tl.program_id(0), tiles, area, BLOCK, RECTANGLE)
    rows = first_row + tl.arange(0, BLOCK)
    columns = first_column + tl.arange(0, BLOCK)
    stands = pairs(rows, columns, area, RECTANGLE)

    first = chunk * chunk_trials
    sums, _ = sums_of_trials(
        (past, future, lagged, back, own),
        constant,
        (first_row, first_column, rows, columns),
        stands,
        area,
        (first, tl.minimum(first + chunk_trials, trials), first_trial),
        (limit, limit_double),
        (marked, count, capacity),
        False,
        True,
        DTYPE,
        GROUP,
        TERMS,
        ALONE,
        0,
        RECTANGLE,
    )
    store(out, sums, chunk, chunks, rows, columns, area, COEFFICIENTS, MIRRORS, RECTANGLE)
