"""The reward of answers that a model has drawn, and how many of them can teach it anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synkern.tasks import Task, found_answer, same_answer
from synkern.tasks.answers import has_ended
from synkern.training.tuning.method import FORMAT


class Reward:
    """A reward function of trl: 1 for a right answer, and `FORMAT` for one that ends and is there.

    A text that has not ended when its last token is spent has neither, whatever it says, as in
    `synkern.tasks.exact_match`.

    Attributes:
        groups: of answers to one problem, so far.
        silent: those of them whose rewards are all equal, which give no gradient.
    """

    __name__ = "reward"  # which trl asks functions for

    def __init__(
        self, tasks: Sequence[Task], ends: Sequence[int], stop: Sequence[str], generations: int
    ) -> None:
        """Know the tasks by place, and what ends an answer; nothing has been rewarded yet."""
        self._tasks, self._ends, self._stop = tuple(tasks), frozenset(ends), tuple(stop)
        self._generations = generations
        self.groups = self.silent = 0

    def __call__(
        self,
        *,
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        place: Sequence[int],
        **_: Any,
    ) -> list[float]:
        """Reward answers, those to one problem side by side."""
        found = [
            self._of(self._tasks[where], text, ids)
            for text, ids, where in zip(completions, completion_ids, place, strict=True)
        ]
        for first in range(0, len(found), self._generations):
            group = found[first : first + self._generations]
            self.groups += 1
            self.silent += len({*group}) == 1
        return found

    def _of(self, task: Task, text: str, ids: Sequence[int]) -> float:
        stops = [where for string in self._stop if (where := text.find(string)) >= 0]
        said = text[: min(stops)] if stops else text
        ended = bool(stops) or (len(ids) > 0 and ids[-1] in self._ends) or has_ended(said, task)
        answer = found_answer(said, task) if ended else None
        if answer is None:
            return 0.0
        return FORMAT + same_answer(answer, task.answer, task)
