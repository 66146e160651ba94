"""How answers to tasks are judged, said once and used for every condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import synkern._checks as check
from synkern import tasks as tasks_of_models
from synkern.interventions.options import SCORING_NAMES
from synkern.tasks import Scores, Task

METHODS = SCORING_NAMES
"""How a task is judged: the answer against its distractors, or what the model writes."""


@dataclass(frozen=True)
class Scoring:
    r"""A way to judge answers; called with a model, its tokenizer and tasks it gives `Scores`.

    Attributes:
        method: "likelihood": is the right answer more likely than each distractor;
            "likelihood_per_token": the same by the mean over tokens; "exact_match": does the model
            write it.
        batch_size: texts at a time.
        max_new_tokens: of exact match, the most tokens of a text: one that has not ended then is
            wrong, and counted as truncated. GSM8K and MATH need some 512.
        stop: of exact match, strings that end a text, as ("\n\n",).

    Raises:
        ValueError: there is no such method.
    """

    method: str = "likelihood"
    batch_size: int = 32
    max_new_tokens: int = 64
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a method that there is not."""
        check.choice("method", self.method, METHODS)

    def __call__(self, model: Any, tokenizer: Any, tasks: Sequence[Task]) -> Scores:
        """Judge a model; raises what `tasks.likelihood_score` and `tasks.exact_match` do."""
        if self.method == "exact_match":
            return tasks_of_models.exact_match(
                model, tokenizer, tasks, self.max_new_tokens, self.batch_size, self.stop
            )
        scores = tasks_of_models.likelihood_score(model, tokenizer, tasks, self.batch_size)
        return scores if self.method == "likelihood" else scores.per_token()

    def floors(self, tasks: Sequence[Task]) -> list[float]:
        """Of each task, how often one is right who knows nothing: of likelihoods, who guesses."""
        if self.method == "exact_match":
            return [0.0] * len(tasks)
        return [1 / len(task.choices) for task in tasks]

    @property
    def call(self) -> dict[str, Any]:
        """What the scores depend on, as JSON has it."""
        if self.method != "exact_match":
            return {"method": self.method}
        return {
            "method": self.method,
            "max_new_tokens": self.max_new_tokens,
            "stop": list(self.stop),
        }
