"""Tasks with one right answer each: making them, reading them, and scoring a model on them."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.tasks.answers import found_answer, same_answer
    from synkern.tasks.generating import CATEGORIES, LEVELS, generate
    from synkern.tasks.likelihood import likelihood_score
    from synkern.tasks.matching import exact_match
    from synkern.tasks.reading import read
    from synkern.tasks.scores import Accuracy, Scores
    from synkern.tasks.task import SPLITS, Task

__all__ = [
    "CATEGORIES",
    "LEVELS",
    "SPLITS",
    "Accuracy",
    "Scores",
    "Task",
    "exact_match",
    "found_answer",
    "generate",
    "likelihood_score",
    "read",
    "same_answer",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Accuracy": "scores",
            "CATEGORIES": "generating",
            "LEVELS": "generating",
            "SPLITS": "task",
            "Scores": "scores",
            "Task": "task",
            "exact_match": "matching",
            "found_answer": "answers",
            "generate": "generating",
            "likelihood_score": "likelihood",
            "read": "reading",
            "same_answer": "answers",
        },
        of_torch=("likelihood", "matching"),
    )
