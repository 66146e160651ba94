"""The tasks of a result: what is kept of them beside what was right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern.interventions.accuracy.scoring import Scoring
from synkern.tasks import Task

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Problems:
    """Levels and categories of tasks, and what chance gives.

    Attributes:
        levels: (tasks,) int64, 0 where a task has none.
        categories: (tasks,) texts, "" where a task has none.
        floors: (tasks,) float64, the chance of being right without knowing anything.
    """

    levels: Ints
    categories: npt.NDArray[np.str_]
    floors: npt.NDArray[np.float64]

    @classmethod
    def of(cls, tasks: Sequence[Task], scoring: Scoring) -> Problems:
        """What is to be known of these tasks, judged in this way."""
        return cls(
            np.array([task.level or 0 for task in tasks], dtype=np.int64),
            np.array([task.category for task in tasks], dtype=np.str_),
            np.array(scoring.floors(tasks), dtype=np.float64),
        )

    def __len__(self) -> int:
        """How many tasks."""
        return len(self.levels)

    @property
    def floor(self) -> float:
        """The expected accuracy of one who knows nothing."""
        return float(self.floors.mean())

    def some(self, places: Ints) -> Problems:
        """Those at these places."""
        return Problems(self.levels[places], self.categories[places], self.floors[places])

    def places(self, what: str) -> dict[Any, Ints]:
        """Places of the tasks of each "level", or of each "category"; in order.

        Raises:
            ValueError: `what` is neither.
        """
        check.choice("what", what, ("level", "category"))
        keys: npt.NDArray[Any] = self.levels if what == "level" else self.categories
        return {key: np.flatnonzero(keys == key) for key in np.unique(keys).tolist()}


def level_name(level: int) -> str:
    """What a level is called."""
    return f"level {level}" if level else "no level"
