"""The tasks of a training: to learn from, to select by, and to be tested with."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from synkern import tasks
from synkern.study.errors import ArgumentError, checks_of_arguments
from synkern.study.experiments.perturbation.options import BUILTIN
from synkern.study.experiments.tuning.options import TuningOptions
from synkern.tasks import SPLITS, Task

TRAIN, VALIDATION, TEST = SPLITS


def splits_of(options: TuningOptions) -> tuple[dict[str, tuple[Task, ...]], tuple[str, ...]]:
    """Return the tasks by part, no prompt in two of them, and what is to be known of them.

    Raises:
        ArgumentError: a part would have none, or a file has other lines.
        OSError: there is no such file.
    """
    counts = {
        TRAIN: options.train_count,
        VALIDATION: options.validation_count,
        TEST: options.test_count,
    }
    with checks_of_arguments():
        if options.tasks == BUILTIN:
            every = {part: [*_made(options, part, count)] for part, count in counts.items()}
        else:
            every = {part: [] for part in SPLITS}
            for task in _kept(tasks.read(options.tasks, template=options.template), options):
                every[task.split].append(task)
        notes = []
        if options.test_file is not None:
            read = tasks.read(options.test_file, template=options.template)
            every[TRAIN] += every[TEST]
            every[TEST] = [*_kept(read, options)]
            asked = {task.prompt for task in every[TEST]}
            for part in (TRAIN, VALIDATION):
                others = [task for task in every[part] if task.prompt not in asked]
                if len(others) < len(every[part]):
                    notes.append(
                        f"{len(every[part]) - len(others)} tasks for {part} are in the test file "
                        "too, and are left out"
                    )
                every[part] = others
    found = {}
    for part, count in counts.items():
        # What comes twice is no second observation.
        once = [*{task.prompt: task for task in every[part]}.values()]
        if not once:
            raise ArgumentError(
                f"tasks = {str(options.tasks)!r}, levels = {options.levels!r}, categories = "
                f"{options.categories!r}: there is none for {part} (train: "
                f"{len(every[TRAIN])}, validation: {len(every[VALIDATION])}, test: "
                f"{len(every[TEST])}); give more tasks"
            )
        # Each part by itself: how many are trained on does not decide which are tested.
        draw = random.Random(f"{options.seed} {part}")
        found[part] = tuple(once if len(once) <= count else draw.sample(once, count))
    return found, tuple(notes)


def _made(options: TuningOptions, part: str, count: int) -> Sequence[Task]:
    return tasks.generate(
        count,
        seed=options.seed,
        split=part,
        levels=options.levels,
        categories=options.categories,
    )


def _kept(read: Sequence[Task], options: TuningOptions) -> Iterator[Task]:
    levels, categories = options.levels, options.categories
    for task in read:
        if (levels is None or task.level in levels) and (
            categories is None or task.category in categories
        ):
            yield task
