"""Gaussian MMI of all pairs, reduced to sums over the pairs of each node in the same program.

A program has one tile of pairs, and all trials of it (or one trial, where they stay apart): the
atoms are averaged over the trials in which the pair has a value, since the share sts / (sts + rtr)
is not linear in them, and summed along the rows of the tile and, under the name with x and y
exchanged, along its columns. Each sum has a place of its own in a workspace, which `nodes` adds up
in order; no floating-point number is added atomically.

A pair with a trial that the closed form cannot do stays out of all sums and goes to the list:
`nodes` computes it again, over all its trials.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: products and elimination of
`mmi_series`, 0.6 ms; instead of two matrices (21 MB) 2 x 5 sums for every row and column of a tile
of 32 (3.3 MB), written and read: 2 us. At N = 50,000: 1.1 s of products and elimination, 6.3
GB of sums, 2.6 ms. Not yet measured.
"""

import triton
import triton.language as tl

from .arithmetic import atom, filled, minors, multiplied, terms, trusted, with_logarithms
from .mmi_series import correlations
from .tiles import any_of, limit_from, mark, pairs, varying


@triton.jit
def place(where, value, quantity, mirror):
    """Put the sums of a tile along its rows and along its columns into the workspace.

    (quantities, chunks, one place for each tile on the other side, nodes of the band, or all)
    """
    by_row, by_column, chunk, chunks, row, column, band, band_tiles, tiles = where
    BLOCK: tl.constexpr = value.shape[0]
    lanes = tl.arange(0, BLOCK)
    wide = tl.cast(band_tiles, tl.int64) * BLOCK
    slot = (tl.cast(quantity, tl.int64) * chunks + chunk) * tiles + column
    tl.store(by_row + slot * wide + (row - band) * BLOCK + lanes, tl.sum(value, 1))
    wide = tl.cast(tiles, tl.int64) * BLOCK
    slot = (tl.cast(mirror, tl.int64) * chunks + chunk) * band_tiles + row - band
    tl.store(by_column + slot * wide + column * BLOCK + lanes, tl.sum(value, 0))


@triton.jit
def promoted(
    sums,
    left,
    series,
    start,
    stop,
    limit,
    TERMS: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sums with the trials added that float64 can do, and the bits of those left."""
    both, own, row, column, nodes, samples = series
    still = tl.zeros(left.shape, tl.int32)
    for trial in range(start, stop):
        again = ((left >> (trial - start)) & 1) > 0
        if any_of(again.to(tl.int32)):
            c = correlations(
                both, own, trial, row, column, nodes, samples, tl.float64, BLOCK, DEPTH
            )
            m = minors(c)
            done = again & trusted(m, limit_from(limit, tl.float64))
            one = filled(1, tl.zeros(left.shape, tl.float64), len(TERMS))
            sums = with_logarithms(sums, multiplied(one, terms(m, TERMS), done), TERMS)
            still |= (again & ~done).to(tl.int32)
    return sums, still


@triton.jit(
    do_not_specialize=[
        "trials",
        "chunk_trials",
        "first_trial",
        "band",
        "band_tiles",
        "capacity",
        "limit",
        "limit_double",
    ]
)
def mmi_nodes_kernel(
    both,  # (trials, samples, nodes, 2) float64, contiguous: past and future of each node
    own,  # (trials, nodes) float64, lagged correlation of each node with itself
    constant,  # (trials, nodes) uint8
    by_row,  # (quantities, chunks, tiles, band_tiles * BLOCK) float64, zero
    by_column,  # (quantities, chunks, band_tiles, tiles * BLOCK) float64, zero
    marked,  # (capacity,) int64
    count,  # (1,) int64, zero
    trials,
    nodes,
    samples,
    tiles,
    chunks,
    chunk_trials,
    first_trial,  # of the first chunk
    band,  # first row of tiles of this launch
    band_tiles,
    capacity,
    limit,  # bits of a float64, as a float argument would be a float32
    limit_double,
    DTYPE: tl.constexpr,
    GROUP: tl.constexpr,
    TERMS: tl.constexpr,
    COEFFICIENTS: tl.constexpr,
    MIRRORS: tl.constexpr,
    SHARE: tl.constexpr,  # positions of rtr and sts, or none
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sums of a band of rows of tiles: atoms, share, pairs with a value, pairs with a share.

    Programs below the diagonal leave their places as they are.
    """
    wide = tiles - band
    program = tl.program_id(0)
    chunk = program // (band_tiles * wide)
    row = band + program % (band_tiles * wide) // wide
    column = band + program % wide
    if row <= column:
        rows = row * BLOCK + tl.arange(0, BLOCK)
        columns = column * BLOCK + tl.arange(0, BLOCK)
        stands = pairs(rows, columns, nodes)

        zero = tl.zeros((BLOCK, BLOCK), DTYPE)
        sums = filled(0, zero, len(TERMS))
        undone = tl.zeros((BLOCK, BLOCK), tl.int32)
        first = first_trial + chunk * chunk_trials
        last = tl.minimum(first + chunk_trials, trials)
        for start in range(first, last, GROUP):
            stop = tl.minimum(start + GROUP, last)
            products = filled(1, zero, len(TERMS))
            left = tl.zeros((BLOCK, BLOCK), tl.int32)  # Bit k: trial start + k is not done.
            for trial in range(start, stop):
                c = correlations(both, own, trial, row, column, nodes, samples, DTYPE, BLOCK, DEPTH)
                m = minors(c)
                wanted = stands & varying(constant, trial, rows, columns, nodes)
                ok = wanted & trusted(m, limit_from(limit, DTYPE))
                products = multiplied(products, terms(m, TERMS), ok)
                left |= (wanted & ~ok).to(tl.int32) << (trial - start)
            sums = with_logarithms(sums, products, TERMS)

            if DTYPE == tl.float32:
                if any_of(left):
                    series = (both, own, row, column, nodes, samples)
                    sums, left = promoted(
                        sums, left, series, start, stop, limit_double, TERMS, BLOCK, DEPTH
                    )
            undone |= left
        # A pair stands once in the list, under the first of its trials.
        mark(marked, count, capacity, undone != 0, first, rows, columns, nodes)

        valued = tl.zeros((BLOCK, BLOCK), tl.int32)
        for trial in range(first, last):
            valued += varying(constant, trial, rows, columns, nodes).to(tl.int32)
        known = stands & (undone == 0) & (valued > 0)
        valued = tl.where(known, valued, 1)

        where = (by_row, by_column, chunk, chunks, row, column, band, band_tiles, tiles)
        ATOMS: tl.constexpr = len(MIRRORS)
        for a in tl.static_range(ATOMS):
            mean = atom(sums, COEFFICIENTS, a).to(tl.float64) / valued
            mean = tl.where(known, mean, 0)
            place(where, mean, a, MIRRORS[a])
        number = known.to(tl.int32).to(tl.float64)
        place(where, number, ATOMS, ATOMS)
        if len(SHARE) > 0:
            rtr = atom(sums, COEFFICIENTS, SHARE[0]).to(tl.float64) / valued
            sts = atom(sums, COEFFICIENTS, SHARE[1]).to(tl.float64) / valued
            positive = known & (sts + rtr > 0)
            share = tl.where(positive, sts / tl.where(positive, sts + rtr, 1), 0)
            number = positive.to(tl.int32).to(tl.float64)
            place(where, share, ATOMS + 1, ATOMS + 1)
            place(where, number, ATOMS + 2, ATOMS + 2)
