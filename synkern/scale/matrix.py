"""A matrix of all pairs that lies in a store, half of it: read where it is asked for."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.scale.grid import Grid


class BlockedMatrix:
    """An atom of all pairs, (nodes, nodes) or (trials, nodes, nodes), read by slices.

        big["sts"][1000:2000, :500]        a NumPy array
        big["sts"][7, 11]                  a number

    Below the diagonal of blocks it is the mirror image of the atom with x and y exchanged. Blocks
    that are not finished are NaN.

    Attributes:
        shape: that of an array.
        dtype: likewise.
    """

    def __init__(self, upper: Any, mirror: Any, grid: Grid) -> None:
        """Of the arrays of zarr of an atom, and of the one with x and y exchanged."""
        self._upper, self._mirror, self._grid = upper, mirror, grid
        self.shape: tuple[int, ...] = tuple(upper.shape)
        self.dtype: np.dtype[Any] = np.dtype(upper.dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What is best read at once: the blocks."""
        return tuple(self._upper.chunks)

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Return one line."""
        return f"BlockedMatrix(shape={self.shape}, dtype={self.dtype})"

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """Read all of it."""
        if copy is False:
            raise ValueError("a matrix in a store can only be copied; use copy=None")
        whole: npt.NDArray[Any] = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        """Read a part: numbers and slices, for each axis or the first ones; `...` for all others.

        Raises:
            IndexError: no such entry; too many indices.
            TypeError: another kind of index.
        """
        ranges, squeezed = self._ranges(key)
        *trials, rows, columns = ranges
        # Read forwards, then turned.
        r, c = _forwards(rows), _forwards(columns)
        found = self._read([_forwards(each) for each in trials], r, c)
        turned = [slice(None, None, -1) if each.step < 0 else slice(None) for each in ranges]
        found = found[tuple(turned)]
        return found[tuple(0 if one else slice(None) for one in squeezed)]

    def _ranges(self, key: Any) -> tuple[list[range], list[bool]]:
        """By axis what is asked for, and whether that is a single entry."""
        keys = list(key) if isinstance(key, tuple) else [key]
        # By identity: an array compares entry by entry.
        whole = [at for at, one in enumerate(keys) if one is Ellipsis] or [len(keys)]
        if len(whole) > 1:
            raise IndexError("an index can only have a single ellipsis")
        if whole[0] == len(keys):
            keys.append(Ellipsis)
        at = whole[0]
        missing = self.ndim - len(keys) + 1
        if missing < 0:
            raise IndexError(f"too many indices: {len(keys) - 1} for {self.ndim} axes")
        keys[at : at + 1] = [slice(None)] * missing
        found = [_range(one, size) for one, size in zip(keys, self.shape, strict=True)]
        return found, [not isinstance(one, slice) for one in keys]

    def _read(self, trials: list[range], rows: range, columns: range) -> npt.NDArray[Any]:
        shape = (*(len(each) for each in trials), len(rows), len(columns))
        found = np.empty(shape, self.dtype)
        if not found.size:
            return found
        apart = tuple(_slice(each) for each in trials)
        side = self._grid.side
        for i in range(rows[0] // side, rows[-1] // side + 1):
            nodes = self._grid.range(i)
            own, here = _within(rows, nodes.start, nodes.stop)
            below, left = _within(columns, 0, nodes.start)
            above, right = _within(columns, nodes.start, self._grid.nodes)
            if len(own) and len(above):
                found[..., here, right] = self._upper[(*apart, _slice(own), _slice(above))]
            if len(own) and len(below):
                mirrored = self._mirror[(*apart, _slice(below), _slice(own))]
                found[..., here, left] = np.swapaxes(mirrored, -1, -2)
        return found


def _range(key: Any, size: int) -> range:
    if isinstance(key, slice):
        return range(*key.indices(size))
    try:
        if isinstance(key, bool):  # which is a mask to NumPy
            raise TypeError
        number = operator.index(key)
    except TypeError:
        raise TypeError(
            f"a matrix in a store is read by whole numbers and slices; got {key!r}: read a slice "
            "first, and choose from that"
        ) from None
    if not -size <= number < size:
        raise IndexError(f"index {number} is out of bounds for an axis of size {size}")
    return range(number % size, number % size + 1)


def _forwards(entries: range) -> range:
    return entries if entries.step > 0 else entries[::-1]


def _slice(entries: range) -> slice:
    return slice(entries.start, entries.stop, entries.step)


def _within(entries: range, start: int, stop: int) -> tuple[range, slice]:
    """Those of some entries that lie in a range, and their places among all."""
    first = max(0, -(-(start - entries.start) // entries.step))
    last = max(first, min(len(entries), -(-(stop - entries.start) // entries.step)))
    return entries[first:last], slice(first, last)
