"""The page of a series of checkpoints: one HTML file with its figures, and the numbers beside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from synkern.study.folder import StudyFolder
from synkern.study.numerals import interval, number, percent, significant
from synkern.study.over_training.course import TEXTS
from synkern.study.over_training.figures import emergence_figure
from synkern.study.over_training.findings import ALIKE
from synkern.study.over_training.measured import NEARLY, Point
from synkern.study.over_training.others import NUMBERS, Other
from synkern.study.over_training.result import Emergence
from synkern.study.published import published
from synkern.study.report import called, verdict
from synkern.study.report.pages import rendered, write_figure, write_numbers

PAGE = "emergence.html"


def write_page(found: Emergence, out: Path) -> Path:
    """Write `emergence.html`, `emergence.json` and the figures, each in one step.

    Returns:
        The path of the page, which needs no other file, and links to those of the studies.
    """
    folder = StudyFolder(out)
    figures = {
        ranking: write_figure(folder, f"emergence_{ranking}.png", emergence_figure(found, ranking))
        for ranking in found.rankings
    }
    page = rendered(
        "synkern.study.over_training",
        "emergence.html.jinja",
        finding=found.finding,
        source=found.source,
        points=[_point(point) for point in found.points],
        sections=[
            {
                "called": called(ranking),
                "figure": figures[ranking],
                "rows": [_row(found, point, ranking) for point in found.points],
                "others": [_other(other, ranking) for other in found.others],
            }
            for ranking in found.rankings
        ],
        published=[_published(row) for row in published("emergence")["rows"]],
        told=published("emergence"),
        problems=found.problems,
        notes=found.notes,
        others=found.others,
        options=found.options,
        texts=TEXTS,
        alike=ALIKE,
        nearly=percent(NEARLY),
    )
    write_numbers(folder, NUMBERS, found.as_json())
    folder.write(PAGE, page)
    return out / PAGE


def _point(point: Point) -> dict[str, Any]:
    """What does not depend on a ranking."""
    cells: dict[str, Any] = {}
    for text in TEXTS:
        one = point.under(text)
        cells[text] = (
            None
            if one is None
            else {
                "atoms": [significant(v) for v in (one.synergy, one.redundancy)],
                "unit": one.unit,
                "constant": percent(one.constant),
                "nearly": percent(one.nearly_constant),
                "degenerate": percent(one.degenerate),
                "distinct": percent(one.distinct),
                "link": f"{text}/{point.checkpoint.folder}/report.html",
            }
        )
    return {
        "label": point.checkpoint.label,
        "model": point.checkpoint.model,
        "loss": "not measured" if point.loss is None else number(point.loss, 3),
        "cells": cells,
    }


def _row(found: Emergence, point: Point, ranking: str) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for text in TEXTS:
        one = point.under(text)
        if one is None or ranking not in one.profiles:
            cells[text] = None
            continue
        profile = one.profiles[ranking]
        cells[text] = {
            "quadratic": f"{number(profile.quadratic, 3, signed=True)} "
            + interval(profile.quadratic_interval, 3),
            "minmax": _or_undefined(one.bend(ranking, "minmax")),
            "rise": interval(profile.rise_interval),
            "fall": interval(profile.fall_interval),
            "verdict": verdict(profile.verdict),
            "alike": [_or_undefined(v) for v in found.likeness(point, text, ranking)],
        }
    return {"label": point.checkpoint.label, "cells": cells}


def _other(other: Other, ranking: str) -> dict[str, Any]:
    """The end of another training, by a ranking."""
    cells: dict[str, Any] = {}
    for text in TEXTS:
        end = other.end(text, ranking)
        if end is None:
            cells[text] = None
            continue
        label, profile = end
        low, high = (math.nan if v is None else v for v in profile["quadratic_term_interval"])
        cells[text] = {
            "label": label,
            "quadratic": f"{number(profile['quadratic_term'], 3, signed=True)} "
            + interval((low, high), 3),
            "minmax": _or_undefined(profile["quadratic_term_minmax"]),
            "verdict": verdict(profile["inverted_u"]),
        }
    loss = other.losses[-1]
    return {
        "name": other.name,
        "loss": "not measured" if loss is None else number(loss, 3),
        "cells": cells,
    }


def _or_undefined(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else number(value, 2, signed=True)


def _published(row: dict[str, Any]) -> dict[str, str]:
    """A row of the published trend, ranges where several steps are told together."""

    def said(ends: list[float], decimals: int) -> str:
        low, high = (number(end, decimals, signed=decimals > 0) for end in ends)
        return low if low == high else f"{low} to {high}"

    return {
        "steps": said(row["steps"], 0),
        "bend": said(row["quadratic_term"], 2),
        "alike": said(row["spearman"], 2),
    }
