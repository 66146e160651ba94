"""Files that hold several arrays, each with a name: which are the series, and what goes with them.

Arrays that are called as the fields of `Dataset` are taken for these: `node_names`, `trial_names`,
`subjects`, `groups`, `coordinates`, `step` and `mask`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from synkern.data.checking import some
from synkern.data.errors import DataError
from synkern.data.formats.labelled import Label, add_labels, texts
from synkern.data.found import Found
from synkern.data.options import ReadOptions

BESIDE = ("node_names", "trial_names", "subjects", "groups", "coordinates", "step", "mask")

CELLS = "cells"
"""The kind of what `Held.get` gives as a list of arrays, each a trial."""

_LISTED = 8


@dataclass(frozen=True, kw_only=True)
class Held:
    """The arrays of a file.

    Attributes:
        path: the file.
        shapes: by name, the shape of each array and the kind of its dtype.
        get: reads one.
        dims: by name, what the file calls the axes of each array, where it does.
        labels: by name, what the file says along axes: the values of a coordinate.
        notes: what was met while reading.
    """

    path: Path
    shapes: Mapping[str, tuple[tuple[int, ...], str]]
    get: Callable[[str], Any]
    dims: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    labels: Callable[[str], Mapping[str, Label]] = lambda name: {}
    notes: list[str] = field(default_factory=list)


def found_in(held: Held, options: ReadOptions) -> list[Found]:
    """Read the series of a file, and what goes with them.

    Raises:
        DataError: there is none, there are several and `variable` chooses none, or it is not there.
    """
    names = _chosen(held, options)
    found = []
    for name in names:
        folder = name[: 1 + max(name.rfind("/"), name.rfind("."))]
        there = {one: folder + one for one in BESIDE if folder + one in held.shapes}
        values = held.get(name)
        cells = values if isinstance(values, list) else [values]
        alone = len(names) == len(cells) == 1
        # What is said of trials is said of `series`, where there is one.
        theirs = alone and (name == f"{folder}series" or f"{folder}series" not in held.shapes)
        if "mask" in there and not alone and f"{folder}series" not in held.shapes:
            raise DataError(
                f"{held.path}: array {there['mask']!r} says which samples are valid, and not in "
                f"which of the {len(names) * len(cells)} trials that are read; read one array by "
                "variable=, or call it otherwise and give mask="
            )
        beside = {one: held.get(k) for one, k in there.items() if theirs or one in _OF_NODES}
        left = [k for one, k in there.items() if one not in beside and k not in names]
        for number, cell in enumerate(cells):
            one = Found(file=str(held.path), values=np.asarray(cell), variable=name)
            if alone:
                one.variable = name if len(held.shapes) > 1 else ""
            elif one.values.ndim == 2:
                one.trial_names = [f"{name}:{number}" if len(cells) > 1 else name]
            if name in held.dims:
                add_labels(one, held.dims[name], held.labels(name))
            add_beside(one, beside)
            one.notes += [
                f"array {k!r} is about another array, or several, and was left out" for k in left
            ]
            one.notes += held.notes
            if options.variable is None and len(held.shapes) > 1:
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
            if (
                array.size != 1
                or array.dtype.kind not in "iuf"
                or not (0 < float(array.item()) < math.inf)
            ):
                raise DataError(f"{found.file}, array 'step': give one number above 0, in seconds")
            found.step = float(array.item())
        elif name == "mask":
            if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
                raise DataError(f"{found.file}, array 'mask': give truth values, True where valid")
            column = array.ndim == 2 and array.shape[1] == 1  # of MATLAB, a list
            found.valid = (array[:, 0] if column else array).astype(bool)
        elif name == "coordinates":
            if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "iuf":
                raise DataError(f"{found.file}, array 'coordinates': give (nodes, 3) numbers")
            found.coordinates, found.space = array.astype(np.float64), "mni"
            found.notes.append("coordinates are taken for MNI, in mm; space= says otherwise")
        else:
            if array.ndim != 1:  # of MATLAB, a row or a column
                array = array.ravel() if array.size == max(array.shape, default=0) else array
            if array.ndim != 1:
                raise DataError(f"{found.file}, array {name!r}: give a list of names")
            setattr(found, name, texts(array))
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
        if re.split(r"[/.]", name)[-1] not in BESIDE
        and (kind == CELLS or (kind in "biufc" and len(shape) in (2, 3, 4) and min(shape) > 1))
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
