"""Files that hold several arrays, each with a name: which are the series, and what goes with them.

Arrays that are called as the fields of `Dataset` are taken for these: `node_names`, `trial_names`,
`subjects`, `groups`, `coordinates`, `step` and `mask`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.checking import some
from synkern.data.errors import DataError
from synkern.data.found import Found
from synkern.data.options import ReadOptions

BESIDE = ("node_names", "trial_names", "subjects", "groups", "coordinates", "step", "mask")

_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Held:
    """The arrays of a file.

    Attributes:
        path: the file.
        shapes: by name, the shape of each array and the kind of its dtype.
        get: reads one.
        axes: by name, what its axes are, where the file says so.
    """

    path: Path
    shapes: Mapping[str, tuple[tuple[int, ...], str]]
    get: Callable[[str], Any]
    axes: Mapping[str, tuple[str, ...]] | None = None


def found_in(held: Held, options: ReadOptions) -> list[Found]:
    """Read the series of a file, and what goes with them.

    Raises:
        DataError: there is none, there are several and `variable` chooses none, or it is not there.
    """
    names = _chosen(held, options)
    beside = {name: held.get(name) for name in BESIDE if name in held.shapes}
    found = []
    for name in names:
        one = Found(file=str(held.path), values=np.asarray(held.get(name)), variable=name)
        one.axes = (held.axes or {}).get(name)
        if len(names) == 1:
            one.variable = name if len(held.shapes) > 1 else ""
            add_beside(one, beside)
        else:
            one.trial_names = [name] if one.values.ndim == 2 else None
            add_beside(one, {k: v for k, v in beside.items() if k in _OF_NODES})
        if options.variable is None:
            one.notes.append(f"array {name!r} was read")
        found.append(one)
    return found


_OF_NODES = ("node_names", "groups", "coordinates", "step")


def add_beside(found: Found, beside: Mapping[str, Any]) -> None:
    """Add names, groups, coordinates, step and mask that a file holds beside the series.

    Raises:
        DataError: their shape or kind is another than it must be.
    """
    for name, held in beside.items():
        array = np.asarray(held)
        if name == "step":
            if array.size != 1 or array.dtype.kind not in "iuf" or not float(array.item()) > 0:
                raise DataError(f"{found.file}, array 'step': give one number above 0, in seconds")
            found.step = float(array.item())
        elif name == "mask":
            if array.dtype.kind != "b":
                raise DataError(f"{found.file}, array 'mask': give truth values, True where valid")
            found.valid = array
        elif name == "coordinates":
            if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iuf":
                raise DataError(f"{found.file}, array 'coordinates': give (nodes, 3) numbers")
            found.coordinates, found.space = array.astype(np.float64), "mni"
            found.notes.append("coordinates are taken for MNI, in mm; space= says otherwise")
        else:
            if array.ndim != 1:
                raise DataError(f"{found.file}, array {name!r}: give a list of names")
            setattr(found, name, [str(one) for one in array.tolist()])
    if beside:
        found.notes.append(f"beside the series {', '.join(beside)} were read")


def _chosen(held: Held, options: ReadOptions) -> list[str]:
    """Names of the arrays to read."""
    every = list(held.shapes)
    if options.variable is not None:
        names = []
        for one in options.variable:
            matching = [k for k in every if k == one] or [k for k in every if fnmatchcase(k, one)]
            if not matching:
                near = difflib.get_close_matches(one, every, n=3)
                hint = f"near are {some(near)}" if near else f"there are {contents(held)}"
                raise DataError(f"{held.path} has no array {one!r}; {hint}")
            names += matching
        return list(dict.fromkeys(names))
    fitting = [
        name
        for name, (shape, kind) in held.shapes.items()
        if kind in "biufc" and len(shape) in (2, 3) and min(shape) > 1 and name not in BESIDE
    ]
    if "series" in fitting:
        return ["series"]
    if len(fitting) == 1:
        return fitting
    raise DataError(
        f"{held.path} holds {len(fitting) or 'no'} arrays that could be series: {contents(held)}; "
        "choose by variable="
    )


def contents(held: Held) -> str:
    """The arrays of a file in words."""
    said = [f"{name} {shape}" for name, (shape, _) in held.shapes.items()]
    if not said:
        return "nothing"
    more = len(said) - _LISTED
    return ", ".join(said[:_LISTED]) + (f" and {more} more" if more > 0 else "")
