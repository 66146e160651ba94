"""Discrete ΦID of all pairs: sixteen joint counts from packed bits, entropies from a table.

A program has one tile of pairs and one chunk of trials. Bits of a node's past and future are packed
32 samples to a word. Nine counts of ones, of x, a and their product with y, b and theirs, are the
population counts of words, and the sixteen joint counts their differences with those of the nodes.
An entropy is a sum over states of entries of a table by count, which `formulas.discrete` uses too;
CCS looks at the sixteen states one after the other.

The population count is written with shifts, which any target has; LLVM knows it, and emits `popc`.

Roofline, H200, N = 1152, 60 trials, T = 100: 39.9 million (trial, pair). Counting: four words x
nine `popc` at 16 a clock, 132 multiprocessors and 1.75 GHz, 0.4 ms; MMI: 64 entries of the table a
pair, at 32 lanes a clock and, as its 800 bytes lie in seven cache lines, up to seven passes, 0.4 to
2.4 ms; CCS: 240 entries, 1.3 to 9 ms, and 16 x 90 double-precision instructions a pair, 3.5 ms.
Memory: two outputs and 2.2 MB of bits. Right on an H100, not timed there.
"""

import triton
import triton.language as tl

from .arithmetic import filled
from .lattice_sums import added, common_changes, cumulative, least, with_atoms
from .tiles import UNSPECIALISED, limit_from, pairs, store_values, tile_of, varying


@triton.jit
def ones(word):
    """How many bits of a uint32 are 1, int32."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def words_of(packed, at, lanes, nodes):
    """One word of some nodes, 0 beyond the last."""
    return tl.load(packed + at + lanes, mask=lanes < nodes, other=0).to(tl.uint32, bitcast=True)


@triton.jit
def states(n, p, q, both):
    """Counts of the states 00, 01, 10, 11 of two bits, from those of their ones."""
    return (n - p - q + both, q - both, p - both, both)


@triton.jit
def counts_of_ones(past, future, trial, samples, words, rows, columns, nodes, zero):
    """Samples in which bits are 1: of none of x and a, of x, of a, of both; of y and b likewise.

    Four tuples for the first node of four for the second; [B, 1] or [1, B] without the other node.
    """
    row_ones = filled(0, tl.zeros((zero.shape[0], 1), tl.int32), 3)  # x, a, xa
    column_ones = filled(0, tl.zeros((1, zero.shape[1]), tl.int32), 3)  # y, b, yb
    pair_ones = filled(0, zero, 9)
    for word in range(words):
        at = (tl.cast(trial, tl.int64) * words + word) * nodes
        x = words_of(past, at, rows, nodes)[:, None]
        a = words_of(future, at, rows, nodes)[:, None]
        y = words_of(past, at, columns, nodes)[None, :]
        b = words_of(future, at, columns, nodes)[None, :]
        first = (x, a, x & a)
        second = (y, b, y & b)
        row_more = ()
        column_more = ()
        pair_more = ()
        for i in tl.static_range(3):
            row_more = row_more + (ones(first[i]),)
            column_more = column_more + (ones(second[i]),)
            for j in tl.static_range(3):
                pair_more = pair_more + (ones(first[i] & second[j]),)
        row_ones = added(row_ones, row_more)
        column_ones = added(column_ones, column_more)
        pair_ones = added(pair_ones, pair_more)
    return (
        (samples, column_ones[0], column_ones[1], column_ones[2]),
        (row_ones[0], pair_ones[0], pair_ones[1], pair_ones[2]),
        (row_ones[1], pair_ones[3], pair_ones[4], pair_ones[5]),
        (row_ones[2], pair_ones[6], pair_ones[7], pair_ones[8]),
    )


@triton.jit
def informations(h):
    """Informations of a pair from the entropies of its variables, in the order of the next line."""
    x, a, y, b, xa, yb, xy, xb, ay, ab, xay, xab, xyb, ayb, xayb = h
    return (
        x + a - xa,
        y + a - ay,
        xy + a - xay,
        x + b - xb,
        y + b - yb,
        xy + b - xyb,
        x + ab - xab,
        y + ab - ayb,
        xy + ab - xayb,
    )


@triton.jit
def entropy(table, counts):
    """Sum over states of their share in the entropy, float64."""
    total = tl.load(table + counts[0])
    for n in tl.static_range(1, len(counts)):
        total += tl.load(table + counts[n])
    return total


@triton.jit
def whole(values, zero):
    """Every entry [B, B]."""
    out = ()
    for n in tl.static_range(len(values)):
        out = out + (values[n] + zero,)
    return out


@triton.jit
def flipped(n, p, q, both, first, second):
    """Counts of ones of two bits, the first or the second or both of which are complemented."""
    both = tl.where(first, q - both, both)
    p = tl.where(first, n - p, p)
    both = tl.where(second, p - both, both)
    q = tl.where(second, n - q, q)
    return (n, p, q, both)


@triton.jit
def mean_informations(of_ones, share, zero):
    """I = H + H - H of the marginals, in the order of `lattice_sums`."""
    g, g_x, g_a, g_xa = of_ones
    samples = g[0]
    h_xayb = zero
    h_xay = zero
    h_xab = zero
    h_xyb = zero
    h_ayb = zero
    # A loop, not unrolled: the look-ups of all states at once would need too many registers.
    for state in range(4):
        number = tl.cast(state, tl.int32)
        not_first = (number >> 1) & 1 == 0
        not_second = number & 1 == 0
        # Where the first node is in this state: how often at all, with y, with b, with both.
        given = ()
        for j in tl.static_range(4):
            given = given + (flipped(g[j], g_x[j], g_a[j], g_xa[j], not_first, not_second)[3],)
        h_xayb += entropy(share, states(given[0], given[1], given[2], given[3]))
        h_xay += entropy(share, (given[1], given[0] - given[1]))
        h_xab += entropy(share, (given[2], given[0] - given[2]))
        # Where the second is: how often at all, with x, with a.
        n = flipped(g[0], g[1], g[2], g[3], not_first, not_second)[3]
        x = flipped(g_x[0], g_x[1], g_x[2], g_x[3], not_first, not_second)[3]
        a = flipped(g_a[0], g_a[1], g_a[2], g_a[3], not_first, not_second)[3]
        h_xyb += entropy(share, (x, n - x))
        h_ayb += entropy(share, (a, n - a))
    h = (
        entropy(share, (g_x[0], samples - g_x[0])),
        entropy(share, (g_a[0], samples - g_a[0])),
        entropy(share, (g[1], samples - g[1])),
        entropy(share, (g[2], samples - g[2])),
        entropy(share, states(samples, g_x[0], g_a[0], g_xa[0])),
        entropy(share, states(samples, g[1], g[2], g[3])),
        entropy(share, states(samples, g_x[0], g[1], g_x[1])),
        entropy(share, states(samples, g_x[0], g[2], g_x[2])),
        entropy(share, states(samples, g_a[0], g[1], g_a[1])),
        entropy(share, states(samples, g_a[0], g[2], g_a[2])),
        h_xay,
        h_xab,
        h_xyb,
        h_ayb,
        h_xayb,
    )
    return whole(informations(h), zero)


@triton.jit
def counts_of_state(of_ones, state):
    """How often the variables are in their states of a joint one, in the order of `informations`.

    A state's bits are complemented where they are 0, so that its count is one of ones. The bits of
    its number are x, a, y, b.
    """
    g, g_x, g_a, g_xa = of_ones
    not_x = (state >> 3) & 1 == 0
    not_a = (state >> 2) & 1 == 0
    not_y = (state >> 1) & 1 == 0
    not_b = state & 1 == 0
    g = flipped(g[0], g[1], g[2], g[3], not_y, not_b)
    g_x = flipped(g_x[0], g_x[1], g_x[2], g_x[3], not_y, not_b)
    g_a = flipped(g_a[0], g_a[1], g_a[2], g_a[3], not_y, not_b)
    g_xa = flipped(g_xa[0], g_xa[1], g_xa[2], g_xa[3], not_y, not_b)
    _n, x, a, xa = flipped(g[0], g_x[0], g_a[0], g_xa[0], not_x, not_a)
    y, xy, ay, xay = flipped(g[1], g_x[1], g_a[1], g_xa[1], not_x, not_a)
    b, xb, ab, xab = flipped(g[2], g_x[2], g_a[2], g_xa[2], not_x, not_a)
    yb, xyb, ayb, xayb = flipped(g[3], g_x[3], g_a[3], g_xa[3], not_x, not_a)
    return (x, a, y, b, xa, yb, xy, xb, ay, ab, xay, xab, xyb, ayb, xayb)


@triton.jit
def points_by_ccs(counts, surprisal, resolution, zero):
    """Cumulative quantities at one state: local informations and common changes."""
    h = ()
    for n in tl.static_range(15):
        h = h + (tl.load(surprisal + counts[n]),)
    i = whole(informations(h), zero)
    above = ()
    below = ()
    for n in tl.static_range(9):
        above = above + (i[n] > resolution,)
        below = below + (i[n] < 0 - resolution,)
    return cumulative(i, common_changes(i, above, below))


@triton.jit(do_not_specialize=UNSPECIALISED)
def pack_kernel(
    values,  # (trials, nodes, samples) of 0 and 1, contiguous
    out,  # (trials, words, nodes) int32
    samples,
    words,
    nodes,
    NODES: tl.constexpr,
    WORD: tl.constexpr,
):
    """Fill `out` with WORD samples a word, the first the lowest bit; 0 beyond the last."""
    blocks = tl.cdiv(nodes, NODES)
    trial = tl.cast(tl.program_id(0) // blocks, tl.int64)
    node = tl.program_id(0) % blocks * NODES + tl.arange(0, NODES)
    place = tl.arange(0, WORD)
    series = values + (trial * nodes + node[:, None]) * samples
    for word in range(words):
        sample = word * WORD + place[None, :]
        exists = (node[:, None] < nodes) & (sample < samples)
        ones = (tl.load(series + sample, mask=exists, other=0) != 0).to(tl.int32)
        # Different powers of two: their sum is exact, and that of all 32 wraps to the sign.
        packed = tl.sum(ones << place[None, :], 1)
        tl.store(out + (trial * words + word) * nodes + node, packed, mask=node < nodes)


@triton.jit(do_not_specialize=UNSPECIALISED)
def discrete_kernel(
    past,  # (trials, words, nodes) int32, contiguous: 32 samples a word, unused bits 0
    future,  # likewise
    constant,  # (trials, nodes) uint8
    table,  # (samples + 1,) float64 by count: share in the entropy for MMI, surprisal for CCS
    out,  # (atoms, chunks, nodes, nodes), or of a rectangle (..., rows, columns)
    trials,
    nodes,
    row_start,  # of the rectangle, if it is one; see `tiles`
    row_stop,
    column_start,
    column_stop,
    samples,
    words,
    tiles,
    chunks,
    chunk_trials,
    resolution,  # bits of a float64: local informations of this size have no sign (CCS)
    CCS: tl.constexpr,
    SIGNS: tl.constexpr,
    MIRRORS: tl.constexpr,
    BLOCK: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """Fill `out` with sums over each chunk of trials, in bits."""
    area = (nodes, row_start, row_stop, column_start, column_stop)
    chunk, first_row, first_column = tile_of(tl.program_id(0), tiles, area, BLOCK, RECTANGLE)
    rows = first_row + tl.arange(0, BLOCK)
    columns = first_column + tl.arange(0, BLOCK)
    stands = pairs(rows, columns, area, RECTANGLE)

    zero = tl.zeros((BLOCK, BLOCK), tl.float64)
    none = tl.zeros((BLOCK, BLOCK), tl.int32)
    sums = filled(0, zero, len(MIRRORS))
    first = chunk * chunk_trials
    last = tl.minimum(first + chunk_trials, trials)
    for trial in range(first, last):
        of_ones = counts_of_ones(past, future, trial, samples, words, rows, columns, nodes, none)
        ok = stands & varying(constant, trial, rows, columns, nodes)
        if CCS:
            threshold = limit_from(resolution, tl.float64)
            # A loop, not unrolled: the look-ups of all states at once would need all registers.
            for state in range(16):
                counts = counts_of_state(of_ones, tl.cast(state, tl.int32))
                points = points_by_ccs(counts, table, threshold, zero)
                sums = with_atoms(sums, points, counts[14].to(tl.float64) / samples, ok, SIGNS)
        else:
            i = mean_informations(of_ones, table, zero)
            sums = with_atoms(sums, cumulative(i, least(i)), 1, ok, SIGNS)
    store_values(out, sums, chunk, chunks, rows, columns, area, MIRRORS, RECTANGLE)
