"""One data set of what was found in files."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from synkern.data.checking import checked, in_float64
from synkern.data.companions import coordinates_of, groups_of, listed, outliers, sheet, truths
from synkern.data.dataset import Dataset
from synkern.data.errors import DataError
from synkern.data.found import Found
from synkern.data.nodes import aligned
from synkern.data.options import ReadOptions
from synkern.data.paths import is_file

_SUBJECT = re.compile(r"(?:^|[/\\_])sub-([A-Za-z0-9]+)")

_SAME_STEP = 1e-4
"""Relative difference up to which two steps are one, written with other numbers of digits."""


def assembled(found: list[Found], options: ReadOptions, sources: Sequence[str]) -> Dataset:
    """Make a data set of trials of the same nodes.

    Args:
        found: with the axes trial, time, node and names of their nodes; emptied on the way, so
            that no more than one file is in memory beside the result.
        options: how to read.
        sources: the files.

    Raises:
        DataError: what was found does not go together, or cannot be used.
    """
    aligned(found)
    names = tuple(found[0].node_names or ())
    marked(found, options)
    notes: list[str] = []
    step = _step(found, options, notes)
    trial_names = _trial_names(found)
    subjects = _subjects(found, options, len(trial_names), notes)
    groups, coordinates, space = _of_nodes(found[0], options, names, notes)
    series, mask = _joined(found, options, names, notes)
    return Dataset(
        series=series,
        mask=mask,
        node_names=names,
        trial_names=trial_names,
        subjects=subjects,
        groups=groups,
        coordinates=coordinates,
        space=space,
        step=step,
        sources=tuple(sources),
        notes=tuple(notes),
    )


def marked(found: Sequence[Found], options: ReadOptions) -> None:
    """Add to what is valid the files of `mask` and `scrub`, one for each file or one for all.

    Raises:
        DataError: another number of files, or of samples in them.
    """
    of_files = [one for one in found if not one.masked]
    masks = _one_each(of_files, options.mask or (), "mask") if of_files else []
    lists = _one_each(found, options.scrub or (), "scrub")
    for one, path in masks:
        _and(one, truths(path, one.values.shape[:2]), f"by {path}")
    for one, path in lists:
        _and(one, ~outliers(path, one.values.shape[1]), f"by {path}")


def _one_each(found: Sequence[Found], paths: Sequence[str], option: str) -> list[tuple[Found, str]]:
    if len(paths) not in (0, 1, len(found)):
        raise DataError(
            f"{option} has {len(paths)} files for {len(found)}; give one for each file of data, in "
            "their order, or one for all"
        )
    return list(zip(found, list(paths) * (len(found) if len(paths) == 1 else 1), strict=False))


def _and(found: Found, valid: npt.NDArray[np.bool_], why: str) -> None:
    before = found.valid
    found.valid = valid if before is None else np.atleast_2d(before) & np.atleast_2d(valid)
    out = int((~np.broadcast_to(np.atleast_2d(valid), found.values.shape[:2])).sum())
    found.notes.append(f"{out} samples are masked {why}")


def _step(found: Sequence[Found], options: ReadOptions, notes: list[str]) -> float | None:
    steps = [(one.file, one.step) for one in found if one.step is not None]
    for file, step in steps:
        if options.step is None and not math.isclose(step, steps[0][1], rel_tol=_SAME_STEP):
            raise DataError(
                f"{file} has a sample every {step:g} s and {steps[0][0]} every {steps[0][1]:g} s; "
                "resample them to one step, as a lag in samples would mean two times"
            )
    if options.step is not None:
        if steps and not math.isclose(steps[0][1], options.step, rel_tol=_SAME_STEP):
            notes.append(f"step = {options.step:g} s as told; {steps[0][0]}: {steps[0][1]:g} s")
        return options.step
    return steps[0][1] if steps else None


def _trial_names(found: Sequence[Found]) -> tuple[str, ...]:
    """Of one trial its file's, of several those in the file with the file's in front."""
    stems = _shortest([one.file for one in found])
    alone = len(found) == 1
    names = []
    for one, stem in zip(found, stems, strict=True):
        count = one.values.shape[0]
        own = one.trial_names
        if own is not None and len(own) != count:
            raise DataError(f"{one.what} has {count} trials and {len(own)} names for them")
        if own is None and count == 1:
            names.append(stem)
            continue
        own = own if own is not None else [str(k) for k in range(count)]
        same_file = alone or len({each.file for each in found}) == 1
        names += [str(name) if same_file else f"{stem}:{name}" for name in own]
    return tuple(names)


def _shortest(files: Sequence[str]) -> list[str]:
    """File names without their endings; with as many folders as tell them apart."""
    paths = [Path(file) for file in files]
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join((*p.parts[-parts:-1], p.name.split(".")[0])) for p in paths]
        if len({*names}) == len({*files}):
            return names
    return [str(path) for path in paths]


def _subjects(
    found: Sequence[Found], options: ReadOptions, trials: int, notes: list[str]
) -> tuple[str, ...] | None:
    if options.subjects is not None:
        given = listed(options.subjects, "subjects")
        if len(given) != trials:
            raise DataError(f"subjects has {len(given)} names for {trials} trials; give one each")
        if turned := _not_by_number([one.file for one in found]):
            notes.append(
                f"subjects go with the files in their order, which is not by number: {turned[0]} "
                f"is before {turned[1]}"
            )
        return given
    if all(one.subjects is not None for one in found):
        return tuple(str(name) for one in found for name in one.subjects or ())
    in_names = [_SUBJECT.search(one.file) for one in found]
    if all(in_names):
        notes.append("subjects are taken from the names of the files (sub-)")
        counts = [one.values.shape[0] for one in found]
        return tuple(
            match.group(1)
            for match, count in zip(in_names, counts, strict=True)
            if match
            for _ in range(count)
        )
    return None


def _not_by_number(files: Sequence[str]) -> tuple[str, str] | None:
    """Two files that follow each other as text is sorted, 10 before 2; None if there are none."""
    names = [Path(file).name for file in dict.fromkeys(files)]
    for one, other in pairwise(names):
        by_number = [[int(part) for part in re.findall(r"\d+", name)] for name in (one, other)]
        if re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other) and by_number[0] > by_number[1]:
            return one, other
    return None


def _of_nodes(
    first: Found, options: ReadOptions, names: tuple[str, ...], notes: list[str]
) -> tuple[tuple[str, ...] | None, npt.NDArray[np.float64] | None, str | None]:
    """Groups, coordinates and their space, from the options or else from the file."""
    groups = tuple(first.groups) if first.groups is not None else None
    if options.groups is not None:
        beside = [options.labels, (options.node_names or (None,))[0]]
        tables = [sheet(one) for one in beside if one and is_file(one)]
        own = [one for one in tables if one.column(options.groups) is not None]
        if is_file(options.groups):
            groups = groups_of(sheet(options.groups), names)
        elif own:
            groups = groups_of(own[0], names, options.groups)
        else:
            raise DataError(
                f"groups: {options.groups!r} is no file, and no column of the tables of labels= or "
                "node_names="
            )
    coordinates, space = first.coordinates, first.space
    if options.coordinates is not None:
        coordinates = coordinates_of(sheet(options.coordinates), names)
        space = options.space
        if space is None:
            space = "mni"
            notes.append("coordinates are taken for MNI, in mm; space= says otherwise")
    if coordinates is None:
        return groups, None, None
    unknown = np.flatnonzero(~np.isfinite(coordinates).all(1))
    if len(unknown):
        raise DataError(
            f"coordinates: node {names[unknown[0]]!r} is at {coordinates[unknown[0]].tolist()}; "
            "give finite numbers for every node, or no coordinates"
        )
    return groups, coordinates, options.space or space


def _joined(
    found: list[Found], options: ReadOptions, names: tuple[str, ...], notes: list[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_] | None]:
    """(trials, longest time, nodes) of all, with zeros where a sample is missing, and the mask."""
    counts = [one.values.shape[0] for one in found]
    lengths = [one.values.shape[1] for one in found]
    trials, longest = sum(counts), max(lengths)
    mask = np.zeros((trials, longest), bool)
    alone = len(found) == 1
    series = None if alone else np.zeros((trials, longest, len(names)))
    files = len({one.file for one in found})
    said: dict[str, list[str]] = {}
    start = 0
    for count, length in zip(counts, lengths, strict=True):
        one = found.pop(0)
        block = checked(one, options, names)
        filled = in_float64(block, one.what)
        if series is None:
            series = filled
        else:
            series[start : start + count, :length] = filled
        mask[start : start + count, :length] = True if block.valid is None else block.valid
        start += count
        for note in one.notes:
            said.setdefault(note, []).append(one.file)
    for note, where in said.items():
        notes.append(note if len(where) >= files or alone else f"{_files(where)}: {note}")
    if len({*lengths}) > 1:
        notes.append(f"trials have {min(lengths)} to {longest} samples; what is short is masked")
    assert series is not None
    return series, None if mask.all() else mask


def _files(where: Sequence[str]) -> str:
    names = list(dict.fromkeys(where))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more files"
