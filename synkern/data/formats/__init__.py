"""Readers of files, one module for each kind; chosen by the ending, checked by the first bytes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from synkern.data.errors import DataError
from synkern.data.found import Found
from synkern.data.options import ReadOptions

Reader = Callable[[Path, ReadOptions], list[Found]]

_KINDS = {
    "arrays": (".npy", ".npz"),
    "matlab": (".mat",),
    "hdf5": (".h5", ".hdf5", ".he5", ".hdf"),
    "chunked": (".zarr",),
    "netcdf": (".nc", ".nc4", ".cdf", ".netcdf"),
    "images": (".nii", ".hdr", ".img"),
    "recordings": (".fif", ".edf", ".bdf", ".gdf", ".vhdr", ".set", ".cnt", ".egi", ".mff", ".con"),
    "tables": (".csv", ".tsv", ".txt", ".dat", ".1d", ".parquet", ".pq", ".feather"),
}
_BY_ENDING = {ending: kind for kind, endings in _KINDS.items() for ending in endings}
_PACKED = (".gz",)
_FOLDERS = (".zarr", ".mff", ".parquet", ".pq")
"""Endings that folders may have: of several files that are one recording, or one table."""

_MAGIC = {
    b"\x93NUMPY": (".npy",),
    b"PK\x03\x04": (".npz", ".zarr"),
    b"\x89HDF\r\n\x1a\n": (
        ".h5",
        ".hdf5",
        ".he5",
        ".hdf",
        ".nc",
        ".nc4",
        ".netcdf",
        ".mat",
        ".set",
    ),
    b"MATLAB 5": (".mat", ".set"),
    b"MATLAB 7": (".mat", ".set"),
    b"CDF": (".nc", ".cdf", ".netcdf"),
    b"PAR1": (".parquet", ".pq"),
    b"ARROW1": (".feather",),
}
"""By first bytes of a file, the endings that it may have."""


def reader_of(path: Path) -> Reader:
    """The function that reads files of this kind.

    Raises:
        DataError: the ending is not known, the file is empty, or its first bytes are another's.
    """
    ending = ending_of(path)
    if ending not in _BY_ENDING:
        if path.is_dir():
            raise DataError(f"{path} is a folder; give the files in it, such as {path}/*.npy")
        raise DataError(
            f"{path}: endings that can be read are {' '.join(_BY_ENDING)}; {ending or 'none'} is "
            "not: rename the file after what it is, or convert it"
        )
    if path.is_dir() and ending not in _FOLDERS:
        raise DataError(f"{path} is a folder, and {ending} a file; give the files in it")
    if path.is_file():
        _check_start(path, ending)
    module = importlib.import_module(f"synkern.data.formats.{_BY_ENDING[ending]}")
    reader: Reader = module.read
    return reader


def ending_of(path: Path) -> str:
    """The ending of a file's name, in lower case, without that of a compression."""
    endings = [one.lower() for one in path.suffixes]
    if len(endings) > 1 and endings[-1] in _PACKED:
        return endings[-2]
    return endings[-1] if endings else ""


def _check_start(path: Path, ending: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not start:
        raise DataError(f"{path} is empty, 0 bytes")
    for magic, endings in _MAGIC.items():
        if start.startswith(magic) and ending not in endings:
            raise DataError(
                f"{path} is not what {ending} says: it begins as a {endings[0]} file does; rename "
                f"it to {path.stem}{endings[0]}"
            )
