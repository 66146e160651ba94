"""What a comparison has found: profiles, similarities, tests, differences."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern.analysis.comparison import DepthProfile, Similarity
from synkern.analysis.scores import RANKINGS
from synkern.study.comparison.by_ranking import ByRanking
from synkern.study.comparison.member import Member
from synkern.study.comparison.options import CompareOptions
from synkern.study.numerals import interval, number, rounded
from synkern.study.report import called, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of more profiles, pairs are shown as a table instead of by line.
_LISTED = 4


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Several models side by side.

    Attributes:
        members: what is compared, in order: `name`, `about`, `profiles`, `tests` and more of each.
        rankings: by ranking, first `mean_difference`, the one that published figures show.
        differences: in what the members differ beside their models, a sentence each.
        unknown: in what members may differ as well, since it was not published.
        notes: what else a reader has to know.
        options: as they were used.
        report: the HTML page that was written, None if none was.
    """

    members: tuple[Member, ...]
    rankings: Mapping[str, ByRanking]
    differences: tuple[str, ...]
    unknown: tuple[str, ...]
    notes: tuple[str, ...]
    options: CompareOptions
    report: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the members."""
        return tuple(member.name for member in self.members)

    def __repr__(self) -> str:
        """A table: the similarities by the first ranking, below the diagonal p."""
        first = next(iter(self.rankings.values()))
        lines = [
            f"Comparison of {len(self.members)} by {first.ranking}, {first.normalisation}: "
            "Spearman above, p below the diagonal"
        ]
        if first.similarity is not None:
            lines += table(first.similarity)
        if self.differences:
            lines.append(f"differing in {', '.join(d.partition(':')[0] for d in self.differences)}")
        return "\n".join(lines)

    def plot(self, ranking: str = RANKINGS[0]) -> Figure:
        """Draw the profiles under every normalisation and their similarities.

        Args:
            ranking: one of those that the comparison has.

        Raises:
            ValueError: a ranking that it does not have.
        """
        if ranking not in self.rankings:
            raise ValueError(
                f"ranking = {ranking!r}; the comparison has {', '.join(self.rankings)}"
            )
        figures = importlib.import_module("synkern.study.comparison.figures")
        drawn: Figure = figures.comparison_figure(self.rankings[ranking], self.options.points)
        return drawn

    def summary(self) -> list[str]:
        """Return in lines for a terminal what was found."""
        lines = []
        for compared in self.rankings.values():
            lines += _lines(compared, self.members)
        lines += [f"differing: {said}" for said in self.differences]
        lines += [f"unknown: {said}" for said in self.unknown]
        return [*lines, *(f"note: {note}" for note in self.notes)]

    def as_json(self) -> dict[str, Any]:
        """Return all numbers as JSON can hold them; what is not finite is null."""
        return {
            "format": "synkern comparison",
            "format_version": 1,
            "options": {
                name: getattr(self.options, name)
                for name in ("points", "bootstrap", "surrogates", "seed", "control")
            },
            "members": [
                {
                    "name": m.name,
                    "model": m.model,
                    "source": m.source,
                    "layers": m.layers,
                    "nodes": m.nodes,
                    "about": dict(m.about),
                }
                for m in self.members
            ],
            "differences": list(self.differences),
            "unknown": list(self.unknown),
            "notes": list(self.notes),
            "rankings": {name: _as_json(one) for name, one in self.rankings.items()},
        }


def table(similarity: Similarity) -> list[str]:
    """Lines of a table: Spearman above the diagonal, p below, reliability on it."""
    names = similarity.names
    wide = max(len(name) for name in names)
    heads = [f"{place + 1}" for place in range(len(names))]
    lines = [" " * (wide + 4) + "".join(f"{head:>9}" for head in heads)]
    for row, name in enumerate(names):
        cells = []
        for column in range(len(names)):
            if row < column:
                cells.append(number(similarity.spearman[row, column], 2, signed=True))
            elif row > column:
                cells.append(f"p {similarity.p[row, column]:.3f}")
            else:
                own = similarity.reliability[row]
                cells.append(f"({own:.2f})" if math.isfinite(own) else "")
        lines.append(f"{row + 1:>2} {name:{wide}} " + "".join(f"{cell:>9}" for cell in cells))
    return lines


def _lines(compared: ByRanking, members: Sequence[Member]) -> list[str]:
    at, similarity = compared.normalisation, compared.similarity
    lines = [f"{called(compared.ranking)}, {at}: quadratic term over depth (95 % over prompts)"]
    tests = {member.name: member.tests.get(compared.ranking) for member in members}
    for profile in compared.profiles:
        bend, ends = profile.bend(at)
        test = tests[profile.name]
        said = "published" if test is None else verdict(test.verdict)
        between = "" if math.isnan(ends[0]) else f" {interval(ends)}"
        lines.append(
            f"  {profile.name}: {len(profile.layers)} layers, "
            f"{number(bend, 2, signed=True)}{between}, {said}{_reliability(similarity, profile)}"
        )
    if similarity is None:
        return lines
    if len(similarity.names) > _LISTED:
        head = (
            "  Spearman above the diagonal, p against profiles as smooth below, reliability on it:"
        )
        return [*lines, head, *(f"  {line}" for line in table(similarity))]
    lines.append("  Spearman of two profiles [95 % over prompts], p against profiles as smooth:")
    for a, b in combinations(range(len(similarity.names)), 2):
        ends = similarity.lower[a, b], similarity.upper[a, b]
        between = "" if math.isnan(ends[0]) else f" {interval(ends)}"
        lines.append(
            f"  {similarity.names[a]} ~ {similarity.names[b]}: "
            f"{number(similarity.spearman[a, b], 2, signed=True)}{between}, "
            f"p = {similarity.p[a, b]:.3g}"
        )
    return lines


def _reliability(similarity: Similarity | None, profile: DepthProfile) -> str:
    if similarity is None or not profile.halves:
        return ""
    own = similarity.reliability[similarity.names.index(profile.name)]
    return f", split-half reliability {number(float(own), 2)}"


def _as_json(compared: ByRanking) -> dict[str, Any]:
    return {
        "normalisation": compared.normalisation,
        "profiles": {p.name: _of_profile(p, compared.normalisation) for p in compared.profiles},
        "similarities": {n: _numbers(one) for n, one in compared.similarities.items()},
    }


def _of_profile(profile: DepthProfile, normalisation: str) -> dict[str, Any]:
    bend, ends = profile.bend(normalisation)
    return {
        "layers": profile.layers.tolist(),
        "depth": [rounded(value) for value in profile.depth],
        **{name: [rounded(value) for value in row] for name, row in profile.values.items()},
        "quadratic_term": rounded(bend),
        "quadratic_term_interval": [rounded(end) for end in ends],
    }


def _numbers(similarity: Similarity) -> dict[str, Any]:
    matrices = ("spearman", "lower", "upper", "p")
    return {
        "names": list(similarity.names),
        "points": similarity.points,
        "surrogates": similarity.surrogates,
        "confidence": similarity.confidence,
        **{n: [[rounded(v) for v in row] for row in getattr(similarity, n)] for n in matrices},
        "reliability": [rounded(v) for v in similarity.reliability],
        "failed_draws": similarity.failed_draws.tolist(),
    }
