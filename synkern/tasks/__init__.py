"""Tasks with one right answer each: making them, reading them, and scoring a model on them."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.tasks.generating import CATEGORIES, LEVELS, generate
    from synkern.tasks.task import SPLITS, Task

__all__ = ["CATEGORIES", "LEVELS", "SPLITS", "Task", "generate"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CATEGORIES": "generating",
            "LEVELS": "generating",
            "SPLITS": "task",
            "Task": "task",
            "generate": "generating",
        },
    )
