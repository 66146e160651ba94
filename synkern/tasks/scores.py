"""How well a model does on tasks: what was right, accuracies with intervals, and chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._checks import choice
from synkern.tasks.task import Task


@dataclass(frozen=True)
class Accuracy:
    """How many of some tasks were right.

    Attributes:
        right, count: tasks that were right, and all.
        chance: the expected share for one who chooses blindly; None where there are no choices.
    """

    right: int
    count: int
    chance: float | None

    @property
    def share(self) -> float:
        """Right ones among all, 0 to 1."""
        return self.right / self.count

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of Wilson (1927) for the share, as if the tasks were drawn independently.

        Raises:
            ValueError: the confidence is not between 0 and 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, as 0.95 is; got {confidence!r}")
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        weight = 1 + z**2 / self.count
        centre = (self.share + z**2 / (2 * self.count)) / weight
        spread = self.share * (1 - self.share) / self.count + z**2 / (4 * self.count**2)
        half = z / weight * sqrt(spread)
        # Rounding must not take an end past what is possible, or past the share itself.
        return max(0.0, min(centre - half, self.share)), min(1.0, max(centre + half, self.share))

    def __str__(self) -> str:
        """The share in percent, its interval, and chance."""
        low, high = self.interval()
        blind = "" if self.chance is None else f", chance {self.chance:.1%}"
        return f"{self.share:.1%} ({low:.1%} to {high:.1%}{blind})"


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What a model made of tasks; `str` and `repr` are a table.

    Attributes:
        tasks: in the order given.
        right: (tasks,) bool.
        method: "likelihood", "likelihood per token" or "exact match".
        log_likelihoods: by task, float64 (choices,), natural logarithm of the probability of each
            of `Task.choices` after the prompt; None for exact match, as is the next.
        tokens: by task, int64 (choices,), the tokens that these probabilities are of.
        texts: by task, what the model wrote; None for likelihoods, as are the next two.
        answers: by task, the answer found in it, None where there was none.
        truncated: (tasks,) bool, texts that had not ended when the last token was spent: wrong,
            whatever they say.
    """

    tasks: tuple[Task, ...]
    right: npt.NDArray[np.bool_]
    method: str
    log_likelihoods: tuple[npt.NDArray[np.float64], ...] | None = None
    tokens: tuple[npt.NDArray[np.int64], ...] | None = None
    texts: tuple[str, ...] | None = None
    answers: tuple[str | None, ...] | None = None
    truncated: npt.NDArray[np.bool_] | None = None

    @classmethod
    def of_likelihoods(
        cls,
        tasks: tuple[Task, ...],
        log_likelihoods: tuple[npt.NDArray[np.float64], ...],
        tokens: tuple[npt.NDArray[np.int64], ...],
    ) -> Scores:
        """Scores by the likelihood of the choices; one that ties with the answer beats it."""
        return cls(tasks, _first_is_largest(log_likelihoods), "likelihood", log_likelihoods, tokens)

    def per_token(self) -> Scores:
        """The same with each log-likelihood divided by the number of its tokens before comparing.

        A longer text is the less likely one only because it is longer; dividing takes that away,
        and favours texts of many tokens that follow from each other.

        Raises:
            ValueError: these are not scores by likelihood.
        """
        if self.log_likelihoods is None or self.tokens is None:
            raise ValueError(
                f"scores by {self.method} have no likelihoods; use tasks.likelihood_score"
            )
        means = [
            sums / tokens for sums, tokens in zip(self.log_likelihoods, self.tokens, strict=True)
        ]
        return replace(self, right=_first_is_largest(means), method="likelihood per token")

    @property
    def total(self) -> Accuracy:
        """Of all tasks together."""
        return self._of(range(len(self.tasks)))

    @property
    def accuracy(self) -> float:
        """Right ones among all, 0 to 1."""
        return self.total.share

    def by(self, what: str) -> dict[Any, Accuracy]:
        """Accuracies by "level", by "category", or by "both": keys are then (category, level).

        Raises:
            ValueError: `what` is none of these.
        """
        keys: dict[str, Callable[[Task], Any]] = {
            "level": lambda task: task.level,
            "category": lambda task: task.category,
            "both": lambda task: (task.category, task.level),
        }
        choice("what", what, tuple(keys))
        places: dict[Any, list[int]] = {}
        for place, task in enumerate(self.tasks):
            places.setdefault(keys[what](task), []).append(place)
        return {key: self._of(places[key]) for key in sorted(places, key=_in_order)}

    def _of(self, places: Iterable[int]) -> Accuracy:
        chosen = list(places)
        chance = None
        if self.log_likelihoods is not None:
            chance = float(np.mean([1 / len(self.tasks[place].choices) for place in chosen]))
        return Accuracy(int(self.right[chosen].sum()), len(chosen), chance)

    def __repr__(self) -> str:
        """A line on all tasks, and a table of percentages by category and level."""
        lines = [f"Scores of {len(self.tasks)} tasks by {self.method}: {self.total}"]
        if self.truncated is not None and self.truncated.any():
            lines[0] += f", {int(self.truncated.sum())} truncated (counted as wrong)"
        cells, levels, categories = self.by("both"), self.by("level"), self.by("category")
        width = max(len("category"), *(len(category or "none") for category in categories))
        heads = "".join(f"{_level(level):>9}" for level in levels)
        lines.append(f"  {'category':<{width}}{heads}  all")
        for category, accuracy in categories.items():
            row = (cells.get((category, level)) for level in levels)
            shares = "".join(f"{'' if each is None else f'{each.share:.1%}':>9}" for each in row)
            lines.append(f"  {category or 'none':<{width}}{shares}  {accuracy}")
        shares = "".join(f"{each.share:>9.1%}" for each in levels.values())
        lines.append(f"  {'all':<{width}}{shares}")
        return "\n".join(lines)


def _first_is_largest(values: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.bool_]:
    return np.array([each[0] > each[1:].max() for each in values], dtype=bool)


def _in_order(key: Any) -> tuple[Any, ...]:
    """A level, a category or both, to sort by: levels by number, those without one last."""
    each = key if isinstance(key, tuple) else (key,)
    return tuple(inf if part is None else part for part in each)


def _level(level: int | None) -> str:
    return "no level" if level is None else f"level {level}"
