"""Points of a curve in a file, each appended as it is done, so that a run can be taken up again.

The file begins with a line that names the format and one of JSON that says what is measured. Then
come records of one size: the number of the set of nodes, the values, and a checksum of both. A
process that is killed while it writes leaves part of a record at the end, which is cut off when the
file is opened again; everything before is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_FIRST = b"synkern: points of an ablation curve, format 1\n"

_ENDS = struct.Struct("<I")
"""How the number of a set and the checksum are written."""


class PointsFile:
    """Values of sets of nodes, by number of the set; a context manager that keeps a file open.

    Attributes:
        found: what is known, by number of the set: an array of the dtype of one record.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, call: Mapping[str, Any], record: np.dtype[Any]
    ) -> None:
        """Name a file, or None to keep nothing.

        Args:
            path: of the file.
            call: what is measured, of texts, numbers and lists: a file of anything else is refused.
            record: the dtype of the values of one set, without objects.
        """
        self.found: dict[int, NDArray[Any]] = {}
        self._path = None if path is None else Path(path)
        self._call = json.loads(json.dumps(dict(call)))
        self._record = record
        self._size = record.itemsize + 2 * _ENDS.size
        self._file: BinaryIO | None = None
        self._end = 0

    def __enter__(self) -> PointsFile:
        """Open the file and read what is in it; make it if there is none.

        Raises:
            ValueError: it is of another call, or no such file.
            OSError: it cannot be read or written.
        """
        if self._path is None:
            return self
        if not self._path.exists():
            self._create(self._path)
        self._file = self._path.open("r+b")
        try:
            self._read(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def add(self, number: int, values: NDArray[Any]) -> None:
        """Keep the values of one set; when this returns they are on the disk.

        Raises:
            OSError: they cannot be written, or something else has written to the file.
        """
        self.found[number] = values
        if self._file is None:
            return
        if self._file.seek(0, os.SEEK_END) != self._end:
            raise OSError(
                f"{str(self._path)!r} was written to by another process meanwhile; let one process "
                "alone measure a curve"
            )
        body = _ENDS.pack(number) + values.tobytes()
        self._file.write(body + _ENDS.pack(zlib.crc32(body)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._end += self._size

    def _create(self, path: Path) -> None:
        """Make a file without points, at once: nobody sees half of its beginning."""
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_FIRST + json.dumps(self._call).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _read(self, file: BinaryIO) -> None:
        said = repr(str(self._path))
        if file.readline(len(_FIRST)) != _FIRST:
            raise ValueError(
                f"file: {said} is no file of the points of an ablation curve of this version; name "
                "another one"
            )
        try:
            call = json.loads(file.readline())
        except ValueError as error:
            raise ValueError(f"file: {said} is damaged ({error}); name another one") from error
        _refuse_another(said, call, self._call)
        self._end = file.tell()
        while len(read := file.read(self._size)) == self._size:
            body, (checksum,) = read[: -_ENDS.size], _ENDS.unpack(read[-_ENDS.size :])
            if zlib.crc32(body) != checksum:
                break
            values = np.frombuffer(body[_ENDS.size :], self._record)[0]
            self.found[_ENDS.unpack(body[: _ENDS.size])[0]] = values
            self._end += self._size
        # What a process that was killed has left of its last point.
        file.truncate(self._end)


def _refuse_another(said: str, kept: Any, asked: dict[str, Any]) -> None:
    """Refuse a file of another call.

    Raises:
        ValueError: it is; the message names what differs.
    """
    if kept == asked:
        return
    own = kept if isinstance(kept, dict) else {}
    differ = [
        f"{name}: {_short(own.get(name))} there, {_short(asked.get(name))} here"
        for name in dict.fromkeys([*own, *asked])
        if own.get(name) != asked.get(name)
    ]
    raise ValueError(
        f"file: {said} holds points of another curve ({'; '.join(differ[:4])}"
        f"{'; ...' if len(differ) > 4 else ''}); ask for the same, or name another file"
    )


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def digest(parts: Iterable[bytes | memoryview]) -> str:
    """The beginning of the SHA-256 of bytes, 16 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]
