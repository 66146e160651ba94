"""The checkpoints of one training side by side, whatever is then said or drawn of them."""

from __future__ import annotations

from dataclasses import dataclass

from synkern.analysis.scores import RANKINGS
from synkern.study.over_training.checkpoints import Checkpoint
from synkern.study.over_training.measured import Measured, Point
from synkern.study.over_training.others import Other


@dataclass(frozen=True, eq=False, repr=False)
class Course:
    """What was found of the checkpoints of one training, and of others that stand beside.

    Attributes:
        points: of every checkpoint, in the order of training.
        source: the checkpoint whose answers the forced text is: the last that could be studied.
        others: other trainings, such as other seeds.
    """

    points: tuple[Point, ...]
    source: Checkpoint
    others: tuple[Other, ...]

    @property
    def rankings(self) -> tuple[str, ...]:
        """The rankings that some checkpoint has a profile by, the published one first."""
        known = {name for point in self.points for one in _studied(point) for name in one.profiles}
        return tuple(ranking for ranking in RANKINGS if ranking in known)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why something is missing, of all checkpoints."""
        return tuple(problem for point in self.points for problem in point.problems)

    def last(self, text: str) -> Measured | None:
        """What the others are compared with under a text: the checkpoint that the text is from."""
        (point,) = [point for point in self.points if point.checkpoint == self.source]
        return point.under(text)

    def likeness(self, point: Point, text: str, ranking: str) -> tuple[float | None, float | None]:
        """Spearman's correlation with the last checkpoint, over layers and over nodes."""
        one, last = point.under(text), self.last(text)
        if one is None or last is None or not {ranking} <= {*one.profiles} & {*last.profiles}:
            return None, None
        return one.likeness(last, ranking)


def _studied(point: Point) -> list[Measured]:
    return [one for one in (point.own, point.forced) if one is not None]
