"""Gaussian MMI of all pairs, reduced to sums over the pairs of each node in the same program.

A program has one tile of pairs, and all trials of it (or one trial, where they stay apart): the
atoms are averaged over the trials in which the pair has a value, since the share sts / (sts + rtr)
is not linear in them, and summed along the rows of the tile and, under the name with x and y
exchanged, along its columns. Each sum has a place of its own in a workspace, which
`node_means` adds up in order; no floating-point number is added atomically.

A pair with a trial that the closed form cannot do stays out of all sums and goes to the list:
`node_means` computes it again, over all its trials.

Roofline, H200, N = 1152, 60 trials, T = 100, float64, rtr and sts: products and elimination of
`mmi_series`, 0.6 ms; instead of two matrices (21 MB) 2 x 5 sums for every row and column of a tile
of 32 (3.3 MB), written and read: 2 us. At N = 50,000: 1.1 s of products and elimination, 6.3
GB of sums, 2.6 ms. Right on an H100, not timed there.
"""

import triton
import triton.language as tl

from ... import lattice
from .arithmetic import atom
from .tiles import UNSPECIALISED, mark, pairs, varying
from .trials import sums_of_trials

LEAST_SUM = tl.constexpr(lattice.LEAST_SUM)


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


@triton.jit(do_not_specialize=UNSPECIALISED)
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
    row_start,  # of the rectangle, if it is one; see `tiles`
    row_stop,
    column_start,
    column_stop,
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
    RECTANGLE: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sums of a band of rows of tiles: atoms, share, pairs with a value, pairs with a share.

    Programs below the diagonal of all pairs leave their places as they are. Tiles of a rectangle
    are counted from its corner, those of all pairs from that of the matrix.
    """
    area = (nodes, row_start, row_stop, column_start, column_stop)
    program = tl.program_id(0)
    if RECTANGLE:
        first_tile = 0
        row_origin = row_start
        column_origin = column_start
    else:
        first_tile = band
        row_origin = 0
        column_origin = 0
    wide = tiles - first_tile
    chunk = program // (band_tiles * wide)
    # Column after column: its nodes are read from memory once a band, those of the few rows stay.
    row = band + program % band_tiles
    column = first_tile + program // band_tiles % wide
    if RECTANGLE or row <= column:
        first_row = row_origin + row * BLOCK
        first_column = column_origin + column * BLOCK
        rows = first_row + tl.arange(0, BLOCK)
        columns = first_column + tl.arange(0, BLOCK)
        stands = pairs(rows, columns, area, RECTANGLE)

        first = first_trial + chunk * chunk_trials
        last = tl.minimum(first + chunk_trials, trials)
        sums, undone = sums_of_trials(
            (both, own, samples),
            constant,
            (first_row, first_column, rows, columns),
            stands,
            area,
            (first, last, 0),
            (limit, limit_double),
            (marked, count, capacity),
            True,
            False,
            DTYPE,
            GROUP,
            TERMS,
            False,
            DEPTH,
            RECTANGLE,
        )
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
            shared = known & (sts + rtr > LEAST_SUM)
            share = tl.where(shared, sts / tl.where(shared, sts + rtr, 1), 0)
            number = shared.to(tl.int32).to(tl.float64)
            place(where, share, ATOMS + 1, ATOMS + 1)
            place(where, number, ATOMS + 2, ATOMS + 2)
