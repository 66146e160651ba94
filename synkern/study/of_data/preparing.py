"""From what was read to what is decomposed: steps before, whose each trial is, and which pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.data import Dataset
from synkern.decomposition import PREPROCESSING
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.of_data.options import ALL, DecomposeOptions
from synkern.study.settings import NONE

FEWEST = 5
"""Pairs of a past and a future below which `phiid` decomposes no trial."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recording as it is decomposed.

    Attributes:
        data: as it was read.
        series: (trials, time, nodes) after the step `detrend`, 0 where not valid.
        valid: (trials, time), True where a sample counts.
        units: names of the subjects, or of the trials where there are no subjects.
        unit_of: (trials,) whose each trial is, an index of `units`.
        of_subjects: whether units are subjects.
        pairs: (pairs, 2) first < second node of those that are decomposed; None: all.
        digest: of all of these numbers.
    """

    data: Dataset
    series: Floats
    valid: NDArray[np.bool_]
    units: tuple[str, ...]
    unit_of: Indices
    of_subjects: bool
    pairs: Indices | None
    digest: str

    @property
    def nodes(self) -> int:
        """How many there are."""
        return int(self.series.shape[2])

    @property
    def trials(self) -> int:
        """How many there are, of all subjects."""
        return len(self.series)

    @property
    def count(self) -> int:
        """How many pairs of nodes are decomposed."""
        return self.nodes * (self.nodes - 1) // 2 if self.pairs is None else len(self.pairs)

    @property
    def gaps(self) -> bool:
        """Whether a trial has samples inside that do not count."""
        return any(not self.valid[k, self.stretch(k)].all() for k in range(self.trials))

    def stretch(self, trial: int) -> slice:
        """From the first to the last valid sample of a trial."""
        at = np.flatnonzero(self.valid[trial])
        return slice(int(at[0]), int(at[-1]) + 1)

    def samples(self, tau: int) -> Indices:
        """(trials,) numbers of pairs of a past and a future that are both valid."""
        return np.asarray((self.valid[:, :-tau] & self.valid[:, tau:]).sum(1), np.int64)

    def rows(self, trial: int, tau: int) -> tuple[Floats, Floats]:
        """Pasts and futures of a trial, each (samples, nodes)."""
        ok = self.valid[trial, :-tau] & self.valid[trial, tau:]
        return self.series[trial, :-tau][ok], self.series[trial, tau:][ok]

    def of_unit(self, unit: int) -> Indices:
        """Return the trials of a unit."""
        return np.flatnonzero(self.unit_of == unit).astype(np.int64)


def prepared(options: DecomposeOptions, data: Dataset) -> Prepared:
    """Prepare what was read.

    Raises:
        ArgumentError: a recording that the options do not fit: too few nodes or samples, no groups,
            or no pairs.
    """
    trials, _, nodes = data.shape
    if nodes < 2:
        raise ArgumentError(
            f"{named(data)} has {nodes} node; pairs need at least 2: read more columns"
        )
    series, valid = _stepped(options, data)
    subjects = data.subjects
    units = data.trial_names if subjects is None else tuple(dict.fromkeys(subjects))
    of = range(trials) if subjects is None else [units.index(one) for one in subjects]
    found = Prepared(
        data=data,
        series=series,
        valid=valid,
        units=units,
        unit_of=np.array(of, np.int64),
        of_subjects=subjects is not None,
        pairs=_chosen(options, data),
        digest="",
    )
    for tau in options.tau:
        _check_samples(found, tau, options.detrend)
    return replace(found, digest=_digest(found))


def named(data: Dataset) -> str:
    """Return what the recording is called in a message."""
    return ", ".join(data.sources[:3]) + (", ..." if len(data.sources) > 3 else "") or "the data"


def _stepped(options: DecomposeOptions, data: Dataset) -> tuple[Floats, NDArray[np.bool_]]:
    """The series after `detrend`, and which of its samples are valid."""
    given = data.mask
    valid = np.ones(data.shape[:2], np.bool_) if given is None else given
    series = np.where(valid[..., None], data.series, 0.0)
    if not np.isfinite(series).all():
        trial, sample, node = np.argwhere(~np.isfinite(series))[0]
        raise ArgumentError(
            f"{named(data)} has {series[trial, sample, node]} at trial "
            f"{data.trial_names[trial]!r}, sample {sample}, node {data.node_names[node]!r}; mask "
            "what is missing"
        )
    if options.detrend != NONE:
        step: Any = PREPROCESSING[options.detrend]  # type: ignore[index]
        with checks_of_arguments():
            series = step(series) if given is None else step(series, mask=given)
        if series.shape[1] < valid.shape[1]:
            valid = valid[:, 1:] & valid[:, :-1]
    return np.where(valid[..., None], series, 0.0), valid


def _check_samples(found: Prepared, tau: int, detrend: str) -> None:
    samples = found.samples(tau) if tau < found.series.shape[1] else np.zeros(found.trials, int)
    short = np.flatnonzero(samples < FEWEST)
    if not len(short):
        return
    name = found.data.trial_names[short[0]]
    raise ArgumentError(
        f"trial {name!r} of {named(found.data)} has {found.valid[short[0]].sum()} valid samples"
        f"{' after detrend ' + repr(detrend) if detrend == 'difference' else ''}, which with tau = "
        f"{tau} leave {samples[short[0]]} pairs of a past and a future; at least {FEWEST} are "
        f"needed ({len(short)} of {found.trials} trials have fewer): leave such trials out, mask "
        "fewer samples, or lower tau"
    )


def _chosen(options: DecomposeOptions, data: Dataset) -> Indices | None:
    """The pairs that are asked for by the groups of their nodes."""
    if options.pairs == ALL:
        if options.sides is not None:
            raise ArgumentError(
                f"sides = {list(options.sides)!r} say nothing of pairs = {ALL!r}; use pairs = "
                "'bipartite', or leave sides out"
            )
        return None
    labels = np.array(data.groups if data.groups is not None else [""] * data.shape[2])
    known = sorted({*labels.tolist()} - {""})
    if not known:
        raise ArgumentError(
            f"pairs = {options.pairs!r} needs the group of each node, and {named(data)} has none; "
            "give groups, such as a table of nodes and groups"
        )
    first, second = np.triu_indices(len(labels), 1)
    a, b = labels[first], labels[second]
    if options.pairs == "bipartite":
        one, other = _sides(options.sides, known)
        keep = ((a == one) & (b == other)) | ((a == other) & (b == one))
    else:
        keep = (a != "") & (b != "") & ((a == b) == (options.pairs == "within"))
    if not keep.any():
        raise ArgumentError(
            f"pairs = {options.pairs!r} selects nothing: the groups are {', '.join(known)}"
        )
    return np.stack([first[keep], second[keep]], -1).astype(np.int64)


def _sides(given: Sequence[str] | None, known: list[str]) -> tuple[str, str]:
    sides = known if given is None else list(given)
    unknown = [side for side in sides if side not in known]
    if unknown:
        raise ArgumentError(
            f"sides = {sides!r}: there is no group {unknown[0]!r}; the groups are "
            f"{', '.join(known)}"
        )
    if len(sides) != 2:
        raise ArgumentError(
            f"pairs = 'bipartite' is of two groups, and there are {len(sides)} "
            f"({', '.join(sides)}); say which by sides"
        )
    return sides[0], sides[1]


def _digest(found: Prepared) -> str:
    """SHA-256 of all that decides a number: series, valid samples, subjects and pairs."""
    digest = hashlib.sha256()
    for array in (found.series, found.valid, found.unit_of, found.pairs):
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}\0".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
