"""Files of series, of whatever kind, as one data set."""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synkern.data.assembling import assembled
from synkern.data.axes import arranged, settle
from synkern.data.checking import consistent, numeric
from synkern.data.companions import listed
from synkern.data.dataset import Dataset
from synkern.data.errors import DataError
from synkern.data.formats import reader_of
from synkern.data.found import Found
from synkern.data.nodes import taken
from synkern.data.options import ReadOptions, options_from
from synkern.data.paths import is_there, path_of

Name = str | os.PathLike[str]


def read_series(
    files: Name | Iterable[Name], options: ReadOptions | None = None, **named: Any
) -> Dataset:
    """Read series of time: one file for each trial or subject, or one with all trials.

        data = synkern.read_series(sorted(Path("rest").glob("sub-*_bold.nii.gz")), atlas="aal.nii")
        result = synkern.phiid(data.series, mask=data.mask)

    Which kind a file is says its ending: `.npy .npz .csv .tsv .txt` (also with `.gz`), `.parquet
    .feather .mat .h5 .hdf5 .zarr .nc .nii .nii.gz`, and what MNE reads (`.fif .edf .bdf .vhdr .set`
    and others). `.npy` stays where it is, as mapped memory, while it need not be converted.

    Args:
        files: a path, several, or a pattern with `*`; an order decides that of the trials.
        options: a `ReadOptions`, where it is at hand.
        **named: or what `ReadOptions` is made of, by name, which also says what each means.

    Returns:
        The trials in float64, with the mask of their samples and all names; `notes` has in words
        what was decided on the way.

    Raises:
        DataError: a file cannot be used, or files do not go together; says where and what helps.
        MissingExtraError: the package that reads such files is not installed.
        TypeError: an option of another name.
        ValueError: the value of an option cannot be used.
    """
    if options is not None and named:
        raise TypeError(f"options and {', '.join(named)} were given; give the one or the others")
    how = options if options is not None else options_from(named)
    paths = _paths(files)
    names = None if how.node_names is None else listed(how.node_names, "node_names")
    found = [one for path in paths for one in reader_of(path)(path, how)]
    return dataset_of(found, how, names, [str(path) for path in paths])


def from_mne(recording: Any, **named: Any) -> Dataset:
    """Make a data set of a recording that MNE holds.

    Args:
        recording: `mne.io.Raw`, which is one trial whose bad annotations are masked, or
            `mne.Epochs`, which are trials.
        **named: as of `read_series`; `columns` names channels and kinds of channels ("eeg").

    Returns:
        In the units of MNE (V, T), with the places of the sensors in metres where all are known.

    Raises:
        DataError: it is neither, or its values cannot be used.
        MissingExtraError: MNE is not installed.
        TypeError, ValueError: an option of another name or value.
    """
    how = options_from(named)
    recordings = importlib.import_module("synkern.data.formats.recordings")
    held = getattr(recording, "filenames", None) or [getattr(recording, "filename", None)]
    file = str(held[0] or type(recording).__name__)
    names = None if how.node_names is None else listed(how.node_names, "node_names")
    return dataset_of([recordings.found_in(recording, file, how)], how, names, [file])


def dataset_of(
    found: list[Found], options: ReadOptions, names: tuple[str, ...] | None, sources: list[str]
) -> Dataset:
    """Make a data set of what readers found.

    Args:
        found: one or more; emptied on the way.
        options: how to read.
        names: of the nodes, as the user has them; None for those of the files.
        sources: the files, as they are to be called.

    Raises:
        DataError: it cannot be used, or does not go together.
    """
    for one in found:
        numeric(one)
        arranged(one, settle(one, options.axes, None if names is None else len(names)))
        if names is not None:
            one.node_names = names
        consistent(one)
        taken(one, options)
    return assembled(found, options, sources)


def _paths(files: Name | Iterable[Name]) -> list[Path]:
    given: list[Any] = [files]
    if isinstance(files, Iterable) and not isinstance(files, str | os.PathLike | bytes):
        given = list(files)
    for one in given:
        if not isinstance(one, str | os.PathLike):
            raise TypeError(
                f"files has a {type(one).__name__}; give names of files: arrays and frames go to "
                "synkern.phiid as they are"
            )
    paths: list[Path] = []
    for one in given:
        path = path_of(one)
        if not is_there(path) and glob.has_magic(str(path)):
            matching = sorted(glob.glob(str(path)))
            if not matching:
                raise DataError(f"no file matches {one}")
            paths += map(Path, matching)
        else:
            paths.append(path)
    if not paths:
        raise DataError("files is empty; give at least one")
    seen: set[Path] = set()
    for path in paths:
        if not is_there(path):
            raise DataError(f"{path} is not there; there is no such file")
        real = path.resolve()
        if real in seen:
            raise DataError(f"{path} is given twice; a trial counts once")
        seen.add(real)
    return paths
