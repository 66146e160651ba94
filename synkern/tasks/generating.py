"""Making tasks from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

from synkern._checks import choice
from synkern.tasks.arithmetic import addition, chain, subtraction
from synkern.tasks.draws import Draft, Draws
from synkern.tasks.sentences import agreement, word_problem
from synkern.tasks.sequences import brackets, copying, sorting
from synkern.tasks.task import SPLITS, Task

_MAKERS = {
    "addition": addition,
    "subtraction": subtraction,
    "chain": chain,
    "word_problem": word_problem,
    "sorting": sorting,
    "copying": copying,
    "agreement": agreement,
    "brackets": brackets,
}
CATEGORIES = tuple(_MAKERS)
LEVELS = (1, 2, 3, 4, 5)

_DISTRACTORS = 3
# Draws without a new task after which there is taken to be none: of the smallest cell, some five
# tasks of its fifty-five are in a part of the split, and missing one of those so often has a
# probability of (1 - 1/100)**5000, 1e-22.
_PATIENCE = 5000


def generate(
    count: int,
    *,
    seed: int,
    categories: str | Sequence[str] | None = None,
    levels: int | Sequence[int] | None = None,
    split: str | None = None,
    distinct: bool = False,
) -> tuple[Task, ...]:
    """Make tasks, the same ones from a seed on every platform.

    Every category at every level comes equally often, as nearly as `count` allows, in mixed order;
    fewer tasks of the same seed are the beginning of more. What the levels 1 to 5 mean:

    - "addition", "subtraction": digits of the two numbers 1+1, 2+1, 2+2, 3+2, 3+3.
    - "chain": 1, 2 or 3 steps with one digit, then 2 or 3 steps with two digits.
    - "word_problem": one step with one digit, one with two, two with one; then a product and one
      step with one digit, a product and two steps with two.
    - "sorting": 3 or 5 numbers of one digit, then 4, 6 or 8 of two. "copying": 3, 4, 6, 8, 10
      letters.
    - "agreement": a bare noun; an adjective; one, then two phrases of place between subject and
      verb; a relative clause. The nouns between have the other number.
    - "brackets": left open 2, 2, 3, 4, 5, after 1, 2, 2, 3, 4 closed pairs.

    Each task has 3 distractors as long as the answer, in "agreement" the other verb; none of its
    choices is the beginning of another.

    Args:
        count: of tasks, at least 1.
        seed: a whole number, not negative.
        categories: one or several of `CATEGORIES`; None: all.
        levels: one or several of 1 to 5; None: all.
        split: "train", "validation" or "test": only prompts of that part, see `Task.split`, so that
            what a model is tested on is never what another call trained it on. None: of all.
        distinct: whether no prompt may come twice. There are 55 prompts of "subtraction" at level
            1, and 100 of "addition": repeats are no further evidence in a test.

    Raises:
        ValueError: an argument is none of these, or there are not so many distinct tasks.
    """
    _whole("count", count, 1)
    _whole("seed", seed, 0)
    cells = [
        (category, level)
        for category in _listed("categories", categories, CATEGORIES)
        for level in _listed("levels", levels, LEVELS)
    ]
    if split is not None:
        choice("split", split, (*SPLITS, None))
    draws = Draws(int(seed))
    seen: set[str] = set()
    made: list[Task] = []
    while len(made) < count:
        for category, level in draws.shuffled(cells):
            task = _next(draws, category, level, split, seen)
            if distinct:
                seen.add(task.prompt)
            made.append(task)
    return tuple(made[:count])


def _next(draws: Draws, category: str, level: int, split: str | None, seen: set[str]) -> Task:
    """The next task of a cell that is in the split and has not been seen."""
    for _ in range(_PATIENCE):
        draft = _MAKERS[category](draws, level)
        task = Task(draft.prompt, draft.answer, _distractors(draft, category), level, category)
        if split in (None, task.split) and task.prompt not in seen:
            return task
    raise ValueError(
        f"distinct: after {len(seen)} tasks there are no new ones of category {category!r} at "
        f"level {level}{f' in split {split!r}' * (split is not None)}; ask for fewer, for other "
        "levels, or for distinct=False"
    )


def _distractors(draft: Draft, category: str) -> tuple[str, ...]:
    """The first wrong answers that differ from the answer and each other."""
    needed = 1 if category == "agreement" else _DISTRACTORS
    chosen = [draft.answer]
    for wrong in draft.wrong:
        if wrong not in chosen:
            chosen.append(wrong)
        if len(chosen) > needed:
            return tuple(chosen[1:])
    raise AssertionError(f"{draft} has too few wrong answers")


def _whole(name: str, number: Any, least: int) -> None:
    if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
        raise ValueError(f"{name} must be a whole number, {least} or more; got {number!r}")


def _listed(name: str, asked: Any, known: Sequence[Any]) -> Iterator[Any]:
    """Those asked for, one or several different ones; None stands for all."""
    one = isinstance(asked, str) or not isinstance(asked, Sequence)
    each = known if asked is None else (asked,) if one else tuple(asked)
    if not each or len({*each}) < len(each):
        raise ValueError(f"{name} must be one or several different ones; got {asked!r}")
    for option in each:
        choice(name, option, known)
        yield option
