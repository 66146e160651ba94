"""What a user decides about a decomposition of data. Light, as `synkern.study.options` is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from synkern.analysis.options import NULL_NAMES
from synkern.data.options import ReadOptions
from synkern.decomposition.options import DTYPES, KINDS, SELECTIONS
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.options import Option, like
from synkern.study.settings import NONE, StudyOptions
from synkern.study.telling import bar, say

AUTO = "auto"
"""The null that suits the trials, and the device that is there."""

ALL = "all"
"""All pairs; and all atoms."""

SURROGATES = 999
"""How many a null has unless asked otherwise."""

FORMATS = ("netcdf", "zarr", "parquet")
"""What results are written as beside the arrays and tables that are always there."""

DECOMPOSING, EXCESS, NULL = "decomposition", "excess", "null"
"""What is computed at each lag."""

_ALL_STEPS = (DECOMPOSING, EXCESS, NULL)

_as_in_study = partial(like, StudyOptions)


def _check_lags(name: str, value: Any) -> None:
    if len(set(value)) < len(value):
        raise ArgumentError(f"{name} = {list(value)!r} names a lag twice; give each once")


def _check_sides(name: str, value: Any) -> None:
    if len(value) != 2 or value[0] == value[1]:
        raise ArgumentError(f"{name} = {list(value)!r}; give the names of two different groups")


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """What a user may decide about what is computed from the series, and written of it."""

    out: str | Path = field(
        metadata=Option(
            help="folder to write",
            more="Made if missing. An earlier decomposition there is taken up again: what has the "
            "same ingredients is reused, the rest is replaced.",
            metavar="DIR",
            stated=False,
        ).described,
    )
    tau: tuple[int, ...] = field(
        default=(1,),
        metadata=Option(
            help="lags in samples; the first is the one that the summary tells of",
            least=1,
            check=_check_lags,
        ).described,
    )
    kind: str = field(
        default=KINDS[0],
        metadata=Option(
            help="estimator",
            more="As in `synkern.phiid`, in nats or in bits.",
            choices=KINDS,
            stages=_ALL_STEPS,
        ).described,
    )
    redundancy: str = _as_in_study("redundancy", stages=_ALL_STEPS)
    atoms: tuple[str, ...] = field(
        default=("rtr", "sts"),
        metadata=Option(
            help="atoms to keep, or all; synergy (sts) and redundancy (rtr) always are",
            metavar="ATOM",
            stages=(DECOMPOSING,),
        ).described,
    )
    average: str = _as_in_study(
        "average",
        help="how the trials of a subject combine, or all trials where there are no subjects",
        more="Of trials, each is decomposed, and the atoms averaged; the others are pooled and "
        "decomposed once, and without subjects once more for every bootstrap draw. Subjects are "
        "always averaged after their decomposition, each counting once.",
        stages=_ALL_STEPS,
    )
    pairs: str = field(
        default=ALL,
        metadata=Option(
            help="which pairs: all, those within groups, between groups, or of two groups",
            more="All but the first need the groups of nodes; nodes without a group then have no "
            "pairs.",
            choices=(ALL, *SELECTIONS),
            stages=_ALL_STEPS,
        ).described,
    )
    sides: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="the two groups of pairs bipartite, where there are more than two",
            metavar="GROUP",
            check=_check_sides,
            stages=_ALL_STEPS,
        ).described,
    )
    detrend: str = _as_in_study("detrend", stages=_ALL_STEPS)
    null: str = field(
        default=AUTO,
        metadata=Option(
            help="test every pair against a null; auto takes the one that suits the trials",
            more='One of `synkern.analysis.nulls`. "auto" is cross_trial with five trials or '
            "more that can change places (of one subject, or of none), else row_shift, or circular "
            "for discrete data; the report says which and why, or why there is none.",
            choices=(AUTO, NONE, *NULL_NAMES),
            stages=(EXCESS, NULL),
        ).described,
    )
    null_draws: int | None = field(
        default=None,
        metadata=Option(
            help=f"surrogates of the null (default: {SURROGATES})", least=19, stages=(NULL,)
        ).described,
    )
    bootstrap: int = _as_in_study(
        "bootstrap",
        help="bootstrap draws of the subjects, or of the trials where there are no subjects",
        stages=(DECOMPOSING, EXCESS),
    )
    seed: int = _as_in_study("seed", help="of bootstrap and null", stages=_ALL_STEPS)
    backend: str = _as_in_study("backend", stages=_ALL_STEPS)
    dtype: str = field(
        default=DTYPES[0],
        metadata=Option(
            help="of arithmetic and atoms", choices=DTYPES, stages=_ALL_STEPS
        ).described,
    )
    device: str = field(
        default=AUTO,
        metadata=Option(
            help="where it is computed: cpu, cuda, ...",
            more='"auto" is "cuda" where torch finds one, else "cpu".',
            stages=_ALL_STEPS,
        ).described,
    )
    keep_subjects: bool = field(
        default=False,
        metadata=Option(
            help="also keep the matrices of every subject, or trial where there are no subjects",
            stages=(DECOMPOSING,),
        ).described,
    )
    write: tuple[str, ...] | None = field(
        default=None,
        metadata=Option(
            help="also write the result labelled, with names, groups, coordinates and units, or "
            "the table of all pairs as Parquet",
            choices=FORMATS,
            stated=False,
        ).described,
    )
    blocks: bool = field(
        default=False,
        metadata=Option(
            help="block by block into a zarr store, for more nodes than there is memory for",
            more="One file of zarr or NumPy, as it is, without null and report; see "
            "`synkern.phiid_blocks`.",
            stated=False,
        ).described,
    )
    scheduler: str | None = field(
        default=None,
        metadata=Option(
            help="address of a scheduler of dask, whose workers compute the blocks",
            metavar="ADDRESS",
            stated=False,
        ).described,
    )
    plan: bool = field(
        default=False,
        metadata=Option(
            help="read the files, say what would be done and how long it takes, and end",
            stated=False,
        ).described,
    )
    progress: bool = _as_in_study("progress")

    def say(self, message: str) -> None:
        """Write a line on standard error."""
        say(message, self.progress)

    def bar(self, label: str, total: int, unit: str) -> Any:
        """Return a progress bar on standard error: a context manager with `update(count)`."""
        return bar(label, total, unit, self.progress)


@dataclass(frozen=True, kw_only=True)
class DecomposeOptions(ComputeOptions, ReadOptions):
    """What a user may decide about a decomposition of data, as given.

    `files` are given by position: names of files, or what they hold, a `synkern.data.Dataset`. The
    other fields are options: those of reading (`synkern.data.ReadOptions`), and those of what is
    done with the series.
    """

    files: Any = field(kw_only=False)

    def __post_init__(self) -> None:
        """Check the options of reading, and take lists as tuples."""
        with checks_of_arguments():
            read = ReadOptions(**self.of_reading)
        taken = {one.name: getattr(read, one.name) for one in fields(ReadOptions)}
        for name in ("tau", "atoms", "sides", "write"):
            value = getattr(self, name)
            taken[name] = (value,) if isinstance(value, int | str) else value
            if isinstance(value, list):
                taken[name] = tuple(value)
        for name, value in taken.items():
            object.__setattr__(self, name, value)

    @property
    def of_reading(self) -> dict[str, Any]:
        """The options of reading, by name."""
        return {one.name: getattr(self, one.name) for one in fields(ReadOptions)}
