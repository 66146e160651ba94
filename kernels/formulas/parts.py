"""Parts of a tile: what a CPU takes at a time, so that its temporaries stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..contract import Array, Tile


class Part(NamedTuple):
    """A part of a tile.

    Attributes:
        tile: which trials, rows and columns it is.
        place: where these lie in the tile.
    """

    tile: Tile
    place: tuple[slice, slice, slice]


def parts(tile: Tile, entries: int, rows: int, like: Array) -> Iterator[Part]:
    """Cut a tile on a CPU into parts; elsewhere it is one part.

    Arrays of several MB go back to the system at every step, and come back page by page.

    Args:
        tile: trials, rows and columns. Where rows and columns are the same nodes, parts need not
            cover what lies below the diagonal.
        entries: (trial, row, column) in a part, at most.
        rows: in a part, at most; fewer follow the diagonal more closely.
        like: an array on the device.
    """
    for part in _cut(tile, entries, rows) if on_cpu(like) else [tile]:
        trials, rows_, columns = (
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(part, tile, strict=True)
        )
        yield Part(part, (trials, rows_, columns))


def on_cpu(array: Array) -> bool:
    """Whether an array of NumPy, torch or CuPy is in host memory."""
    # The devices of CuPy are GPUs, and have no type.
    return isinstance(array, np.ndarray) or getattr(array.device, "type", "cuda") == "cpu"


def _cut(tile: Tile, entries: int, rows: int) -> Iterator[Tile]:
    width = tile.columns.stop - tile.columns.start
    for across in _pieces(tile.rows, min(entries // width, rows)):
        left = slice(across.start, tile.columns.stop) if tile.rows == tile.columns else tile.columns
        height = across.stop - across.start
        for columns in _pieces(left, entries // height):
            depth = entries // (height * (columns.stop - columns.start))
            for trials in _pieces(tile.trials, depth):
                yield Tile(trials, across, columns)


def _pieces(whole: slice, size: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, max(1, size)):
        yield slice(start, min(start + max(1, size), whole.stop))
