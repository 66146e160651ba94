"""One model asked the same tasks under many conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.interventions.accuracy.problems import Problems
from synkern.interventions.accuracy.scoring import Scoring
from synkern.interventions.curves.file import digest
from synkern.interventions.curves.measuring import weights_of
from synkern.models.language_model import causal_lm
from synkern.tasks import Task


@dataclass(frozen=True, eq=False)
class Judge:
    """A model, and what it is asked.

    Attributes:
        model, tokenizer: the model that is asked, as it is at the moment.
        tasks: that it is asked.
        scoring: how its answers are judged.
    """

    model: Any
    tokenizer: Any
    tasks: tuple[Task, ...]
    scoring: Scoring

    @classmethod
    def of(cls, model: Any, tokenizer: Any, tasks: Sequence[Task], scoring: Scoring | str) -> Judge:
        """Take what a caller gives.

        Raises:
            ValueError: there are no tasks, or no such way to judge.
        """
        if not tasks:
            raise ValueError("tasks: there are none; give at least one")
        way = Scoring(scoring) if isinstance(scoring, str) else scoring
        return cls(model, tokenizer, tuple(tasks), way)

    @property
    def record(self) -> np.dtype[Any]:
        """What is kept of a condition: for each task whether it was right, and was cut short."""
        return np.dtype([("right", "?", len(self.tasks)), ("truncated", "?", len(self.tasks))])

    def asked(self) -> npt.NDArray[Any]:
        """Ask; a `record`. Of likelihoods nothing is cut short."""
        scores = self.scoring(self.model, self.tokenizer, self.tasks)
        found = np.zeros((), self.record)
        found["right"] = scores.right
        if scores.truncated is not None:
            found["truncated"] = scores.truncated
        return found

    @property
    def problems(self) -> Problems:
        """What is to be known of the tasks."""
        return Problems.of(self.tasks, self.scoring)

    @property
    def call(self) -> dict[str, Any]:
        """What all answers depend on, as a file of points has it."""
        inside = causal_lm(self.model)
        return {
            "model": type(inside).__name__,
            "weights": digest(weights_of(inside)),
            "tasks": digest([repr(astuple(task)).encode() for task in self.tasks]),
            **self.scoring.call,
        }
