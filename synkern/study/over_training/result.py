"""What a series of checkpoints has shown: point by point, and in one paragraph."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern.analysis.scores import PUBLISHED
from synkern.study.numerals import interval, number, rounded, significant
from synkern.study.over_training.course import TEXTS, Course
from synkern.study.over_training.findings import findings_of
from synkern.study.over_training.measured import Point
from synkern.study.over_training.options import EmergenceOptions
from synkern.study.over_training.others import FORMAT, FORMAT_VERSION, as_stated
from synkern.study.report import called

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Emergence(Course):
    """The checkpoints of one training.

    Attributes:
        points, source, others: as in `synkern.study.over_training.course.Course`.
        notes: what else a reader has to know.
        options: as they were used.
        report: the HTML page that was written, None if none was.
    """

    notes: tuple[str, ...]
    options: EmergenceOptions
    report: Path | None = None

    def __repr__(self) -> str:
        """One line: how many checkpoints, from where to where."""
        first, last = (self.points[place].checkpoint.label for place in (0, -1))
        return f"Emergence({len(self.points)} checkpoints, {first!r} to {last!r})"

    @property
    def finding(self) -> str:
        """What came about and when, in one paragraph."""
        return findings_of(self)

    def plot(self, ranking: str = PUBLISHED) -> Figure:
        """Draw profiles by step, and the trend beside the loss.

        Args:
            ranking: one of `rankings`.

        Raises:
            ValueError: a ranking that there is not.
        """
        if ranking not in self.rankings:
            raise ValueError(f"ranking = {ranking!r}; there are {', '.join(self.rankings)}")
        figures = importlib.import_module("synkern.study.over_training.figures")
        drawn: Figure = figures.emergence_figure(self, ranking)
        return drawn

    def summary(self) -> list[str]:
        """Return in lines for a terminal what was found."""
        wide = max(len(point.checkpoint.label) for point in self.points)
        lines = [
            self.finding,
            f"{called(self.rankings[0])}: quadratic term [95 %], rank correlation of layers with "
            f"{self.source.label}, mean sts and rtr; with own and with forced text; loss",
        ]
        for point in self.points:
            cells = [_cells(self, point, text) for text in TEXTS]
            loss = "not measured" if point.loss is None else number(point.loss, 3)
            lines.append(f"  {point.checkpoint.label:{wide}}  {'  '.join(cells)}  loss {loss}")
        lines += [f"problem: {problem}" for problem in self.problems]
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON can hold them; what is not finite is null."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "options": as_stated(self.options),
            "forced_text_of": self.source.label,
            "finding": self.finding,
            "notes": list(self.notes),
            "checkpoints": [
                {
                    "label": point.checkpoint.label,
                    "step": point.checkpoint.step,
                    "model": point.checkpoint.model,
                    "loss": None if point.loss is None else rounded(point.loss),
                    "problems": list(point.problems),
                    **{text: self._numbers(point, text) for text in TEXTS},
                }
                for point in self.points
            ],
        }

    def _numbers(self, point: Point, text: str) -> dict[str, Any] | None:
        one = point.under(text)
        if one is None:
            return None
        return {
            "study": str(one.out),
            "unit": one.unit,
            **{name: rounded(getattr(one, name)) for name in SHARED},
            "rankings": {name: self._of_ranking(point, text, name) for name in one.profiles},
        }

    def _of_ranking(self, point: Point, text: str, ranking: str) -> Mapping[str, Any]:
        one = point.under(text)
        if one is None:
            return {}
        profile = one.profiles[ranking]
        layers, nodes = self.likeness(point, text, ranking)
        return {
            "quadratic_term": rounded(profile.quadratic),
            "quadratic_term_interval": [rounded(end) for end in profile.quadratic_interval],
            "quadratic_term_minmax": rounded(one.bend(ranking, "minmax")),
            "rise_interval": [rounded(end) for end in profile.rise_interval],
            "fall_interval": [rounded(end) for end in profile.fall_interval],
            "inverted_u": profile.verdict,
            "missing_share": round(profile.missing_share, 6),
            "layers_with_last": layers,
            "nodes_with_last": nodes,
            "profile": {
                name: [rounded(value) for value in curve]
                for name, curve in one.curves[ranking].items()
            },
        }


SHARED = ("synergy", "redundancy", "constant", "nearly_constant", "degenerate", "distinct")
"""What is known of a checkpoint with a text whatever the ranking; see `Measured`."""


def _cells(found: Emergence, point: Point, text: str) -> str:
    one, ranking = point.under(text), found.rankings[0]
    if one is None or ranking not in one.profiles:
        return f"{text}: not studied"
    profile = one.profiles[ranking]
    layers, _ = found.likeness(point, text, ranking)
    alike = "undefined" if layers is None else number(layers, 2, signed=True)
    verdict = " U" if profile.inverted_u else "  "
    atoms = " ".join(significant(value) for value in (one.synergy, one.redundancy))
    return (
        f"{text}: {number(profile.quadratic, 3, signed=True)} "
        f"{interval(profile.quadratic_interval, 3)}{verdict} {alike} {atoms}"
    )
