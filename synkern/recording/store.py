"""A file that takes the series of a recording text by text, and holds them when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from synkern._memory import require
from synkern.recording.recording import RecordingError, Texts

# Room for the header of the file, which is written last: a file without one is no .npy file, so
# that what an interruption leaves cannot be taken for a recording.
_HEADER = 128
_BYTES = 4  # of a float32


class Store:
    """Series (trials, steps, nodes) float32 on their way to a .npy file.

    They go to a file beside it, which gets its header and its name when all are there, so that
    `path` exists only if it is complete. Used as a context that ends without `finish`, it leaves
    nothing behind; a process that is killed leaves a file `.NAME.….part`, which nothing can read.

    Args:
        path: of the .npy file.

    Raises:
        FileExistsError: there is something at `path`.
        FileNotFoundError, PermissionError: its folder is not there, or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Begin the file."""
        self.path = Path(path).expanduser()
        if self.path.suffix != ".npy":
            raise ValueError(
                f"store: {os.fspath(path)!r} does not end in .npy, which the file is; add it"
            )
        self._refuse_existing()
        handle, name = tempfile.mkstemp(".part", f".{self.path.name}.", self.path.parent)
        self._part = Path(name)
        self._file = os.fdopen(handle, "r+b", buffering=0)
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
        self._file.close()
        self._part.unlink(missing_ok=True)

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
        self._file.seek(self._end)
        try:
            for trial in series:
                self._write(trial.to("cpu", torch.float32).contiguous().numpy().data.cast("B"))
                self._trials += 1
        except BaseException:
            self.cut(before)
            raise

    def keep(self, texts: Texts) -> Texts:
        """Write the series of texts; the same texts without them."""
        self.add(texts.series)
        return Texts(
            texts.series.new_empty((*texts.series.shape[:2], 0)), texts.lengths, texts.routed
        )

    def cut(self, trials: int) -> None:
        """Drop all but the first trials."""
        self._trials = min(trials, self._trials)
        if not self._trials:
            self._shape = None
        self._file.truncate(self._end)

    def finish(self) -> None:
        """Complete the file and give it its name.

        Raises:
            FileExistsError: something came to be at its path meanwhile.
            OSError: the disk is full, or fails.
        """
        assert self._shape is not None
        shape = (self._trials, *self._shape)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        self._file.seek(0)
        self._write(_padded(header))
        os.fsync(self._file.fileno())
        self._file.close()
        self._refuse_existing()
        self._part.replace(self.path)

    def mapped(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The series of the finished file, read when they are used; what is written stays here."""
        found: np.ndarray[Any, np.dtype[np.float32]] = np.load(self.path, mmap_mode="c")
        return found

    def whole(self, runs: list[Texts]) -> list[Texts]:
        """The finished recording of texts that were kept, as one."""
        self.finish()
        routed = [texts.routed for texts in runs if texts.routed is not None]
        return [
            Texts(
                torch.from_numpy(self.mapped()),
                torch.cat([texts.lengths for texts in runs]),
                torch.cat(routed) if len(routed) == len(runs) else None,
            )
        ]

    @property
    def _end(self) -> int:
        steps, nodes = self._shape or (0, 0)
        return _HEADER + self._trials * steps * nodes * _BYTES

    def _refuse_existing(self) -> None:
        if self.path.exists() or self.path.is_symlink():
            raise FileExistsError(
                errno.EEXIST,
                "store: there is something at this path already; remove it, or name another",
                str(self.path),
            )

    def _write(self, content: Any) -> None:
        left = memoryview(content)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise OSError(
                error.errno,
                f"store: the disk is full after {self._trials} texts, {self._end / 1e9:,.1f} GB; "
                "make room, or name a file on another disk",
                str(self.path),
            ) from error


def _padded(header: dict[str, Any]) -> bytes:
    """The header of a .npy file (version 1.0), as long as the room that was left for it."""
    said = repr(header).encode("latin1")
    start = np.lib.format.magic(1, 0) + (_HEADER - 10).to_bytes(2, "little")
    return start + said.ljust(_HEADER - 11) + b"\n"


def opened(stack: contextlib.ExitStack, path: str | os.PathLike[str] | None) -> Store | None:
    """A store for the time of a stack of contexts; None without a path."""
    return None if path is None else stack.enter_context(Store(path))


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
