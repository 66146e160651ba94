"""Times of samples: one step from each to the next, or where they do not go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.data.errors import DataError, needed

_UNITS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3}
_UNITS |= {"msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "µs": 1e-6}
_UNITS |= {"microseconds": 1e-6, "ns": 1e-9, "min": 60.0, "minutes": 60.0, "h": 3600.0}
_UNITS |= {"hours": 3600.0, "days": 86400.0, "d": 86400.0}

_TIMES = {"time", "times", "t", "timestamp", "timestamps", "date", "datetime", "seconds", "onset"}
_TIMES |= {"ms", "sec", "time_s", "time_ms", "t_s"}
_COUNTS = {"", "index", "sample", "samples", "frame", "frames", "volume", "volumes", "tr", "step"}
_COUNTS |= {"timepoint", "timepoints", "time_point", "unnamed: 0", "row"}

_LOOSE = 0.05
"""Part of a step by which a time may be off: those written with few digits are."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Where the samples of a trial are in time.

    Attributes:
        step: seconds from one to the next; None if the file does not say seconds.
        places: the number of each sample from the first on, where some are not there; else None.
        notes: what was decided.
    """

    step: float | None
    places: npt.NDArray[np.intp] | None
    notes: list[str]


def is_time_name(name: str) -> bool:
    """Whether a column of this name holds times or counts samples."""
    word, _ = _name_and_unit(name)
    return word in _TIMES | _COUNTS


def counts_samples(name: str) -> bool:
    """Whether a column of this name counts samples, so that it does not say how long they take."""
    return _name_and_unit(name)[0] in _COUNTS


def clock_of(column: Any) -> npt.NDArray[np.float64] | None:
    """Seconds of a column of dates; None if it is none."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mM":
        times: Any = column.to_numpy()
        return np.asarray((times - times[0]) / np.timedelta64(1, "ns") * 1e-9, float)
    if kind in "biufc" or not len(column):
        return None
    first = str(column.iloc[0])
    if not re.match(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", first):
        return None
    pandas = needed("pandas", "data", "reading dates")
    try:
        if first[2] == ":":
            return np.asarray(pandas.to_timedelta(column).dt.total_seconds(), float)
        parsed = pandas.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError):
        return None
    return np.asarray((parsed - parsed.iloc[0]).dt.total_seconds(), float)


def even_step(times: npt.NDArray[np.float64]) -> float | None:
    """The one step by which times go on; None if there is none."""
    even = float((times[-1] - times[0]) / (len(times) - 1))
    off = np.abs(times - times[0] - even * np.arange(len(times)))
    return even if (off <= _LOOSE * even).all() else None


def seconds_in(name: str, unit: str, step: float) -> float | None:
    """Seconds of a step in what is called so; None if neither name nor unit says that it is time.

    A step of 1 without a unit counts samples.
    """
    word, own = _name_and_unit(name)
    known = unit.lower() if unit.lower() in _UNITS else own
    if known is not None:
        return step * _UNITS[known]
    if word in _COUNTS or step == 1:
        return None
    return step if word in _TIMES else None


@dataclass(frozen=True)
class Clock:
    """The column of times of a table.

    Attributes:
        path: the file.
        name: of the column; may have a unit in brackets or at its end.
        column: of pandas.
        line: where a row is, in words.
    """

    path: Path
    name: str
    column: Any
    line: Callable[[int], str]

    def samples(self, rows: npt.NDArray[np.intp], missing: str) -> Samples:
        """Where the rows of a trial are.

        Raises:
            DataError: what is no time; times that go back or by unequal steps, or leave some out
                where `missing` is "refuse".
        """
        dates = clock_of(self.column)
        times = dates if dates is not None else self._numbers()
        times = times[rows]
        called = f"column {self.name!r}" if self.name else "the first column, without a name,"
        if len(times) < 3:
            return Samples(step=None, places=None, notes=[f"{called} is taken for time"])
        steps = np.diff(times)
        back = np.flatnonzero(~(steps > 0))
        if len(back):
            raise DataError(
                f"{self.path}: {called} is taken for time, and does not go on in "
                f"{self.line(int(rows[back[0] + 1]))}: {times[back[0]]:g}, then "
                f"{times[back[0] + 1]:g}; if trials follow each other, give trial_column=, and if "
                "it is no time, drop= or rename it"
            )
        step, places = self._spaced(times, rows, called, missing)
        counts = step == 1 and times[0] in (0, 1) and dates is None
        said = [f"{called} counts the samples" if counts else f"{called} is taken for time"]
        seconds = self._seconds(step, dates is not None)
        if seconds is not None:
            said = [f"{called} is taken for time, with a sample every {seconds:.6g} s"]
        if places is not None:
            gone = int(places[-1]) + 1 - len(places)
            said.append(f"{gone} samples that {called} leaves out are masked")
        return Samples(step=seconds, places=places, notes=said)

    def _numbers(self) -> npt.NDArray[np.float64]:
        pandas = needed("pandas", "data", "reading times")
        read = pandas.to_numeric(self.column, errors="coerce")
        times: npt.NDArray[np.float64] = read.to_numpy(dtype=float, na_value=np.nan)
        bad = np.flatnonzero(~np.isfinite(times))
        if len(bad):
            raise DataError(
                f"{self.path}: column {self.name!r} is taken for time and holds "
                f"{self.column.iloc[bad[0]]!r} in {self.line(int(bad[0]))}; correct it, or drop= "
                "or rename the column if it is no time"
            )
        return times

    def _spaced(
        self, times: npt.NDArray[np.float64], rows: npt.NDArray[np.intp], called: str, missing: str
    ) -> tuple[float, npt.NDArray[np.intp] | None]:
        """The step, and the numbers of samples where some are not there."""
        even = even_step(times)
        if even is not None:
            return even, None
        step = float(np.median(np.diff(times)))
        exact = (times - times[0]) / step
        places = np.rint(exact).astype(np.intp)
        # The step once more, from the whole length.
        step = float((times[-1] - times[0]) / places[-1])
        exact = (times - times[0]) / step
        if (np.abs(exact - places) > _LOOSE).any() or (np.diff(places) < 1).any():
            worst = int(np.argmax(np.abs(np.diff(times) - step)))
            raise DataError(
                f"{self.path}: {called} is taken for time, and its steps are unequal: {step:g} "
                f"mostly, {times[worst + 1] - times[worst]:g} before "
                f"{self.line(int(rows[worst + 1]))}; resample to one step, or drop= the column if "
                "rows are equally spaced"
            )
        gap = int(np.argmax(np.diff(places) > 1))
        if missing == "refuse":
            raise DataError(
                f"{self.path}: {called} leaves out {int(places[-1]) + 1 - len(places)} samples, "
                f"first before {self.line(int(rows[gap + 1]))}; missing='mask' keeps their place "
                "and masks them"
            )
        return step, places

    def _seconds(self, step: float, dates: bool) -> float | None:
        if dates:
            return step
        return seconds_in(self.name, "", step)


def _name_and_unit(name: str) -> tuple[str, str | None]:
    """A column's name without its unit, in lower case, and the unit if it has one."""
    plain = name.strip().lower()
    if plain in _UNITS and plain in _TIMES:
        return "time", plain
    match = re.fullmatch(r"(.*?)\s*[\[(]\s*([a-zµ]+)\s*[\])]", plain) or re.fullmatch(
        r"(time|t|timestamp)_([a-zµ]+)", plain
    )
    if match and match.group(2) in _UNITS:
        return match.group(1), match.group(2)
    return plain, None
