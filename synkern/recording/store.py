"""Files that take the series of a recording text by text, and hold them when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synkern._memory import require
from synkern.recording.recording import RecordingError, Texts
from synkern.recording.stored import Stored, zarr_for

# Room for the header of a .npy file, which is written last: a file without one is no .npy file, so
# that what an interruption leaves cannot be taken for a recording.
_HEADER = 128
_BYTES = 4  # of a float32

# A chunk of zarr is all steps of some nodes of one text. `phiid_blocks` copies a series whose
# chunks are wider than two sides of its blocks. Its memory makes sides short where texts are long,
# as the bytes of a chunk make chunks narrow: its usual 1e9 bytes are enough for 60 texts.
_CHUNK_BYTES = 1 << 20
_CHUNK_NODES = 1024
_TILE = 64  # Sides are multiples of it.

_SYNCED = 32
"""Files that are forced onto the disk at a time."""


class Store(ABC):
    """Series (trials, steps, nodes) float32 on their way to a file, or a folder.

    They go to a part beside it, which gets its name when all are there, so that `path` exists only
    if it is complete. Used as a context that ends without `finish`, it leaves nothing behind; a
    process that is killed leaves `.NAME.….part`, which nothing can read.

    Args:
        path: of the file.

    Raises:
        FileExistsError: there is something at `path`.
        FileNotFoundError, PermissionError: its folder is not there, or cannot be written to.
        MissingExtraError: the package that it needs is not installed.
    """

    def __init__(self, path: Path) -> None:
        """Begin the file."""
        self.path = path
        self._refuse_existing()
        self._part = self._begin()
        self._shape: tuple[int, int] | None = None
        self._trials = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove what is not complete."""
        self._discard()

    def add(self, series: Tensor) -> None:
        """Write the series of further trials, (trials, steps, nodes) float32.

        Raises:
            RecordingError: they have another number of steps than those before.
            OSError: the disk is full, or fails.
        """
        steps, nodes = series.shape[1:]
        if self._shape not in (None, (steps, nodes)):
            assert self._shape is not None
            raise RecordingError(
                f"store: texts of {self._shape[0]} and of {steps} steps do not form one array; "
                "pass max_new_tokens=T and min_new_tokens=T to every generate, or use one "
                "synkern.record and one file for each"
            )
        before, self._shape = self._trials, (steps, nodes)
        try:
            with self._naming_a_full_disk():
                for trial in series:
                    self._put(trial.to("cpu", torch.float32).contiguous().numpy())
                    self._trials += 1
        except BaseException:
            self.cut(before)
            raise

    def keep(self, series: Tensor, lengths: Tensor, routed: Tensor | None) -> Texts:
        """Write the series of texts; the texts without them."""
        self.add(series)
        return Texts(series.new_empty((*series.shape[:2], 0)), lengths, routed)

    def cut(self, trials: int) -> None:
        """Drop all but the first trials."""
        self._trials = min(trials, self._trials)
        if not self._trials:
            self._shape = None
        self._drop()

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            FileExistsError: something came to be at its path meanwhile.
            OSError: the disk is full, or fails.
        """
        assert self._shape is not None
        with self._naming_a_full_disk():
            self._complete((self._trials, *self._shape))
        self._refuse_existing()
        self._part.replace(self.path)

    def whole(self, runs: list[Texts]) -> list[Texts]:
        """The finished recording of texts that were kept, as one."""
        self.finish()
        found = self.series()
        routed = [texts.routed for texts in runs if texts.routed is not None]
        return [
            Texts(
                found if isinstance(found, Stored) else torch.from_numpy(found),
                torch.cat([texts.lengths for texts in runs]),
                torch.cat(routed) if len(routed) == len(runs) else None,
            )
        ]

    @abstractmethod
    def series(self) -> NDArray[np.float32] | Stored:
        """The series of the finished file, of which nothing is read yet."""

    @abstractmethod
    def _begin(self) -> Path:
        """Make the part."""

    @abstractmethod
    def _put(self, values: NDArray[np.float32]) -> None:
        """Write the next trial, (steps, nodes)."""

    @abstractmethod
    def _drop(self) -> None:
        """Remove what was written of trials that do not count, or not any more."""

    @abstractmethod
    def _complete(self, shape: tuple[int, int, int]) -> None:
        """Write what makes the part an array of this shape, down to the disk, and close it."""

    @abstractmethod
    def _discard(self) -> None:
        """Close the part, and remove it where it has not got its name."""

    @property
    def _bytes(self) -> int:
        steps, nodes = self._shape or (0, 0)
        return self._trials * steps * nodes * _BYTES

    def _refuse_existing(self) -> None:
        if self.path.exists() or self.path.is_symlink():
            raise FileExistsError(
                errno.EEXIST,
                "store: there is something at this path already; remove it, or name another",
                str(self.path),
            )

    def _write(self, file: Any, content: Any) -> None:
        """Write all bytes of what has them in one piece to a file without a buffer."""
        left = memoryview(content).cast("B")
        while left:
            left = left[file.write(left) :]

    @contextlib.contextmanager
    def _naming_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"store: the disk is full after {self._trials} texts, {self._bytes / 1e9:,.1f} GB; "
                "make room, or name a file on another disk",
                str(self.path),
            ) from error


class NpyStore(Store):
    """A .npy file, which is mapped to memory when it is complete."""

    def series(self) -> NDArray[np.float32]:
        """The series of the finished file, read when they are used; what is written stays here."""
        found: NDArray[np.float32] = np.load(self.path, mmap_mode="c")
        return found

    def _begin(self) -> Path:
        handle, name = tempfile.mkstemp(".part", f".{self.path.name}.", self.path.parent)
        self._file = os.fdopen(handle, "r+b", buffering=0)
        return Path(name)

    def _put(self, values: NDArray[np.float32]) -> None:
        self._file.seek(self._end)
        self._write(self._file, values)

    def _drop(self) -> None:
        self._file.truncate(self._end)

    def _complete(self, shape: tuple[int, int, int]) -> None:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        self._file.seek(0)
        self._write(self._file, _padded(header))
        os.fsync(self._file.fileno())
        self._file.close()

    def _discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    @property
    def _end(self) -> int:
        return _HEADER + self._bytes


def _padded(header: dict[str, Any]) -> bytes:
    """The header of a .npy file (version 1.0), as long as the room that was left for it."""
    said = repr(header).encode("latin1")
    start = np.lib.format.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little")
    return start + said.ljust(_HEADER - 11) + b"\n"


class ZarrStore(Store):
    """A folder that is an array of zarr (format 3), without compression: they gain nothing by it.

    Chunks are bare numbers, so that they are written here: what zarr has begun to write goes on in
    a thread of its own after an interruption. What makes an array of them comes from zarr, last.
    """

    def series(self) -> Stored:
        """The series of the finished array."""
        assert self._shape is not None
        return Stored(self.path.resolve(), (self._trials, *self._shape))

    def _begin(self) -> Path:
        zarr_for(self.path)  # Else a text would have been written before its absence is said.
        return Path(tempfile.mkdtemp(".part", f".{self.path.name}.", self.path.parent))

    def _put(self, values: NDArray[np.float32]) -> None:
        steps, nodes = values.shape
        width = chunk_nodes(steps, nodes)
        folder = self._folder(self._trials)
        (folder / "0").mkdir(parents=True)
        for number, start in enumerate(range(0, nodes, width)):
            some = values[:, start : start + width]
            # The last is stored as wide as all are.
            chunk = np.zeros((steps, width), np.float32)
            chunk[:, : some.shape[1]] = some
            with (folder / "0" / str(number)).open("xb", buffering=0) as file:
                self._write(file, chunk)

    def _drop(self) -> None:
        trial = self._trials
        while (folder := self._folder(trial)).exists():
            shutil.rmtree(folder)
            trial += 1

    def _complete(self, shape: tuple[int, int, int]) -> None:
        zarr = zarr_for(self.path)
        zarr.create_array(
            zarr.storage.LocalStore(self._part),
            shape=shape,
            chunks=(1, shape[1], chunk_nodes(*shape[1:])),
            dtype="float32",
            filters=None,
            compressors=None,
            chunk_key_encoding={"name": "default", "separator": "/"},
            # A chunk that is lost does not pass for activity.
            fill_value=np.nan,
            dimension_names=("trial", "time", "node"),
            zarr_format=3,
        )
        # Many at a time: a disk takes most of them in one go.
        with ThreadPoolExecutor(_SYNCED) as threads:
            for _ in threads.map(_synced, self._part.rglob("*")):
                pass

    def _discard(self) -> None:
        if self._part.exists():
            shutil.rmtree(self._part)

    def _folder(self, trial: int) -> Path:
        return self._part / "c" / str(trial)


def _synced(path: Path) -> None:
    """Have a file on the disk; of a folder nothing is asked."""
    if path.is_file():
        with path.open("r+b") as file:
            os.fsync(file.fileno())


def chunk_nodes(steps: int, nodes: int) -> int:
    """Nodes of a chunk."""
    most = max(1, min(_CHUNK_NODES, _CHUNK_BYTES // (_BYTES * steps)))
    if nodes <= most or most < _TILE:
        return min(most, nodes)
    chunks = -(-nodes // (most - most % _TILE))
    return -(-nodes // chunks // _TILE) * _TILE  # of about one size, as the last is filled up


_KINDS: dict[str, type[Store]] = {".npy": NpyStore, ".zarr": ZarrStore}


def store_at(path: str | os.PathLike[str]) -> Store:
    """Begin the store that the end of a path names.

    Raises:
        ValueError: it names none.
        OSError, MissingExtraError: as `Store`.
    """
    found = Path(path).expanduser()
    if found.suffix not in _KINDS:
        raise ValueError(
            f"store: {os.fspath(path)!r} ends neither in .npy nor in .zarr, which say what it "
            "becomes; add one of them"
        )
    return _KINDS[found.suffix](found)


def opened(stack: contextlib.ExitStack, path: str | os.PathLike[str] | None) -> Store | None:
    """A store for the time of a stack of contexts; None without a path."""
    return None if path is None else stack.enter_context(store_at(path))


def refuse_too_large(needed: int, values: Tensor, nodes: int) -> None:
    """Check that there is room for series before they are formed.

    Args:
        needed: bytes of them, and of what has to be beside them meanwhile.
        values: on the device that will hold them.
        nodes: how many are recorded.

    Raises:
        MemoryError: less is free.
    """
    require(
        needed,
        values,
        f"the series of {nodes:,} nodes",
        "store='PATH.npy', which has them in a file, smaller batches, or fewer texts or nodes",
    )
