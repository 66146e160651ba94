"""Gaussian CCS of all pairs: every sample of every pair, in registers.

A program has one tile of pairs and one chunk of trials. For every trial it forms the correlations,
eliminates, keeps the coefficients of the ten innovations, their weights and the nine mean
informations of a pair, and goes through the samples once more: innovations, local informations,
their signs and redundancies exist for one sample at a time (formulas: `formulas.ccs`). What hangs
on the sign of an information that is zero but for rounding at every sample
(`formulas.uncorrelated`) is left out of a pair's redundancies once, after its samples.

All arithmetic is float64, whatever the output: a sign decides whether a sample counts at all, and
one that float32 turns moves the average by more than its tolerance.

Roofline, H200, N = 1152, 60 trials, T = 100, float64: counted in the source, a sample and pair take
4 + 16 fused multiply-adds for correlations and innovations, 20 multiplications for squares and
weights, 19 additions for local informations and 41 for co-informations and sums, 16 comparisons:
about 115 double-precision instructions. 39.9 million (trial, pair) x 99 samples x 115 = 0.45 T, at
16.8 T a second 27 ms; memory, 0.13 GB, 0.03 ms. Right on an H100, not timed there.
"""

import triton
import triton.language as tl

from .arithmetic import filled, minors, trusted
from .lattice_sums import added, common_changes, cumulative, with_atoms
from .tiles import UNSPECIALISED, any_of, limit_from, mark, pairs, store_values, tile_of, varying


@triton.jit
def sample(both, trial, time, samples, rows, columns, nodes):
    """x, a [B, 1] and y, b [1, B] of one sample; 0 beyond the last node."""
    at = both + (tl.cast(trial, tl.int64) * samples + time) * nodes * 2
    x = tl.load(at + rows * 2, mask=rows < nodes, other=0)[:, None]
    a = tl.load(at + rows * 2 + 1, mask=rows < nodes, other=0)[:, None]
    y = tl.load(at + columns * 2, mask=columns < nodes, other=0)[None, :]
    b = tl.load(at + columns * 2 + 1, mask=columns < nodes, other=0)[None, :]
    return (x, a, y, b)


@triton.jit
def correlations(both, own, trial, samples, rows, columns, nodes, zero):
    """xy, ab, xa, xb, ya, yb of the tile, [B, B]; xa is [B, 1] and yb is [1, B]."""
    xy = zero
    ab = zero
    xb = zero
    ya = zero
    for time in range(samples):
        x, a, y, b = sample(both, trial, time, samples, rows, columns, nodes)
        xy += x * y
        ab += a * b
        xb += x * b
        ya += a * y
    lagged = own + tl.cast(trial, tl.int64) * nodes
    xa = tl.load(lagged + rows, mask=rows < nodes, other=0)[:, None]
    yb = tl.load(lagged + columns, mask=columns < nodes, other=0)[None, :]
    return (xy, ab, xa, xb, ya, yb)


@triton.jit
def masked(values, masks):
    """Values where their masks are true, 0 elsewhere."""
    out = ()
    for n in tl.static_range(len(values)):
        out = out + (tl.where(masks[n], values[n], tl.zeros(masks[n].shape, values[n].dtype)),)
    return out


@triton.jit
def mean_informations(m):
    """-1/2 log lambda, in the order of `lattice_sums`."""
    past, future, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = m
    lambdas = (
        x_a,
        y_a,
        xy_a / past,
        x_b,
        y_b,
        xy_b / past,
        x_ab / future,
        y_ab / future,
        joint / (past * past * future),
    )
    out = ()
    for n in tl.static_range(9):
        out = out + (0 - tl.log(lambdas[n]) / 2,)
    return out


@triton.jit
def coefficients(c, m):
    """Coefficients of a side's second variable in the innovations, given the first; of a in b."""
    xy, ab, xa, xb, ya, yb = c
    past, future, _x_a, _x_b, _y_a, _y_b, xy_a, _xy_b, _x_ab, _y_ab, _joint = m
    u = ya - xy * xa
    w = yb - xy * xb
    a_y = u / past
    b_y = w / past
    x_b = (xb - ab * xa) / future
    y_b = (yb - ab * ya) / future
    b_a = ((ab - xa * xb) * past - u * w) / xy_a
    # In `innovations`: of x and y in a and in b, of a and b in x and in y, of a in b given x and y.
    return (
        xa - a_y * xy,
        a_y,
        xb - b_y * xy,
        b_y,
        xa - x_b * ab,
        x_b,
        ya - y_b * ab,
        y_b,
        b_a,
    )


@triton.jit
def weights(m, half):
    """(n - 1)/2 over the variance of each innovation, in the order of `innovations`."""
    past, future, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = m
    return (
        half / x_a,
        half / y_a,
        half * past / xy_a,
        half / x_b,
        half / y_b,
        half * past / xy_b,
        half * future / x_ab,
        half * future / y_ab,
        half * past * xy_a / joint,
        half / future,
    )


@triton.jit
def innovations(point, c, k):
    """What is left of a given x, y, both; of b likewise; x and y given both; b given all; b, a."""
    x, a, y, b = point
    _xy, ab, xa, xb, ya, yb = c
    a_xy = a - k[0] * x - k[1] * y
    b_xy = b - k[2] * x - k[3] * y
    return (
        a - xa * x,
        a - ya * y,
        a_xy,
        b - xb * x,
        b - yb * y,
        b_xy,
        x - k[4] * a - k[5] * b,
        y - k[6] * a - k[7] * b,
        b_xy - k[8] * a_xy,
        b - ab * a,
    )


@triton.jit
def local_informations(point, c, k, w, means, half):
    """Informations at one sample: mean + (n - 1)/2 [d(v) - d(v | u)], see `formulas.ccs`."""
    x, a, y, b = point
    left = innovations(point, c, k)
    given = ()
    for n in tl.static_range(10):
        given = given + (left[n] * left[n] * w[n],)
    of_a = half * a * a
    of_b = half * b * b
    return (
        means[0] + (of_a - given[0]),
        means[1] + (of_a - given[1]),
        means[2] + (of_a - given[2]),
        means[3] + (of_b - given[3]),
        means[4] + (of_b - given[4]),
        means[5] + (of_b - given[5]),
        means[6] + (half * x * x - given[6]),
        means[7] + (half * y * y - given[7]),
        means[8] + (of_a - given[2] + given[9] - given[8]),
    )


@triton.jit
def where_correlated(shared, c, zero):
    """Redundancies in the order of `lattice_sums`, 0 where one of their informations is zero.

    Args:
        shared: sums over samples.
        c: correlations.
        zero: magnitude up to which one across time is zero.
    """
    x_a = tl.abs(c[2]) > zero
    x_b = tl.abs(c[3]) > zero
    y_a = tl.abs(c[4]) > zero
    y_b = tl.abs(c[5]) > zero
    signed = (
        x_a & x_b & y_a & y_b,
        x_a & y_a,
        x_b & y_b,
        (x_a | x_b) & (y_a | y_b),
        x_a & x_b,
        y_a & y_b,
        (x_a | y_a) & (x_b | y_b),
    )
    return masked(shared, signed)


@triton.jit(do_not_specialize=UNSPECIALISED)
def ccs_kernel(
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
    resolution,  # likewise: magnitude up to which a correlation across time is zero
    local_resolution,  # likewise: a local information
    SIGNS: tl.constexpr,
    MIRRORS: tl.constexpr,
    BLOCK: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """Fill `out` with sums over each chunk of trials, zero where a pair is not trusted."""
    area = (nodes, row_start, row_stop, column_start, column_stop)
    chunk, first_row, first_column = tile_of(tl.program_id(0), tiles, area, BLOCK, RECTANGLE)
    rows = first_row + tl.arange(0, BLOCK)
    columns = first_column + tl.arange(0, BLOCK)
    stands = pairs(rows, columns, area, RECTANGLE)
    half = tl.cast(samples - 1, tl.float64) / 2

    zero = tl.zeros((BLOCK, BLOCK), tl.float64)
    none = limit_from(local_resolution, tl.float64)
    sums = filled(0, zero, len(MIRRORS))
    first = chunk * chunk_trials
    last = tl.minimum(first + chunk_trials, trials)
    for trial in range(first, last):
        raw = correlations(both, own, trial, samples, rows, columns, nodes, zero)
        wanted = stands & varying(constant, trial, rows, columns, nodes)
        ok = wanted & trusted(minors(raw), limit_from(limit, tl.float64))
        c = masked(raw, (ok, ok, ok, ok, ok, ok))
        m = minors(c)
        k = coefficients(c, m)
        w = weights(m, half)
        means = mean_informations(m)
        shared = filled(0, zero, 7)
        for time in range(samples):
            point = sample(both, trial, time, samples, rows, columns, nodes)
            i = local_informations(point, c, k, w, means, half)
            above = ()
            below = ()
            for n in tl.static_range(9):
                above = above + (i[n] > none,)
                below = below + (i[n] < -none,)
            shared = added(shared, common_changes(i, above, below))
        shared = where_correlated(shared, c, limit_from(resolution, tl.float64))
        redundancies = ()
        for n in tl.static_range(7):
            redundancies = redundancies + (shared[n] / samples,)
        sums = with_atoms(sums, cumulative(means, redundancies), 1, ok, SIGNS)
        left = wanted & ~ok
        if any_of(left.to(tl.int32)):
            mark(marked, count, capacity, left, trial, rows, columns, nodes)
    store_values(out, sums, chunk, chunks, rows, columns, area, MIRRORS, RECTANGLE)
