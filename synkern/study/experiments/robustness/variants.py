"""The ways in which a recording can be taken apart once more, and what each of them gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synkern import analysis
from synkern.analysis.profile import LayerProfile, profiles_from_arrays, profiles_to_arrays
from synkern.analysis.scores import OF_MEANS, RANKINGS
from synkern.decomposition.options import AVERAGES, KINDS, REDUNDANCIES, STEPS
from synkern.study.checks import fitting
from synkern.study.errors import ArgumentError
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.experiments.robustness.options import RobustnessOptions
from synkern.study.folder import UNREADABLE
from synkern.study.settings import NONE, Settings
from synkern.study.stage import RAW
from synkern.study.stages.decomposing import averages_of
from synkern.study.stages.excess import excess_averages
from synkern.study.stages.series import prepared

AS_STUDIED = "as studied"
"""What the variant is called that changes nothing."""

_BOTH = {"sts": "sts", "rtr": "rtr"}
_NO_BALANCE = (
    "balance is the share of synergy in the sum of both atoms, and beyond persistence this sum can "
    "be 0 or negative"
)
# Both estimators look at a series less its mean over its standard deviation.
_WITHOUT_EFFECT = ("zscore",)


@dataclass(frozen=True)
class Variant:
    """One option of a study changed: `name` is the option and its value."""

    name: str
    changes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Row:
    """What a variant gives, as it is or less what persistence alone would give.

    Attributes:
        variant: its name.
        reference: whether the persistence reference is taken off both atoms.
        profiles: by ranking, and of synergy itself; those that there are.
        absent: why others are not there, by ranking.
    """

    variant: str
    reference: bool
    profiles: Mapping[str, LayerProfile]
    absent: Mapping[str, str]

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.variant}, less persistence" if self.reference else self.variant


def variants_of(settings: Settings, taus: Sequence[int]) -> tuple[Variant, ...]:
    """Return the study as it is, then with one option changed at a time."""
    values: dict[str, Sequence[Any]] = {
        "tau": sorted({*taus}),
        "kind": KINDS,
        "detrend": [NONE, *(step for step in STEPS if step not in _WITHOUT_EFFECT)],
        "redundancy": REDUNDANCIES,
        "average": AVERAGES,
    }
    changed = [
        Variant(f"{option} {value}", {option: value})
        for option, tried in values.items()
        for value in tried
        if value != getattr(settings, option)
    ]
    return Variant(AS_STUDIED, {}), *changed


def rankings_of(settings: Settings) -> tuple[str, ...]:
    """Return the rankings that the nodes are scored by, and synergy itself."""
    return (*(OF_MEANS if settings.averaged else RANKINGS), RAW)


def rows_of(study: FinishedStudy, variant: Variant, options: RobustnessOptions) -> Iterator[Row]:
    """Take the recording of a study apart in one way: without a reference, and with one."""
    rankings = rankings_of(study.settings)
    try:
        settings = fitting(
            replace(study.settings, **variant.changes, null=NONE, null_draws=None, backend="auto")
        )
    except ArgumentError as error:
        yield from (_none(variant, reference, rankings, str(error)) for reference in (False, True))
        return
    work = _Work(study, settings, variant, options)
    yield work.as_it_is(rankings)
    yield work.beyond_persistence(rankings)


def _none(variant: Variant, reference: bool, rankings: Sequence[str], why: str) -> Row:
    return Row(variant.name, reference, {}, dict.fromkeys(rankings, why))


@dataclass(frozen=True)
class _Work:
    study: FinishedStudy
    settings: Settings
    variant: Variant
    options: RobustnessOptions

    def as_it_is(self, rankings: Sequence[str]) -> Row:
        """The study's own profiles where nothing is changed, else new ones."""
        if not self.variant.changes:
            kept = {name: self.study.profiles[name] for name in rankings}
            return Row(self.variant.name, False, kept, {})
        try:
            averages = averages_of(self.settings, self.study.series(), self.variant.name)
        except ValueError as error:
            return _none(self.variant, False, rankings, str(error))
        return self._row(False, averages, rankings, {})

    def beyond_persistence(self, rankings: Sequence[str]) -> Row:
        """The same of atoms less their persistence reference."""
        if self.settings.excess_absent is not None:
            return _none(self.variant, True, rankings, self.settings.excess_absent)
        try:
            series = prepared(self.settings, self.study.series())
            averages = excess_averages(self.settings, series, names=_BOTH)
        except ValueError as error:
            return _none(self.variant, True, rankings, str(error))
        absent = {name: _NO_BALANCE for name in rankings if name not in (*OF_MEANS, RAW)}
        return self._row(True, averages, [r for r in rankings if r not in absent], absent)

    def _row(
        self,
        reference: bool,
        averages: analysis.Averages,
        rankings: Sequence[str],
        absent: Mapping[str, str],
    ) -> Row:
        missing: dict[str, str] = {}
        try:
            found = self._profiles(averages, rankings)
        except ValueError:
            # One ranking may fail where others do not.
            found = {}
            for ranking in rankings:
                try:
                    found |= self._profiles(averages, [ranking])
                except ValueError as error:
                    missing[ranking] = str(error)
        return Row(self.variant.name, reference, found, {**absent, **missing})

    def _profiles(
        self, averages: analysis.Averages, rankings: Sequence[str]
    ) -> dict[str, LayerProfile]:
        draws, label = self.options.bootstrap, f"{self.variant.name}: bootstrap"
        with self.settings.bar(label, draws, "draw") as bar:
            return analysis.layer_profiles(
                averages,
                self.study.trained["layer"],
                rankings=rankings,
                bootstrap=draws,
                seed=self.options.seed,
                progress=bar.update,
            )


class Kept:
    """Rows that are done, in a file: an interruption costs one variant."""

    def __init__(self, file: Path, say: Callable[[str], None]) -> None:
        """Read what an earlier run has left, if it did.

        Args:
            file: where the rows are kept.
            say: is told of a file that cannot be read; its rows are computed again.
        """
        self._file = file
        self.rows: list[Row] = []
        if not file.exists():
            return
        try:
            self.rows = list(_stored(file))
        except UNREADABLE as error:
            say(
                f"{str(file)!r} was changed or damaged ({type(error).__name__}: {error}); what was "
                "done so far is computed again"
            )

    def add(self, rows: Sequence[Row]) -> None:
        """Keep more of them; the file is replaced in one step."""
        self.rows += rows
        arrays: dict[str, Any] = {}
        for place, row in enumerate(self.rows):
            if row.profiles:
                made = profiles_to_arrays(row.profiles)
                arrays |= {f"{place}_{name}": array for name, array in made.items()}
        told = [
            {"variant": row.variant, "reference": row.reference, "absent": dict(row.absent)}
            for row in self.rows
        ]
        unfinished = self._file.with_name(f"{self._file.name}.new")
        with unfinished.open("wb") as opened:
            np.savez(opened, rows=np.array(json.dumps(told)), **arrays)
        unfinished.replace(self._file)

    def of(self, variant: Variant) -> list[Row]:
        """The rows of a variant that are there."""
        return [row for row in self.rows if row.variant == variant.name]


def _stored(file: Path) -> Iterator[Row]:
    # Opened here: given a path to a damaged file, np.load leaves it open.
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
        for place, told in enumerate(json.loads(str(stored["rows"]))):
            start = f"{place}_"
            arrays = {
                name.removeprefix(start): stored[name]
                for name in stored.files
                if name.startswith(start)
            }
            profiles = profiles_from_arrays(arrays) if arrays else {}
            yield Row(**told, profiles=profiles)
