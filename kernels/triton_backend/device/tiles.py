"""What the kernels share beside the arithmetic: the pairs of a program, its marks, its stores."""

import triton
import triton.language as tl

from .arithmetic import atom


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
def pairs(rows, columns, nodes):
    """[B, B] the entries of a tile that stand for a pair i < j."""
    return (rows[:, None] < columns[None, :]) & (columns[None, :] < nodes)


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
        start = tl.atomic_add(count, found.to(tl.int64))
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
    nodes,
    COEFFICIENTS: tl.constexpr,
    MIRRORS: tl.constexpr,
):
    """Write a tile of every atom and its mirror image under the exchanged name; diagonal 0."""
    plane = out + tl.cast(chunk, tl.int64) * nodes * nodes
    stride_atom = tl.cast(chunks, tl.int64) * nodes * nodes
    here = rows.to(tl.int64)[:, None] * nodes + columns[None, :]
    there = columns.to(tl.int64)[:, None] * nodes + rows[None, :]
    kept = (rows[:, None] <= columns[None, :]) & (columns[None, :] < nodes)
    beyond = (rows[None, :] < columns[:, None]) & (columns[:, None] < nodes)
    for a in tl.static_range(len(MIRRORS)):
        value = atom(sums, COEFFICIENTS, a)
        tl.store(plane + a * stride_atom + here, value, mask=kept)
        tl.store(plane + MIRRORS[a] * stride_atom + there, tl.trans(value), mask=beyond)


@triton.jit
def store_values(out, values, chunk, chunks, rows, columns, nodes, MIRRORS: tl.constexpr):
    """Write a tile of every atom, given as such, as `store` does.

    Not called by `store`: with all atoms at hand first, Gaussian MMI takes other registers.
    """
    plane = out + tl.cast(chunk, tl.int64) * nodes * nodes
    stride_atom = tl.cast(chunks, tl.int64) * nodes * nodes
    here = rows.to(tl.int64)[:, None] * nodes + columns[None, :]
    there = columns.to(tl.int64)[:, None] * nodes + rows[None, :]
    kept = (rows[:, None] <= columns[None, :]) & (columns[None, :] < nodes)
    beyond = (rows[None, :] < columns[:, None]) & (columns[:, None] < nodes)
    for a in tl.static_range(len(MIRRORS)):
        value = values[a].to(out.dtype.element_ty)
        tl.store(plane + a * stride_atom + here, value, mask=kept)
        tl.store(plane + MIRRORS[a] * stride_atom + there, tl.trans(value), mask=beyond)
