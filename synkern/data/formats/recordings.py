"""Recordings of EEG, MEG and the like, through MNE: a raw one is a trial, epochs are trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._names import DATA_CHANNELS
from synkern.data.checking import some
from synkern.data.errors import DataError, needed
from synkern.data.found import Found
from synkern.data.nodes import matching
from synkern.data.options import ReadOptions

_EPOCHS = ("-epo", "_epo")


def read(path: Path, options: ReadOptions) -> list[Found]:
    """Read a recording, with the channels that `options.columns` names: data channels if none."""
    mne = needed("mne", "mne", f"reading {path}")
    if options.variable is not None:
        raise DataError(f"{path} is one recording; leave out variable=, choose by columns=")
    try:
        held = _opened(mne, path)
        return [found_in(held, str(path), options)]
    except DataError:
        raise
    # Each of MNE's readers raises what it does.
    except Exception as error:
        said = str(error).strip().partition("\n")[0]
        raise DataError(f"{path} cannot be read by MNE, or is cut off: {said}") from None


def found_in(held: Any, file: str, options: ReadOptions) -> Found:
    """What there is in a recording that MNE holds.

    Args:
        held: `mne.io.Raw` or `mne.Epochs`.
        file: as it is to be called.
        options: `columns` may name channels and kinds of channels; `drop` channels.

    Raises:
        DataError: it is neither, or has no such channels.
    """
    mne = needed("mne", "mne", "reading a recording")
    raw = isinstance(held, mne.io.BaseRaw)
    if not raw and not isinstance(held, mne.BaseEpochs):
        raise DataError(
            f"{file} is a {type(held).__name__}; give a raw recording or epochs: a mean over "
            "trials has lost what differs between them"
        )
    notes: list[str] = []
    picks = _picks(mne, held, file, options, notes)
    names = [held.ch_names[k] for k in picks]
    kinds = sorted({held.get_channel_types(picks=[k])[0] for k in picks})
    if len(kinds) > 1:
        notes.append(f"channels of several kinds are nodes: {', '.join(kinds)}")
    found = Found(
        file=file,
        values=_raw(held, picks) if raw else _epochs(held, picks),
        axes=("node", "time") if raw else ("trial", "node", "time"),
        node_names=names,
        step=1 / float(held.info["sfreq"]),
        others=[name for name in held.ch_names if name not in names],
        chosen=True,
        notes=notes,
    )
    _add_places(found, held, picks)
    if raw:
        bad = np.asarray(np.isnan(found.values).all(axis=0))
        if bad.any():
            found.valid = np.asarray(~bad)
            found.values[:, bad] = 0.0
            notes.append(f"{int(bad.sum())} samples that are annotated as bad are masked")
    else:
        found.trial_names = _names_of(held)
    return found


def _opened(mne: Any, path: Path) -> Any:
    stem = path.name.removesuffix(".gz").removesuffix(path.suffixes[-1] if path.suffixes else "")
    if stem.removesuffix(".fif").endswith(_EPOCHS):
        return mne.read_epochs(path, preload=True, verbose="ERROR")
    if path.suffix.lower() in _FIRST_BYTES:
        _check_records(path)
    if path.suffix.lower() == ".set":
        try:
            return mne.io.read_raw_eeglab(path, preload=False, verbose="ERROR")
        except TypeError:  # trials, says MNE
            return mne.read_epochs_eeglab(path, verbose="ERROR")
    return mne.io.read_raw(path, preload=False, verbose="ERROR")


_FIRST_BYTES = {".edf": b"0       ", ".bdf": b"\xffBIOSEMI"}
_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}


def _check_records(path: Path) -> None:
    """Refuse an EDF or BDF file that is the other, or shorter than its header says.

    MNE reads both: the other as noise, and of one that is cut off what there is.

    Raises:
        DataError: it is so.
    """
    ending = path.suffix.lower()
    with path.open("rb") as file:
        start = file.read(256)
        other = next(one for one in _FIRST_BYTES if one != ending)
        if start.startswith(_FIRST_BYTES[other]):
            raise DataError(f"{path} begins as a {other} file does; rename it to {other}")
        try:
            header, records, channels = (
                int(start[a:b]) for a, b in ((184, 192), (236, 244), (252, 256))
            )
            file.seek(256 + 216 * channels)
            samples = sum(int(file.read(8)) for _ in range(channels))
        except ValueError:
            return  # which MNE refuses
    wanted = header + records * samples * _SAMPLE_BYTES[ending]
    held = path.stat().st_size
    if held < wanted:
        raise DataError(
            f"{path} is cut off: it has {held} bytes, and its header says {records} records, "
            f"{wanted} bytes; copy it again"
        )


def _picks(mne: Any, held: Any, file: str, options: ReadOptions, notes: list[str]) -> list[int]:
    """Places of the channels to read; bad ones are left out unless they are named."""
    bads = [name for name in held.info["bads"] if name in held.ch_names]
    kinds = held.get_channel_types()
    if options.columns is None:
        every = mne.pick_types(held.info, **DATA_CHANNELS, exclude=[])
        picks = [int(k) for k in every if held.ch_names[k] not in bads]
        rest = [name for k, name in enumerate(held.ch_names) if k not in {*every.tolist()}]
        if rest:
            notes.append(f"channels without data were left out: {some(rest)}")
    else:
        picks = []
        for one in options.columns:
            of_kind = [k for k, kind in enumerate(kinds) if kind == one or (one, kind) in _MEG]
            if of_kind and one not in held.ch_names:
                picks += [k for k in of_kind if held.ch_names[k] not in bads]
            else:
                picks += matching(one, held.ch_names, "columns", file)
        picks = sorted({*picks})
    out = [name for name in bads if held.ch_names.index(name) not in picks]
    if out:
        notes.append(f"channels that are marked as bad were left out: {some(out)}")
    if not picks:
        raise DataError(
            f"{file} has no channels of data; its channels are {', '.join(sorted({*kinds}))}: "
            "choose by columns="
        )
    return picks


_MEG = {("meg", "mag"), ("meg", "grad")}


def _raw(held: Any, picks: list[int]) -> npt.NDArray[np.float64]:
    """(channels, time), NaN where an annotation says bad."""
    values: npt.NDArray[np.float64] = held.get_data(
        picks=picks, reject_by_annotation="NaN", verbose="ERROR"
    )
    return values


def _epochs(held: Any, picks: list[int]) -> npt.NDArray[np.float64]:
    """(epochs, channels, time) of those that are not dropped."""
    values: npt.NDArray[np.float64] = held.get_data(picks=picks, verbose="ERROR")
    return values


def _names_of(held: Any) -> list[str]:
    """The condition and number of each epoch."""
    known = {code: name for name, code in held.event_id.items()}
    events = zip(held.selection, held.events[:, 2], strict=True)
    return [f"{known.get(int(code), code)} {k}" for k, code in events]


def _add_places(found: Found, held: Any, picks: list[int]) -> None:
    """Add where the sensors are, in metres from the head's origin, if all are known."""
    places = np.array([held.info["chs"][k]["loc"][:3] for k in picks], np.float64)
    known = np.isfinite(places).all(1) & (places != 0).any(1)
    if known.all():
        found.coordinates, found.space = places, "head"
    elif known.any():
        found.notes.append(f"{int((~known).sum())} channels have no place, so none is given")
