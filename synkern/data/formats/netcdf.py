"""NetCDF, through xarray: axes, names and times as its coordinates have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synkern.data.errors import DataError, needed
from synkern.data.formats.labelled import Label
from synkern.data.formats.several import Held, found_in
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read the variables that `options.variable` names, or the only one."""
    xarray = needed("xarray", "data", f"reading {path}")
    try:
        # Times stay numbers with a unit: what they count from does not matter.
        with xarray.open_dataset(path, decode_times=False) as file:

            def labels(name: str) -> Mapping[str, Label]:
                return {
                    str(key): Label(
                        dims=tuple(map(str, one.dims)),
                        values=np.asarray(one.values),
                        units=one.attrs.get("units"),
                    )
                    for key, one in file[name].coords.items()
                }

            held = Held(
                path=path,
                shapes={str(k): (one.shape, one.dtype.kind) for k, one in file.data_vars.items()},
                get=lambda name: np.asarray(file[name].values),
                dims={str(k): tuple(map(str, one.dims)) for k, one in file.data_vars.items()},
                labels=labels,
            )
            return found_in(held, options)
    except DataError:
        raise
    except Exception as error:  # each of xarray's engines raises what it does
        raise DataError(f"{path} cannot be read as NetCDF: {error}") from None
