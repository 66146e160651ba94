"""NIfTI images, through nilearn: the mean of each region of an atlas, or the part of each map."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.data.checking import some
from synkern.data.companions import Sheet, sheet
from synkern.data.errors import DataError, needed
from synkern.data.found import GROUPS, Found
from synkern.data.options import ReadOptions
from synkern.data.paths import path_of

_MNI = 4
"""What NIfTI's sform and qform say of coordinates in the space of MNI."""

_MS = 20
"""A repetition time from here on is in milliseconds, whatever the header says."""


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """An image of regions.

    Attributes:
        path: the file.
        image: of nibabel, with three axes if it holds labels, four if maps.
        numbers: of the regions: their labels, or the places of their maps.
        names, groups, coordinates, space: as in `Dataset`.
    """

    path: Path
    image: Any
    numbers: tuple[int, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] | None
    coordinates: npt.NDArray[np.float64]
    space: str


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read an image of four axes by the regions of `options.atlas`."""
    image = _image(path)
    if len(image.shape) != 4 or image.shape[3] < 2:
        raise DataError(
            f"{path} has the shape {image.shape}, one volume; give an image of four axes, whose "
            "last is time"
        )
    if options.atlas is None:
        voxels = int(np.prod(image.shape[:3]))
        raise DataError(
            f"{path} has {voxels} voxels, of which no map of all pairs is wanted; give atlas=, an "
            "image of labels or of maps, and labels= with the names of its regions"
        )
    atlas = _atlas_of(options.atlas, options.labels)
    notes = [f"regions are those of {atlas.path.name}"]
    values, kept = _signals(path, image, atlas, notes)
    step = _step(image, notes)
    return [
        Found(
            file=str(path),
            values=values,
            axes=("time", "node"),
            node_names=[atlas.names[k] for k in kept],
            groups=None if atlas.groups is None else [atlas.groups[k] for k in kept],
            coordinates=atlas.coordinates[kept],
            space=atlas.space,
            step=step,
            notes=notes,
        )
    ]


def _image(path: Path) -> Any:
    nibabel = needed("nibabel", "brain", f"reading {path}")
    try:
        return nibabel.load(path)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path} is no image, or is cut off: {error}") from None


def _values(path: Path, image: Any) -> npt.NDArray[Any]:
    """All voxels; in float32 where the file has no more digits."""
    held = image.get_data_dtype()
    if held.kind not in "biuf":
        kind = "complex numbers" if held.kind == "c" else "colours"
        raise DataError(f"{path} holds {kind} ({held}), not a number for each voxel")
    few = held.itemsize <= 4
    try:
        data: npt.NDArray[Any] = image.get_fdata(
            dtype=np.float32 if few else np.float64, caching="unchanged"
        )
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} is cut off, or damaged: {error}") from None
    return data


def _signals(
    path: Path, image: Any, atlas: Atlas, notes: list[str]
) -> tuple[npt.NDArray[Any], list[int]]:
    """(time, regions), and the places in the atlas of those that have voxels in the image."""
    nilearn = needed("nilearn.image", "brain", f"reading {path}")
    regions = needed("nilearn.regions", "brain", f"reading {path}")
    data = _values(path, image)
    good = np.isfinite(data)
    gone = ~good.any((0, 1, 2))  # volumes that were taken out
    finite = good[..., ~gone].all(-1) & ~gone.all()
    data[~finite] = 0
    data[..., gone] = 0
    series = nilearn.new_img_like(image, data)
    labelled = len(atlas.image.shape) == 3
    on_grid = atlas.image
    same = np.allclose(on_grid.affine, image.affine, atol=1e-4)
    if on_grid.shape[:3] != image.shape[:3] or not same:
        on_grid = nilearn.resample_to_img(
            atlas.image,
            nilearn.index_img(series, 0),
            interpolation="nearest" if labelled else "continuous",
            force_resample=True,
            copy_header=True,
        )
        notes.append(f"{atlas.path.name} was resampled to the grid of the image")
    places = np.asarray(on_grid.get_fdata())
    inside = places != 0 if labelled else (places > 0).any(-1)
    if not inside.any():
        raise DataError(
            f"{path}: no region of {atlas.path} lies in this image; they are in different spaces, "
            "or one of their affines is wrong"
        )
    broken = inside & ~finite
    if broken.any():
        notes.append(f"{int(broken.sum())} voxels with values that are not finite were left out")
        places = np.where(broken if labelled else broken[..., None], 0, places)
        on_grid = nilearn.new_img_like(on_grid, places)
    if not (inside & finite).any():
        raise DataError(f"{path}: no voxel of the regions of {atlas.path} has finite values only")
    if not labelled:
        values, _ = regions.img_to_signals_maps(series, on_grid)[:2]
        return _without(np.asarray(values), gone), list(range(len(atlas.numbers)))
    values, found = regions.img_to_signals_labels(series, on_grid)[:2]
    columns = {int(number): k for k, number in enumerate(found)}
    kept = [k for k, number in enumerate(atlas.numbers) if number in columns]
    lost = [name for k, name in enumerate(atlas.names) if k not in {*kept}]
    if lost:
        notes.append(f"{len(lost)} regions have no voxel in the image: {some(lost)}")
    chosen = np.asarray(values)[:, [columns[atlas.numbers[k]] for k in kept]]
    return _without(chosen, gone), kept


def _without(values: npt.NDArray[Any], gone: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Signals, missing in the volumes that are."""
    return np.where(gone[:, None], np.nan, values) if gone.any() else values


def _atlas_of(atlas: str, labels: str | None) -> Atlas:
    """An atlas with its names; read once for all files that are read by it."""
    keys = []
    for option, given in (("atlas", atlas), ("labels", labels)):
        path = path_of(given or atlas)
        if not path.is_file():
            raise DataError(f"{option}: {path} is not there")
        keys.append((str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size))
    return _read_atlas(atlas, labels, tuple(keys))


@lru_cache(maxsize=4)
def _read_atlas(atlas: str, labels: str | None, version: tuple[Any, ...]) -> Atlas:
    """Read an atlas. `version` tells files apart that had or have this name."""
    path = path_of(atlas)
    image = _image(path)
    data = _values(path, image)
    if data.ndim not in (3, 4):
        raise DataError(f"atlas: {path} has the shape {data.shape}; give labels or maps")
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
        image = needed("nilearn.image", "brain", f"reading {path}").index_img(image, 0)
    if not np.isfinite(data).all():
        raise DataError(f"atlas: {path} has voxels that are not finite")
    if data.ndim == 4:
        numbers, centres = tuple(range(data.shape[3])), _centres_of_maps(path, data)
    else:
        numbers, centres = _centres_of_labels(path, data)
    places = np.asarray(image.affine[:3, :3] @ centres.T + image.affine[:3, 3:]).T
    codes = {int(image.header["sform_code"]), int(image.header["qform_code"])}
    in_mni = _MNI in codes or re.search(r"MNI", path.name, re.I) is not None
    made = Atlas(
        path=path,
        image=image,
        numbers=numbers,
        names=tuple(f"region {number}" for number in numbers),
        groups=None,
        coordinates=places,
        space="mni" if in_mni else "scanner",
    )
    return made if labels is None else _with_names(made, sheet(labels))


def _centres_of_labels(
    path: Path, data: npt.NDArray[Any]
) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    """The labels other than 0, and the mean place of the voxels of each."""
    if (data != np.rint(data)).any():
        raise DataError(
            f"atlas: {path} has three axes and values that are not whole: labels are; give an "
            "image of labels, or of maps with four axes"
        )
    numbers, region = np.unique(data, return_inverse=True)
    region = region.ravel()
    grid = np.indices(data.shape).reshape(3, -1)
    sizes = np.bincount(region)
    centres = np.stack([np.bincount(region, axis) / sizes for axis in grid], axis=1)
    labels = numbers != 0
    return tuple(int(number) for number in numbers[labels]), centres[labels]


def _centres_of_maps(path: Path, data: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The mean place of the voxels of each map, by what of it is above 0."""
    weights = np.clip(data, 0, None).reshape(-1, data.shape[3]).astype(np.float64)
    total = weights.sum(0)
    if (total == 0).any():
        raise DataError(f"atlas: map {int(np.argmax(total == 0))} of {path} is empty")
    grid = np.indices(data.shape[:3]).reshape(3, -1)
    return np.asarray(grid @ weights / total).T


def _with_names(atlas: Atlas, table: Sheet) -> Atlas:
    """Names of the regions from a table with their numbers, or a list in their order."""
    numbers, names = table.numbers(), table.names()
    if table.header is None and len(table.rows[0]) > 1 and table.rows[0][0].isdigit():
        numbers, names = [int(row[0]) for row in table.rows], [row[1] for row in table.rows]
    if names is None:
        raise DataError(f"labels: {table.path} has no column of names, such as name or label")
    groups = table.column(*GROUPS)
    if numbers is None or len(atlas.image.shape) == 4:
        if len(names) == len(atlas.numbers) + 1 and names[0].lower() in ("background", "unknown"):
            names, groups = names[1:], groups[1:] if groups else None
        if len(names) != len(atlas.numbers):
            raise DataError(
                f"labels: {table.path} has {len(names)} names for the {len(atlas.numbers)} regions "
                f"of {atlas.path}; give a table with columns index and name"
            )
        order = list(range(len(names)))
    else:
        place = {number: k for k, number in enumerate(numbers)}
        absent = [number for number in atlas.numbers if number not in place]
        if absent:
            raise DataError(
                f"labels: {table.path} has no name for {len(absent)} labels of {atlas.path}, "
                f"{absent[0]} for instance"
            )
        order = [place[number] for number in atlas.numbers]
    return replace(
        atlas,
        names=tuple(names[k] for k in order),
        groups=None if groups is None else tuple(groups[k] for k in order),
    )


def _step(image: Any, notes: list[str]) -> float | None:
    """Seconds from one volume to the next, by the header."""
    repetition = float(image.header.get_zooms()[3])
    unit = image.header.get_xyzt_units()[1]
    if repetition <= 0:
        return None
    scale = {"msec": 1e-3, "usec": 1e-6}.get(unit, 1.0)
    if scale == 1.0 and repetition >= _MS:
        notes.append(f"a repetition time of {repetition:g} is taken for milliseconds")
        scale = 1e-3
    elif unit not in ("sec", "msec", "usec"):
        notes.append(f"a repetition time of {repetition:g}, without a unit, is taken for seconds")
    return repetition * scale
