"""NumPy's files: `.npy`, which stays mapped, and `.npz`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.errors import DataError
from synkern.data.formats.several import Held, found_in
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read an array, or the arrays of a file of several."""
    if path.suffix.lower() == ".npz":
        return _several(path, options)
    if options.variable is not None:
        raise DataError(f"{path} holds one array, without a name; leave out variable=")
    with path.open("rb") as file:
        start = file.read(6)
    if start[:2] == b"\x1f\x8b":
        raise DataError(f"{path} cannot be read: it is compressed by gzip; unpack it first")
    if start != b"\x93NUMPY":
        raise DataError(
            f"{path} cannot be read: it does not begin as a .npy file does; rename it after what "
            "it is"
        )
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of a header that is none NumPy raises whatever its parts do
        raise DataError(f"{path} cannot be read: {_words(error)}") from None
    # A plain array over the same mapped memory.
    return [Found(file=str(path), values=np.asarray(values))]


def _several(path: Path, options: ReadOptions) -> list[Found]:
    try:
        # Opened here: NumPy leaves open what turns out to be no archive.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            shapes = {name: _header(file, name) for name in file.files}

            def get(name: str) -> Any:
                try:
                    return file[name]
                except Exception as error:
                    raise DataError(f"{path}, array {name!r}: {_words(error)}") from None

            return found_in(Held(path=path, shapes=shapes, get=get), options)
    except DataError:
        raise
    except Exception as error:  # likewise, and zipfile and zlib theirs
        raise DataError(f"{path} cannot be read: {_words(error)}") from None


def _header(file: Any, name: str) -> tuple[tuple[int, ...], str]:
    """Shape and kind of an array, without reading it."""
    inside = name if name in file.zip.namelist() else f"{name}.npy"
    with file.zip.open(inside) as member:
        version = np.lib.format.read_magic(member)
        read_header: Any = getattr(np.lib.format, f"read_array_header_{version[0]}_0", None)
        if read_header is None:
            read_header = np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
    return shape, dtype.kind


def _words(error: Exception) -> str:
    said = str(error)
    if "Header info length" in said:
        return f"its header is longer than one of numbers is ({said.partition('.')[0]})"
    if "allow_pickle" in said or "pickled" in said or "Python objects" in said:
        return (
            "it holds Python objects, which could run code when they are loaded; save an array of "
            "numbers, all trials of one length or one file each"
        )
    if "mmap length" in said or "reshape" in said or "EOF" in said or "not a zip" in said.lower():
        return f"it seems to be cut off ({said}); copy it again"
    return said or type(error).__name__
