"""How far an experiment is, and how long it will go on."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from synkern.study.plan import duration
from synkern.study.settings import Settings

# Seconds between two lines of a log.
_EVERY = 60.0


class Pace:
    """Shows a bar, and says in lines after the first point and then every minute what is to come.

    A context manager; `done` is called after every point.
    """

    def __init__(self, settings: Settings, label: str, total: int, there: int = 0) -> None:
        """Nothing has been measured yet.

        Args:
            settings: of the study.
            label: what is done.
            total: points of it.
            there: those that an earlier run has left.
        """
        self._settings = settings
        self._label = label
        self._total = total
        self._done = self._there = there
        self._bar: Any = None

    def __enter__(self) -> Pace:
        """Begin."""
        self._bar = self._settings.bar(self._label, self._total, "point").__enter__()
        self._bar.update(self._there)
        self._started = self._said = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the bar."""
        self._bar.__exit__(kind, error, traceback)

    def done(self, points: int = 1) -> None:
        """Take note of points that are done."""
        first = self._done == self._there
        self._done += points
        self._bar.update(points)
        now = time.perf_counter()
        left = self._total - self._done
        if left > 0 and (first or now - self._said >= _EVERY):
            self._said = now
            to_come = (now - self._started) / (self._done - self._there) * left
            self._settings.say(
                f"{self._label}: {self._done} of {self._total} points, about {duration(to_come)} "
                "to come"
            )
