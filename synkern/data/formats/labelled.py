"""Arrays whose axes have names, and labels along them: xarray, NetCDF, zarr, HDF5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._names import roles_of
from synkern.data.axes import role_in
from synkern.data.errors import DataError
from synkern.data.formats.times import even_step, seconds_in
from synkern.data.found import GROUPS, XYZ, Found

_NAMES = ("name", "label", "region", "node_name", "roi", "channel")
_SUBJECTS = ("subject", "sub", "participant")


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a file says along axes of an array.

    Attributes:
        dims: names of these axes.
        values: along them.
        units: of the values, as the file has them; None if it does not say.
    """

    dims: tuple[str, ...]
    values: npt.NDArray[Any]
    units: str | None = None


def add_labels(found: Found, dims: tuple[str, ...], labels: Mapping[str, Label]) -> None:
    """Add to what was found its axes, by their names, and what the labels along them say.

    Names that do not say which axis is which are noted, and leave it to `axes`.

    Raises:
        DataError: times that do not go on by one step.
    """
    roles = roles_of(dims, role_in)
    if roles is None:
        found.notes.append(f"the axes' names {dims} do not say which is which")
        return
    found.axes = roles
    for dim, role in zip(dims, roles, strict=True):
        if role_in(dim) not in (None, role):
            found.notes.append(f"axis {dim!r} is taken for that of the {role}s, as no other is")
        along = {name: one for name, one in labels.items() if one.dims == (dim,)}
        own = along.get(dim)
        if role == "time":
            if own is not None:
                found.step = _step(found, own, dim)
        elif role == "node":
            _add_nodes(found, own, along)
        else:
            names = texts(own.values) if own is not None else None
            setattr(found, "subjects" if role == "subject" else "trial_names", names)
            subjects = _first(along, _SUBJECTS)
            if role == "trial" and dim not in _SUBJECTS and subjects is not None:
                found.subjects = texts(subjects.values)


def texts(array: npt.NDArray[Any]) -> list[str]:
    """Names in an array of texts, of bytes or of whole numbers."""
    try:
        return [one.decode() if isinstance(one, bytes) else str(one) for one in array.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"a name is no text in UTF-8: {error.object!r}; save it as UTF-8") from None


def _add_nodes(found: Found, own: Label | None, along: Mapping[str, Label]) -> None:
    named = own if own is not None and own.values.dtype.kind not in "iuf" else _first(along, _NAMES)
    named = named or own
    if named is not None:
        found.node_names = texts(named.values)
    groups = _first(along, GROUPS)
    if groups is not None and groups is not named:
        found.groups = texts(groups.values)
    if all(axis in along for axis in XYZ):
        places = [along[axis].values for axis in XYZ]
        found.coordinates = np.stack(places, axis=1).astype(np.float64)
        metres = along["x"].units in ("m", "metre", "meter", "metres", "meters")
        found.space = "head" if metres else "mni"
        said = "sensors', in m" if metres else "MNI, in mm"
        found.notes.append(f"coordinates are taken for {said}; space= says otherwise")


def _first(along: Mapping[str, Label], names: tuple[str, ...]) -> Label | None:
    return next((along[name] for name in names if name in along), None)


def _step(found: Found, label: Label, dim: str) -> float | None:
    """Seconds from one sample to the next, by the times along an axis."""
    values = label.values
    dates = values.dtype.kind in "mM"
    if values.dtype.kind not in "iufmM" or len(values) < 3:
        return None
    times = values.astype(np.float64)
    if dates:
        times = (values - values[0]) / np.timedelta64(1, "ns") * 1e-9
    steps = np.diff(times)
    step = even_step(times) if (steps > 0).all() else None
    if step is None:
        worst = int(np.argmax(np.abs(steps - np.median(steps))))
        raise DataError(
            f"{found.what}: the times along axis {dim!r} do not go on by one step: "
            f"{np.median(steps):g} mostly, {steps[worst]:g} after sample {worst}; resample to one "
            "step, or put samples that are left out in their place as missing"
        )
    unit = (label.units or "").partition(" ")[0]
    seconds = step if dates else seconds_in(dim, unit, step)
    if seconds is not None:
        found.notes.append(f"axis {dim!r} says that there is a sample every {seconds:.6g} s")
    return seconds
