"""Which tasks an experiment asks the model: built-in ones, or those of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synkern import tasks
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.experiments.perturbation.options import BUILTIN, TEMPLATE
from synkern.tasks import Task

_HELD_OUT = "test"


def tasks_of(
    source: str | Path,
    *,
    count: int,
    seed: int,
    template: str = TEMPLATE,
    levels: Sequence[int] | None = None,
    categories: Sequence[str] | None = None,
) -> tuple[Task, ...]:
    """Return the tasks asked for.

    Args:
        source: `BUILTIN`, or a file of JSON lines.
        count, seed: of built-in tasks; those that come twice are taken once.
        template: of tasks from a file.
        levels, categories: those that are kept; None: all.

    Raises:
        ArgumentError: there are none, or the file has other lines.
        OSError: there is no such file.
    """
    with checks_of_arguments():
        if source == BUILTIN:
            made = tasks.generate(
                count, seed=seed, split=_HELD_OUT, levels=levels, categories=categories
            )
            # Easy ones come twice, which are no second observation.
            drawn = tuple({task.prompt: task for task in made}.values())
        else:
            drawn = tasks.read(source, template=template)
    kept = tuple(
        task
        for task in drawn
        if (levels is None or task.level in levels)
        and (categories is None or task.category in categories)
    )
    if not kept:
        raise ArgumentError(
            f"levels = {levels!r}, categories = {categories!r}: none of the {len(drawn)} tasks in "
            f"{str(source)!r} is one of these"
        )
    return kept
