"""What the kernels share beside the arithmetic: the pairs of a program, its marks, its stores.

The pairs of a launch are an `area` of the matrix of all pairs, a tuple (nodes, row_start, row_stop,
column_start, column_stop): all pairs i < j, of whose bounds nothing is read, or, with the constant
RECTANGLE, those rows with those columns, which share no node. All pairs are computed in the tiles
on and above the diagonal and written with their mirror images; a rectangle in all of its tiles, and
its output has its shape. Nodes are numbered as in the source either way, in loads and in the list.
"""

import triton
import triton.language as tl

from .arithmetic import atom

UNSPECIALISED = """
trials first_trial chunk_trials chunks samples words tiles band band_tiles capacity
row_start row_stop column_start column_stop limit limit_double resolution local_resolution
""".split()  # noqa: SIM905
"""Arguments of the kernels that triton must not compile anew for where one is 1 or a multiple of
16, as models differ in them. The number of nodes is not among them: that of a multiple of 16 has
rows of memory that begin alike."""


@triton.jit
def fold(index, tiles):
    """Chunk, row and column of a program; a chunk has the tiles on and above the diagonal.

    Row r has tiles - r of them. Put behind each row r the row that completes it to a width of
    tiles + 1 (or tiles, if odd): rectangular, and decoded with integers alone.
    """
    of_chunk = tiles * (tiles + 1) // 2
    chunk = index // of_chunk
    odd = tiles % 2
    width = tiles + 1 - odd
    row = index % of_chunk // width
    column = index % of_chunk % width
    own = tiles - row
    other = own - 1 + odd
    inside = column < own
    return (
        chunk,
        tl.where(inside, row, other),
        tl.where(inside, row + column, other + column - own),
    )


@triton.jit
def tile_of(index, tiles, area, BLOCK: tl.constexpr, RECTANGLE: tl.constexpr):
    """Chunk of trials, first row and first column of a program; `tiles` lie side by side."""
    _nodes, row_start, row_stop, column_start, _column_stop = area
    if RECTANGLE:
        chunk = index // (tl.cdiv(row_stop - row_start, BLOCK) * tiles)
        row = index // tiles % tl.cdiv(row_stop - row_start, BLOCK)
        first_row = row_start + row * BLOCK
        first_column = column_start + index % tiles * BLOCK
    else:
        chunk, row, column = fold(index, tiles)
        first_row = row * BLOCK
        first_column = column * BLOCK
    return chunk, first_row, first_column


@triton.jit
def pairs(rows, columns, area, RECTANGLE: tl.constexpr):
    """[B, B] the entries of a tile that stand for a pair of the area."""
    nodes, _row_start, row_stop, _column_start, column_stop = area
    if RECTANGLE:
        inside = (rows[:, None] < row_stop) & (columns[None, :] < column_stop)
    else:
        inside = (rows[:, None] < columns[None, :]) & (columns[None, :] < nodes)
    return inside


@triton.jit
def places(rows, columns, area, RECTANGLE: tl.constexpr):
    """[B, B] offsets of the entries of a tile in a matrix of the area, and which of them it has.

    Then the same of the mirror image; a rectangle has none. The diagonal of all pairs is kept, so
    that it too is written.
    """
    nodes, row_start, row_stop, column_start, column_stop = area
    if RECTANGLE:
        width = column_stop - column_start
        corner = tl.cast(row_start, tl.int64) * width + column_start
        here = rows.to(tl.int64)[:, None] * width + columns[None, :] - corner
        there = here
        kept = pairs(rows, columns, area, RECTANGLE)
        beyond = kept
    else:
        here = rows.to(tl.int64)[:, None] * nodes + columns[None, :]
        there = columns.to(tl.int64)[:, None] * nodes + rows[None, :]
        kept = (rows[:, None] <= columns[None, :]) & (columns[None, :] < nodes)
        beyond = (rows[None, :] < columns[:, None]) & (columns[:, None] < nodes)
    return here, kept, there, beyond


@triton.jit
def entries(area, RECTANGLE: tl.constexpr):
    """How many numbers a matrix of the area has, int64."""
    nodes, row_start, row_stop, column_start, column_stop = area
    if RECTANGLE:
        number = tl.cast(row_stop - row_start, tl.int64) * (column_stop - column_start)
    else:
        number = tl.cast(nodes, tl.int64) * nodes
    return number


@triton.jit
def varying(constant, trial, rows, columns, nodes):
    """[B, B] whether both nodes vary in a trial."""
    base = constant + tl.cast(trial, tl.int64) * nodes
    row = tl.load(base + rows, mask=rows < nodes, other=1)
    column = tl.load(base + columns, mask=columns < nodes, other=1)
    return (row[:, None] == 0) & (column[None, :] == 0)


@triton.jit
def limit_from(bits, DTYPE: tl.constexpr):
    """A scalar from the bits of a float64."""
    return tl.full((), bits, tl.int64).to(tl.float64, bitcast=True).to(DTYPE)


@triton.jit
def any_of(left):
    """Whether any entry of a tile of counts or bits is not zero."""
    return tl.max(tl.max(left, 1), 0) > 0


@triton.jit
def mark(marked, count, capacity, left, trial, rows, columns, nodes):
    """Append the entries left over to the list, as (trial * nodes + row) * nodes + column.

    `count` rises by as many as there are, `marked` takes those that its capacity holds. The order
    depends on the order of programs: the caller sorts.
    """
    found = tl.sum(tl.sum(left.to(tl.int32), 1), 0)
    if found > 0:
        SIZE: tl.constexpr = left.shape[0] * left.shape[1]
        flat = tl.reshape(left.to(tl.int32), (SIZE,))
        # Nothing is ordered by it: what is written is read after the kernel has ended.
        start = tl.atomic_add(count, found.to(tl.int64), sem="relaxed")
        slot = start + tl.cumsum(flat, 0) - flat
        row = tl.cast(trial, tl.int64) * nodes + rows
        key = tl.reshape(row[:, None] * nodes + columns[None, :], (SIZE,))
        tl.store(marked + slot, key, mask=(flat > 0) & (slot < capacity))


@triton.jit
def store(
    out,
    sums,
    chunk,
    chunks,
    rows,
    columns,
    area,
    COEFFICIENTS: tl.constexpr,
    MIRRORS: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """Write a tile of every atom and its mirror image under the exchanged name; diagonal 0."""
    plane = out + chunk * entries(area, RECTANGLE)
    stride_atom = chunks * entries(area, RECTANGLE)
    here, kept, there, beyond = places(rows, columns, area, RECTANGLE)
    for a in tl.static_range(len(MIRRORS)):
        value = atom(sums, COEFFICIENTS, a)
        tl.store(plane + a * stride_atom + here, value, mask=kept)
        if not RECTANGLE:
            tl.store(plane + MIRRORS[a] * stride_atom + there, tl.trans(value), mask=beyond)


@triton.jit
def store_values(
    out,
    values,
    chunk,
    chunks,
    rows,
    columns,
    area,
    MIRRORS: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """Write a tile of every atom, given as such, as `store` does.

    Not called by `store`: with all atoms at hand first, Gaussian MMI takes other registers.
    """
    plane = out + chunk * entries(area, RECTANGLE)
    stride_atom = chunks * entries(area, RECTANGLE)
    here, kept, there, beyond = places(rows, columns, area, RECTANGLE)
    for a in tl.static_range(len(MIRRORS)):
        value = values[a].to(out.dtype.element_ty)
        tl.store(plane + a * stride_atom + here, value, mask=kept)
        if not RECTANGLE:
            tl.store(plane + MIRRORS[a] * stride_atom + there, tl.trans(value), mask=beyond)
