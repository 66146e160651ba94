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

    A context manager. It is called with the number of points that are done and that of all: before
    the first, when some may be there from an earlier run, and after each.
    """

    def __init__(self, settings: Settings, label: str) -> None:
        """Nothing has been measured yet.

        Args:
            settings: of the study.
            label: what is done.
        """
        self._settings = settings
        self._label = label
        self._bar: Any = None

    def __enter__(self) -> Pace:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        """Take note of points that are done."""
        now = time.perf_counter()
        if self._bar is None:
            self._bar = self._settings.bar(self._label, total, "point")
            self._there = self._done = done
            self._began, self._said = now, float("-inf")
            if done:
                self._settings.say(f"{self._label}: {done} of {total} points are there already")
        self._bar.update(done - self._bar.n)
        if self._there < done < total and now - self._said >= _EVERY:
            self._said = now
            to_come = (now - self._began) / (done - self._there) * (total - done)
            self._settings.say(
                f"{self._label}: {done} of {total} points, about {duration(to_come)} to come"
            )
