"""What a model can do: accuracies on tasks that it was not trained on."""

from __future__ import annotations

from typing import Any

from synkern import tasks
from synkern.tasks import Scores, Task

LONGEST = 32
"""Tokens of an answer at most: eight numbers of two digits, spaces, and the end of the line."""


def held_out_tasks(count: int, seed: int) -> list[Task]:
    """`count` tasks of the split "test", less those that come twice: all categories and levels."""
    drawn = tasks.generate(count, seed=seed, split="test")
    return [*{task.prompt: task for task in drawn}.values()]


def by_likelihood(model: Any, tokenizer: Any, given: list[Task]) -> Scores:
    """The right answer against the wrong ones."""
    return tasks.likelihood_score(model, tokenizer, given, batch_size=64)


def by_writing(model: Any, tokenizer: Any, given: list[Task]) -> Scores:
    """The answer that the model writes."""
    return tasks.exact_match(model, tokenizer, given, max_new_tokens=LONGEST, batch_size=64)


def table(scores: Scores) -> list[dict[str, Any]]:
    """Right ones and all of each category and level, and what chance gives."""
    return [
        {
            "category": category,
            "level": level,
            "right": accuracy.right,
            "tasks": accuracy.count,
            "chance": accuracy.chance,
        }
        for (category, level), accuracy in scores.by("both").items()
    ]
