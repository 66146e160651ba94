"""MATLAB's files: up to version 7 through scipy, and 7.3, which are HDF5, through h5py.

Fields of structs have dots in their names. A cell array of matrices holds trials.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.errors import DataError, needed
from synkern.data.formats.several import CELLS, Held, found_in
from synkern.data.found import Found
from synkern.data.options import ReadOptions

_DEEP = 4
"""Structs inside structs up to here are looked into."""


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read the arrays that `options.variable` names, or the only one."""
    with path.open("rb") as file:
        start = file.read(520)
    newer = start.startswith(b"MATLAB 7.3") or b"\x89HDF\r\n\x1a\n" in (start[:8], start[512:520])
    values = _newer(path) if newer else _older(path)
    dims = _of_fieldtrip(values)
    shapes = {}
    for name, value in values.items():
        shape = (len(value),) if isinstance(value, list) else np.shape(value)
        shapes[name] = (shape, CELLS if isinstance(value, list) else np.asarray(value).dtype.kind)
    return found_in(Held(path=path, shapes=shapes, get=values.__getitem__, dims=dims), options)


def _of_fieldtrip(values: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Add names and step under their names here where a struct is one of FieldTrip's raw data.

    Returns:
        What the axes of its trials are.
    """
    dims: dict[str, tuple[str, ...]] = {}
    for name in [one for one in values if one.endswith(".trial")]:
        struct = name.removesuffix("trial")
        label, rate = values.get(f"{struct}label"), values.get(f"{struct}fsample")
        if isinstance(values[name], list) and label is not None:
            dims[name] = ("channel", "time")
            values[f"{struct}node_names"] = label
            if rate is not None and np.size(rate) == 1 and float(np.ravel(rate)[0]) > 0:
                values[f"{struct}step"] = np.array(1 / float(np.ravel(rate)[0]))
            # Their times, which the step says too, would look like another series.
            values.pop(f"{struct}time", None)
    return dims


def _older(path: Path) -> dict[str, Any]:
    io = needed("scipy.io", "data", f"reading {path}")
    try:
        held = io.loadmat(path, struct_as_record=True, chars_as_strings=True)
    except NotImplementedError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # scipy raises what its parts do: ValueError, TypeError, zlib.error
        raise DataError(f"{path} is no MATLAB file, or is cut off: {error}") from None
    values: dict[str, Any] = {}
    for name, value in held.items():
        if not name.startswith("__"):
            _walk(name, value, values, path, 0)
    return values


def _walk(name: str, value: Any, into: dict[str, Any], path: Path, deep: int) -> None:
    """Put a variable of an older file, or the fields of a struct, into what was read."""
    if hasattr(value, "toarray"):  # sparse
        into[name] = value.toarray()
        return
    if not isinstance(value, np.ndarray):
        return
    if value.dtype.names:
        if value.size == 1 and deep < _DEEP:
            for part in value.dtype.names:
                _walk(f"{name}.{part}", value.flat[0][part], into, path, deep + 1)
        return
    if value.dtype.kind == "O":
        cells = [_bare(cell) for cell in value.ravel(order="F")]
        if cells and all(isinstance(cell, str) for cell in cells):
            into[name] = np.array(cells)
        elif cells and all(isinstance(cell, np.ndarray) for cell in cells):
            into[name] = cells
        return
    into[name] = np.array([text.strip() for text in value.ravel()]) if _is_text(value) else value


def _bare(cell: Any) -> Any:
    """A cell's text, or its matrix of numbers; None of anything else."""
    if isinstance(cell, np.ndarray) and _is_text(cell):
        return str(cell.ravel()[0]).strip() if cell.size else ""
    return cell if isinstance(cell, np.ndarray) and cell.dtype.kind in "biufc" else None


def _is_text(value: Any) -> bool:
    return value.dtype.kind in "US"


def _newer(path: Path) -> dict[str, Any]:
    h5py = needed("h5py", "data", f"reading {path}")
    values: dict[str, Any] = {}
    try:
        with h5py.File(path, "r") as file:
            for name, item in file.items():
                if not name.startswith("#"):
                    _walk_newer(name, item, values, file, h5py, 0)
    except OSError as error:
        raise DataError(f"{path} is no MATLAB file, or is cut off: {error}") from None
    return values


def _walk_newer(
    name: str, item: Any, into: dict[str, Any], file: Any, h5py: Any, deep: int
) -> None:
    """Put a variable of a 7.3 file, or the fields of a struct, into what was read."""
    if isinstance(item, h5py.Group):
        if "MATLAB_sparse" in item.attrs:
            return
        for part, inside in item.items() if deep < _DEEP else ():
            _walk_newer(f"{name}.{part}", inside, into, file, h5py, deep + 1)
        return
    if item.attrs.get("MATLAB_empty", 0):
        return
    if item.dtype == h5py.ref_dtype:
        cells = [_matrix(file[one], h5py) for one in item[()].T.ravel(order="F")]
        if cells and all(isinstance(cell, str) for cell in cells):
            into[name] = np.array(cells)
        elif cells and all(isinstance(cell, np.ndarray) for cell in cells):
            into[name] = cells
        return
    value = _matrix(item, h5py)
    if value is not None:
        into[name] = np.array([value]) if isinstance(value, str) else value


def _matrix(item: Any, h5py: Any) -> Any:
    """A text, or a matrix with its axes as MATLAB has them: HDF5 has them the other way round."""
    if not isinstance(item, h5py.Dataset) or item.dtype == h5py.ref_dtype:
        return None
    kind = item.attrs.get("MATLAB_class", b"double")
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    if kind == "char":
        return "".join(map(chr, item[()].ravel(order="F"))) if item.ndim == 2 else ""
    value = item[()]
    if value.dtype.names == ("real", "imag"):
        value = value["real"] + 1j * value["imag"]
    return value.T.astype(bool) if kind == "logical" else value.T
