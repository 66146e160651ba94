"""Results for other libraries: tables of pandas, polars or Arrow, data sets of xarray."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from synkern._faces import MissingExtraError

FrameLibrary = Literal["pandas", "polars", "pyarrow"]
"""The libraries that make tables of results."""

FRAMES: tuple[FrameLibrary, ...] = get_args(FrameLibrary)

_BRINGS = {"polars": "polars"}  # the others come with the extra `data`


def imported(library: str, who: str) -> Any:
    """Import a library that a result is made for.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        what = _BRINGS.get(library, "'synkern[data]'")
        said = f"{who} needs {library}, which is not installed: pip install {what}"
        raise MissingExtraError(said, name=library) from error


def frame(columns: Mapping[str, Any], library: FrameLibrary, who: str) -> Any:
    """Make a table of columns of one length.

    Raises:
        ValueError: an unknown library.
        MissingExtraError: it is not installed.
    """
    if library not in FRAMES:
        known = ", ".join(map(repr, FRAMES))
        raise ValueError(f"library must be one of {known}; got {library!r}")
    module = imported(library, who)
    make = module.table if library == "pyarrow" else module.DataFrame
    # Lists where there is text, which Arrow does not take from NumPy's arrays of objects.
    return make({n: c.tolist() if c.dtype.kind in "OU" else c for n, c in columns.items()})


def labels(names: tuple[str, ...] | None, count: int) -> Any:
    """(count,) names, or numbers where there are none."""
    return np.arange(count) if names is None else np.array(names, dtype=object)
