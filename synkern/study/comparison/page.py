"""The page of a comparison: one HTML file that carries its figures along, and the numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from synkern.analysis import LayerProfile
from synkern.analysis.comparison import DepthProfile, Similarity
from synkern.analysis.normalisation import NORMALISATIONS
from synkern.study.comparison.by_ranking import ByRanking
from synkern.study.comparison.checking import made, writing
from synkern.study.comparison.differences import shared
from synkern.study.comparison.figures import comparison_figure
from synkern.study.comparison.findings import findings_of
from synkern.study.comparison.member import Member
from synkern.study.comparison.result import Comparison
from synkern.study.folder import StudyFolder
from synkern.study.numerals import interval, number, p_value
from synkern.study.report import called, verdict
from synkern.study.report.pages import rendered, write_figure, write_numbers

PAGE, NUMBERS = "comparison.html", "comparison.json"


def write_page(compared: Comparison, out: Path) -> Path:
    """Write `comparison.html`, `comparison.json` and the figures, each in one step.

    Args:
        compared: what is shown.
        out: the folder, made if missing.

    Returns:
        The path of the page, which needs no other file.

    Raises:
        StudyError: the folder or a file cannot be written.
    """
    with made(out, kept=True):
        _write(compared, StudyFolder(out))
    return out / PAGE


def _write(compared: Comparison, folder: StudyFolder) -> None:
    figures = {}
    for ranking, one in compared.rankings.items():
        file = f"comparison_{ranking}.png"
        figure = comparison_figure(one, compared.options.points)
        with writing(folder.path / file):
            figures[ranking] = write_figure(folder, file, figure)
    page = rendered(
        "synkern.study.comparison",
        "comparison.html.jinja",
        names=compared.names,
        findings=findings_of(compared),
        members=compared.members,
        differing=_differing(compared.members),
        shared=shared(compared.members),
        rankings=[_section(one, compared, figures[r]) for r, one in compared.rankings.items()],
        differences=compared.differences,
        unknown=compared.unknown,
        notes=compared.notes,
        options=compared.options,
        normalisations=NORMALISATIONS,
        published=[member for member in compared.members if member.published],
    )
    with writing(folder.path / NUMBERS):
        write_numbers(folder, NUMBERS, compared.as_json())
    with writing(folder.path / PAGE):
        folder.write(PAGE, page)


def _differing(members: tuple[Member, ...]) -> list[str]:
    """What is not known to be the same in all."""
    return [what for what in members[0].about if what not in shared(members)]


def _section(one: ByRanking, compared: Comparison, figure: str) -> dict[str, Any]:
    tests = {member.name: member.tests.get(one.ranking) for member in compared.members}
    similarity = one.similarity
    return {
        "ranking": one.ranking,
        "called": called(one.ranking),
        "normalisation": one.normalisation,
        "figure": figure,
        "tests": [_test(profile, one, tests[profile.name]) for profile in one.profiles],
        "similarity": None if similarity is None else _matrix(similarity),
        "others": [
            _matrix(other)
            for normalisation, other in one.similarities.items()
            # It is a straight line of node_quantile: the same numbers once more.
            if normalisation not in (one.normalisation, "minmax")
        ],
    }


def _test(profile: DepthProfile, one: ByRanking, test: LayerProfile | None) -> dict[str, str]:
    bend, ends = profile.bend(one.normalisation)
    peak = profile.depth[profile.values[one.normalisation].argmax()]
    row = {
        "name": profile.name,
        "layers": str(len(profile.layers)),
        "bend": number(bend, 3, signed=True)
        + ("" if math.isnan(ends[0]) else f" {interval(ends, 3)}"),
        "peak": number(float(peak), 2),
    }
    if test is None:
        absent = "no prompts"
        return row | {"quadratic": absent, "rise": "", "fall": "", "p": "", "verdict": "published"}
    return row | {
        "quadratic": f"{number(test.quadratic, 3, signed=True)} "
        + interval(test.quadratic_interval, 3),
        "rise": interval(test.rise_interval),
        "fall": interval(test.fall_interval),
        "p": p_value(test.shuffled_p),
        "verdict": verdict(test.verdict),
    }


def _matrix(similarity: Similarity) -> dict[str, Any]:
    size = range(len(similarity.names))
    return {
        "normalisation": similarity.normalisation,
        "names": similarity.names,
        "smallest": f"{similarity.smallest_p:.2g}",
        "rows": [[_cell(similarity, row, column) for column in size] for row in size],
    }


def _cell(similarity: Similarity, row: int, column: int) -> dict[str, str]:
    """Above the diagonal similarity and interval, on it reliability, below it p."""
    if row == column:
        own = similarity.reliability[row]
        return {"text": "" if math.isnan(own) else f"({number(own, 2)})", "of": "own"}
    if row > column:
        p = similarity.p[row, column]
        return {"text": f"p = {p:.3f}" if p >= 0.0005 else "p < 0.001", "of": "p"}
    ends = similarity.lower[row, column], similarity.upper[row, column]
    between = "" if math.isnan(ends[0]) else f" {interval(ends)}"
    said = number(similarity.spearman[row, column], 2, signed=True)
    return {"text": f"{said}{between}", "of": "spearman"}
