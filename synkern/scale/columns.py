"""A series that is larger than memory, read some nodes at a time by whoever computes."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import incoming, native, to_numpy
from synkern._names import node_names, unnamed
from synkern.decomposition.masks import valid_samples
from synkern.decomposition.recorded import taken
from synkern.scale.errors import BlocksError, needed

STRIPE = 1 << 22
"""Values of nodes, in all trials, that the digest of a series takes at a time. Another number is
another digest."""

_COPIES = 6
"""Of what is read, as it is looked at and handed over."""


@dataclass(frozen=True)
class Columns:
    """Nodes of a series, by their numbers.

    Attributes:
        array: (trials, time, nodes) or (time, nodes): of NumPy or zarr; None where `file` has it.
        file: a `.npy` file, which every process maps for itself.
        moves: another process can read it from where it is.
        stamp: time of the last change of its files, in nanoseconds, as it was opened; None where it
            has none.
    """

    array: Any
    file: str | None = None
    moves: bool = False
    stamp: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the memory that a file is mapped to, here."""
        return {**vars(self), "array": None if self.file else self.array}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(trials, time, nodes)."""
        trials, time, nodes = (1, *self.array.shape)[-3:]
        return trials, time, nodes

    def read(self, nodes: slice, trials: slice = slice(None)) -> npt.NDArray[Any]:
        """(some trials, time, some nodes).

        Raises:
            OSError: the series is not there, or not any more.
        """
        if self.array is None:
            # Not before: a scheduler unpickles as well, and need not reach the file.
            vars(self)["array"] = np.load(str(self.file), mmap_mode="r")
        apart = self.array.ndim == 3
        values = self.array[trials, :, nodes] if apart else self.array[:, nodes]
        if type(self.array).__module__.startswith("zarr."):
            _require_there(self.array)
        if not isinstance(values, np.ndarray):  # of dask
            values = np.asarray(values)
        whole: npt.NDArray[Any] = values if values.ndim == 3 else values[None]
        return whole

    def require_unchanged(self, *sides: slice) -> None:
        """Check that nobody has written to the files of some nodes since the series was opened.

        Raises:
            BlocksError: somebody has.
            OSError: it is not there any more.
        """
        if self.stamp is None:
            return
        for file in [self.file] if self.file else self._chunk_files(sides):
            if _changed_at(file) > self.stamp:
                raise BlocksError(
                    f"the series {str(file)!r} was written to while blocks of it were computed; "
                    "those that are finished are of what it was: start again if its numbers are "
                    "the same, else with a new store"
                )

    def _chunk_files(self, sides: Sequence[slice]) -> Iterator[Path]:
        """The files of an array of zarr in a folder that hold some of its nodes.

        Chunks that are zeros have none: in place of one its folder, which changes when it is
        removed.
        """
        root = _folder(self.array)
        if root is None:
            return
        *others, (_, width) = zip(self.array.shape, self._chunks, strict=True)
        apart = [range(math.ceil(whole / size)) for whole, size in others]
        held = {k for s in sides for k in range(s.start // width, math.ceil(s.stop / width))}
        for place in itertools.product(*apart, held):
            file = root / self.array.metadata.encode_chunk_key(place)
            while file != root and not file.exists():
                file = file.parent
            yield file

    def amplified(self, side: int) -> bool:
        """Whether reading some nodes reads many more, as of a file whose chunks are wide."""
        chunks = self._chunks
        if chunks is None or isinstance(chunks[-1], tuple):
            return chunks is not None  # dask computes whatever it is asked for again
        return int(chunks[-1]) > 2 * side

    def trials_at_once(self, memory: int) -> int:
        """Trials that are read together: all, but of wide chunks as few as keep them in memory.

        Read by nodes, a chunk that is wide would be read for each part of them anew.
        """
        trials, time, nodes = self.shape
        if self.array.ndim == 2 or self._chunks is None:
            return trials
        first = self._chunks[0]
        of_chunk = max(first) if isinstance(first, tuple) else int(first)
        fit = int(memory // (_COPIES * self.array.dtype.itemsize * time * nodes))
        return min(trials, max(of_chunk, fit // of_chunk * of_chunk))

    @property
    def _chunks(self) -> Any:
        return getattr(self.array, "shards", None) or getattr(self.array, "chunks", None)


def _changed_at(file: str | Path) -> int:
    """When a file was written to, replaced, or removed from a folder; nobody can set that time."""
    return os.stat(file).st_ctime_ns


def _stamp_of(array: Any) -> int | None:
    """When the last of the files of an array of zarr changed; None where it has none."""
    root = _folder(array)
    if root is None:
        return None
    latest = _changed_at(root)
    for folder, folders, files in os.walk(root, followlinks=True):
        each = (os.path.join(folder, name) for name in folders + files)
        latest = max([latest, *map(_changed_at, each)])
    return latest


def _folder(array: Any) -> Path | None:
    """Where the files of an array of zarr are, on this machine."""
    store = array.store
    if not isinstance(store, needed("zarr.storage", "series").LocalStore):
        return None
    folder: Path = Path(store.root) / array.path
    return folder


def _require_there(array: Any) -> None:
    """Check that an array is where it was opened: zarr reads what is missing as zeros.

    Raises:
        FileNotFoundError: it is not.
    """
    zarr = needed("zarr", "series")
    zarr.open_array(
        store=array.store, path=array.path, mode="r", zarr_format=array.metadata.zarr_format
    )


class Given(NamedTuple):
    """A series as a call has it.

    Attributes:
        columns: of it.
        kind: of the estimator.
        mask: (trials, time) bool, or None.
        node_names: if there are any.
    """

    columns: Columns
    kind: str
    mask: npt.NDArray[np.bool_] | None
    node_names: tuple[str, ...] | None


def given(series: Any, kind: str | None, mask: Any, names: Sequence[Any] | None) -> Given:
    """Take in what a call was given, without reading it.

    Raises:
        ValueError: not of two or three dimensions; fewer than two nodes; a mask or names that do
            not fit; an address in place of a path.
        TypeError: not real numbers.
        FileNotFoundError: there is nothing at a path.
    """
    if isinstance(series, str) and "://" in series:
        raise ValueError(
            f"series = {series!r} is an address; open it, and give its array: "
            "zarr.open_array(address, mode='r')"
        )
    if isinstance(series, str | os.PathLike):
        columns = _of_path(Path(series).expanduser())
        return Given(columns, kind or "gaussian", _mask(mask, columns), _names(names, columns))
    found = taken(series, kind, names)
    named = unnamed(found.series, "series")
    array = named.array
    module = type(array).__module__.split(".")[0]
    if module == "zarr":
        array = _only(needed("zarr", "series"), array, "series", "series[NAME]")
    elif module != "dask":
        # Who is masked, or has missing values, is to be heard.
        host = native(array)[0] == "numpy"
        array = incoming(array, "numpy", argument="series").array if host else to_numpy(array)
    columns = _of_array(array) if module == "zarr" else Columns(array)
    _check(columns)
    whole = _mask(named.mask(mask), columns)
    return Given(columns, found.kind, whole, node_names(found.node_names, named, columns.shape[2]))


def _of_array(array: Any) -> Columns:
    """Of zarr."""
    return Columns(array, moves=not _in_memory(array), stamp=_stamp_of(array))


def _in_memory(array: Any) -> bool:
    return isinstance(array.store, needed("zarr.storage", "series").MemoryStore)


def _of_path(path: Path) -> Columns:
    if not path.exists():
        raise FileNotFoundError(f"series = {str(path)!r}: there is nothing at this path")
    if path.suffix == ".npy":
        file = str(path.resolve())
        stamp = _changed_at(file)
        columns = Columns(np.load(file, mmap_mode="r"), file=file, moves=True, stamp=stamp)
    else:
        zarr = needed("zarr", f"series = {str(path)!r}")
        try:
            opened = zarr.open(str(path.resolve()), mode="r")
        except (FileNotFoundError, ValueError, KeyError) as error:
            raise ValueError(
                f"series = {str(path)!r} is no .npy file, and no zarr array ({error}); name one"
            ) from error
        columns = _of_array(_only(zarr, opened, f"series = {str(path)!r}", f"{str(path)!r}/NAME"))
    _check(columns)
    return columns


def _only(zarr: Any, opened: Any, said: str, one: str) -> Any:
    """The array of a zarr store; of a group, the only one that can be a series."""
    if isinstance(opened, zarr.Array):
        return opened
    arrays = {name: one for name, one in opened.arrays() if one.ndim in (2, 3)}
    if len(arrays) != 1:
        raise ValueError(
            f"{said} is a group of {len(arrays)} arrays that could be a series "
            f"({', '.join(sorted(arrays)) or 'none'}); name one: {one}"
        )
    return next(iter(arrays.values()))


def _check(columns: Columns) -> None:
    array = columns.array
    if array.ndim not in (2, 3):
        raise ValueError(
            f"series must be (trials, time, nodes) or (time, nodes); got shape {array.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"series must hold real numbers; got dtype {array.dtype}")
    if any(isinstance(size, float) for size in array.shape):
        raise ValueError(
            f"series is an array of dask that does not know its shape yet, {array.shape}; call its "
            "compute_chunk_sizes() first"
        )
    trials, _, nodes = columns.shape
    if trials < 1 or nodes < 2:
        raise ValueError(
            f"series must hold at least 1 trial and 2 nodes; got shape {array.shape}, that is "
            f"{trials} trials and {nodes} nodes"
        )


def _mask(mask: Any, columns: Columns) -> npt.NDArray[np.bool_] | None:
    if mask is None:
        return None
    trials, time, _ = columns.shape
    # Its shape is all that is asked of the series.
    return valid_samples(mask, np.broadcast_to(np.float64(0), (trials, time, 1)))


def _names(names: Sequence[Any] | None, columns: Columns) -> tuple[str, ...] | None:
    if names is None:
        return None
    return node_names(names, unnamed(np.zeros((1, 1)), "series"), columns.shape[2])


def _parts(columns: Columns, memory: int) -> Iterator[tuple[slice, list[slice]]]:
    """Trials, and stripes of nodes, that are read at once: in turn they are the series."""
    trials, time, nodes = columns.shape
    width = max(1, STRIPE // (trials * time))
    stripes = [slice(start, min(start + width, nodes)) for start in range(0, nodes, width)]
    some = columns.trials_at_once(memory)
    fit = memory // (_COPIES * columns.array.dtype.itemsize * some * time)
    together = len(stripes) if fit >= nodes else max(1, int(fit // width))
    for start in range(0, len(stripes), together):
        for trial in range(0, trials, some):
            yield slice(trial, min(trial + some, trials)), stripes[start : start + together]


def read_through(
    columns: Columns,
    valid: npt.NDArray[np.bool_] | None,
    memory: int,
    each: Callable[[slice, slice, npt.NDArray[Any]], None] = lambda trials, nodes, values: None,
) -> str:
    """Look at all of a series once, as its chunks lie: its digest, which does not depend on these.

    Args:
        columns: of it.
        valid: (trials, time) samples that are looked at; None: all.
        memory: bytes for what is read.
        each: is handed trials, nodes and their values.

    Raises:
        ValueError: NaN or infinity at a valid sample, naming trial, time and node.
    """
    dtype = columns.array.dtype.newbyteorder("<")
    whole = hashlib.blake2b(f"{columns.shape}{dtype.str}".encode(), digest_size=16)
    digests: dict[int, Any] = {}  # by the first node of a stripe
    for some, stripes in _parts(columns, memory):
        nodes = slice(stripes[0].start, stripes[-1].stop)
        values = columns.read(nodes, some)
        _refuse_not_finite(values, None if valid is None else valid[some], some.start, nodes.start)
        each(some, nodes, values)
        for stripe in stripes:
            own = values[..., stripe.start - nodes.start : stripe.stop - nodes.start]
            data = np.ascontiguousarray(own, dtype).data.cast("B")
            digests.setdefault(stripe.start, hashlib.blake2b(digest_size=16)).update(data)
        if some.stop == columns.shape[0]:  # Stripes come with all of their trials, in order.
            for stripe in stripes:
                whole.update(digests.pop(stripe.start).digest())
    return whole.hexdigest()


def _refuse_not_finite(
    values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, trials: int, nodes: int
) -> None:
    """Of values from some trial and node on."""
    if values.dtype.kind != "f":
        return
    good = np.isfinite(values)
    if valid is not None:
        good |= ~valid[..., None]
    if not good.all():
        trial, step, node = (int(k) for k in np.argwhere(~good)[0])
        raise ValueError(
            f"series has values that are NaN or infinite, the first at trial {trials + trial}, "
            f"time {step}, node {nodes + node}: {float(values[trial, step, node])}; "
            f"{check.LEAVE_OUT}"
        )
