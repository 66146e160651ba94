"""HDF5: an array by its path; axes by the labels and scales of its dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.errors import DataError, needed
from synkern.data.formats.labelled import Label
from synkern.data.formats.several import Held, found_in
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read the arrays that `options.variable` names, or the only one."""
    h5py = needed("h5py", "data", f"reading {path}")
    try:
        with h5py.File(path, "r") as file:
            arrays: dict[str, Any] = {}

            def take(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and item.shape is not None:
                    arrays[name] = item

            file.visititems(take)
            _refuse_frames(path, file)

            def labels(name: str) -> Mapping[str, Label]:
                return _labels(arrays[name])

            held = Held(
                path=path,
                shapes={
                    name: (one.shape, one.dtype.kind)
                    for name, one in arrays.items()
                    if not one.is_scale
                },
                get=lambda name: _value(arrays[name]),
                dims={name: _dims(one) for name, one in arrays.items() if all(_dims(one))},
                labels=labels,
            )
            return found_in(held, options)
    except DataError:
        raise
    except Exception as error:  # h5py raises what its parts do: OSError, RuntimeError, KeyError
        raise DataError(f"{path} cannot be read, or is cut off: {error}") from None


def _refuse_frames(path: Path, file: Any) -> None:
    for name, group in file.items():
        if group is not None and "pandas_type" in group.attrs:  # None: a link to nothing
            raise DataError(
                f"{path}: {name!r} is a frame that pandas wrote by PyTables; save it as Parquet, "
                f"pandas.read_hdf({str(path)!r}).to_parquet(...)"
            )


def _value(array: Any) -> Any:
    value = array[()]
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return array.asstr()[()]
    return value


def _dims(array: Any) -> tuple[str, ...]:
    """Names of the axes: their labels, or those of their scales; "" where there is none."""
    names = []
    for dim in array.dims:
        scale = dim[0].name.rpartition("/")[2] if len(dim) else ""
        names.append(dim.label or scale)
    return tuple(names)


def _labels(array: Any) -> dict[str, Label]:
    found = {}
    for dim, name in zip(array.dims, _dims(array), strict=True):
        for place, scale in enumerate(dim.values()):
            called = name if place == 0 else scale.name.rpartition("/")[2]
            units = scale.attrs.get("units")
            units = units.decode() if isinstance(units, bytes) else units
            if scale.ndim == 1:
                found[called] = Label(dims=(name,), values=np.asarray(_value(scale)), units=units)
    return found
