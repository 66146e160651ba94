"""Random choices that are the same on every platform and in every version of Python."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Draft:
    """A task in the making.

    Attributes:
        prompt, answer: as in `Task`.
        wrong: wrong answers, the best ones first; more than are needed, and some may be unfit.
    """

    prompt: str
    answer: str
    wrong: tuple[str, ...]


class Draws:
    """A stream of random choices.

    Of all that `random.Random` does, Python promises only `random()` to stay the same for a seed,
    so that everything here is made of that.
    """

    def __init__(self, seed: int) -> None:
        """Begin the stream of this seed, a whole number that is not negative."""
        self._random = random.Random(seed).random

    def below(self, end: int) -> int:
        """A whole number from 0 to end - 1."""
        return int(self._random() * end)

    def between(self, first: int, last: int) -> int:
        """A whole number from first to last, both possible."""
        return first + self.below(last - first + 1)

    def one(self, options: Sequence[T]) -> T:
        """One of some options."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order (Fisher and Yates)."""
        mixed = list(options)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different ones of some options."""
        return self.shuffled(options)[:count]
