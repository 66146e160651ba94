"""The six correlations of every pair of a tile, from the series or from matrices in memory.

A source is a tuple: of unit vectors (both, own, samples), of moments (past, future, lagged, back,
own); `own` is the lagged correlation of each node with itself. A tile is (first_row, first_column,
rows, columns), the last two [B] lanes of nodes.
"""

import triton
import triton.language as tl


@triton.jit
def correlations(
    source,
    trial,
    tile,
    area,
    SERIES: tl.constexpr,
    DTYPE: tl.constexpr,
    DEPTH: tl.constexpr,
    RECTANGLE: tl.constexpr,
):
    """xy, ab, xa, xb, ya, yb of a tile, [B, B]; xa is [B, 1] and yb is [1, B]."""
    if SERIES:
        c = of_series(source, trial, tile, area, DTYPE, DEPTH)
    else:
        c = of_moments(source, trial, tile, area, DTYPE, RECTANGLE)
    return c


@triton.jit
def of_series(source, trial, tile, area, DTYPE: tl.constexpr, DEPTH: tl.constexpr):
    """One product holds all four lagged ones: past and future of a node lie side by side in memory.

    (Four products that share operands make Triton give each warp whole rows of the tile.)
    """
    both, own, samples = source
    first_row, first_column, rows, columns = tile
    nodes = area[0]
    BLOCK: tl.constexpr = rows.shape[0]
    row_lanes = (first_row * 2 + tl.arange(0, 2 * BLOCK))[None, :]
    column_lanes = (first_column * 2 + tl.arange(0, 2 * BLOCK))[None, :]
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
    lagged = own + tl.cast(trial, tl.int64) * nodes
    xa = tl.load(lagged + rows, mask=rows < nodes, other=0).to(DTYPE)[:, None]
    yb = tl.load(lagged + columns, mask=columns < nodes, other=0).to(DTYPE)[None, :]
    return (xy, ab, xa, xb, ya, yb)


@triton.jit
def of_moments(source, trial, tile, area, DTYPE: tl.constexpr, RECTANGLE: tl.constexpr):
    """Read as float64, whatever the dtype, so that promotion needs no second source.

    Matrices have the shape of the area; `back` holds the correlations of columns with later rows,
    (columns, rows), which for all pairs are the other half of `lagged`.
    """
    past, future, lagged, back, own = source
    _first_row, _first_column, rows, columns = tile
    nodes, row_start, row_stop, column_start, column_stop = area
    if RECTANGLE:
        # Bounds are those of `pairs`, and corners are taken off numbers that all lanes share: with
        # lanes counted from the corners this kernel spills.
        width = column_stop - column_start
        height = row_stop - row_start
        base = tl.cast(trial, tl.int64) * height * width
        corner = tl.cast(row_start, tl.int64) * width + column_start
        corner_there = tl.cast(column_start, tl.int64) * height + row_start
        here = base - corner + rows.to(tl.int64)[:, None] * width + columns[None, :]
        there = base - corner_there + columns.to(tl.int64)[:, None] * height + rows[None, :]
        inside = (rows[:, None] < row_stop) & (columns[None, :] < column_stop)
        across = (rows[None, :] < row_stop) & (columns[:, None] < column_stop)
    else:
        base = tl.cast(trial, tl.int64) * nodes * nodes
        here = base + rows.to(tl.int64)[:, None] * nodes + columns[None, :]
        there = base + columns.to(tl.int64)[:, None] * nodes + rows[None, :]
        inside = (rows[:, None] < nodes) & (columns[None, :] < nodes)
        across = (rows[None, :] < nodes) & (columns[:, None] < nodes)
    xy = tl.load(past + here, mask=inside, other=0)
    ab = tl.load(future + here, mask=inside, other=0)
    xb = tl.load(lagged + here, mask=inside, other=0)
    if RECTANGLE:
        ya = tl.trans(tl.load(back + there, mask=across, other=0))
    else:
        ya = tl.trans(tl.load(lagged + there, mask=across, other=0))
    diagonal = own + tl.cast(trial, tl.int64) * nodes
    xa = tl.load(diagonal + rows, mask=rows < nodes, other=0)[:, None]
    yb = tl.load(diagonal + columns, mask=columns < nodes, other=0)[None, :]
    return (xy.to(DTYPE), ab.to(DTYPE), xa.to(DTYPE), xb.to(DTYPE), ya.to(DTYPE), yb.to(DTYPE))
