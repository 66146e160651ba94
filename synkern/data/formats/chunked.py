"""zarr, versions 2 and 3: an array or a group; axes by the names of dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.data.errors import DataError, needed
from synkern.data.formats.labelled import Label
from synkern.data.formats.several import Held, found_in
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read the arrays that `options.variable` names, or the only one."""
    zarr = needed("zarr", "data", f"reading {path}")
    store: Any = str(path)
    notes: list[str] = []
    try:
        if path.is_file():
            store = zarr.storage.ZipStore(path, mode="r")
        opened = zarr.open(store, mode="r")
        arrays = _arrays(zarr, opened)
        names = {name: _dims(one) for name, one in arrays.items()}

        def labels(name: str) -> Mapping[str, Label]:
            return _labels(arrays, names, name)

        held = Held(
            path=path,
            shapes={
                name: (one.shape, one.dtype.kind)
                for name, one in arrays.items()
                if names[name] != (name.rpartition("/")[2],)
            },
            get=lambda name: _values(name, arrays[name], notes),
            dims={name: dims for name, dims in names.items() if dims},
            labels=labels,
            notes=notes,
        )
        return found_in(held, options)
    except DataError:
        raise
    except Exception as error:  # of damaged metadata zarr raises whatever its parts do
        raise DataError(f"{path} cannot be read as zarr: {error}") from None


def _arrays(zarr: Any, opened: Any) -> dict[str, Any]:
    """By path, the arrays of a group and of those in it; of an array alone, itself."""
    if isinstance(opened, zarr.Array):
        return {"array": opened}
    return {
        name: one for name, one in opened.members(max_depth=None) if isinstance(one, zarr.Array)
    }


def _values(name: str, array: Any, notes: list[str]) -> npt.NDArray[Any]:
    """All values; what zarr makes up for chunks that are not there is noted."""
    absent = array.nchunks - array.nchunks_initialized
    if absent:
        notes.append(
            f"{absent} of {array.nchunks} chunks of array {name!r} are not in the folder and are "
            f"read as {array.fill_value}: was it copied whole?"
        )
    return np.asarray(array[...])


def _dims(array: Any) -> tuple[str, ...]:
    """Names of the dimensions: those of version 3, or what xarray writes into version 2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return tuple(map(str, names)) if names and all(names) else ()


def _labels(
    arrays: Mapping[str, Any], names: Mapping[str, tuple[str, ...]], name: str
) -> dict[str, Label]:
    """The arrays of one axis beside an array, along its axes."""
    folder = name[: len(name) - len(name.rpartition("/")[2])]
    found = {}
    for other, one in arrays.items():
        called = other.rpartition("/")[2]
        if other == folder + called and len(names[other]) == 1 and names[other][0] in names[name]:
            found[called] = Label(
                dims=names[other], values=np.asarray(one[...]), units=one.attrs.get("units")
            )
    return found
