"""The report of a study: figures as PNG files, and one HTML page that carries them along."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from synkern.analysis.profile import MEANS, MISSING_TOLERATED, LayerProfile
from synkern.study.folder import StudyFolder
from synkern.study.numerals import digits, interval, number, percent
from synkern.study.report.drawing import STYLE
from synkern.study.report.maps import is_sorted
from synkern.study.report.words import called, of_weights, spelled
from synkern.study.settings import TRAINED
from synkern.study.stage import BASELINE, EXCESS, RAW, Drawn, Results, Stage

# What the profiles of synergy itself are called on the page.
_CALLED = {RAW: "raw", EXCESS: "excess", BASELINE: "if unrelated"}


def write_report(
    folder: StudyFolder, results: Results, stages: Sequence[Stage], sentences: Sequence[str]
) -> Path:
    """Draw the figures of a study and write `report.html`, in the place of an earlier report.

    Args:
        folder: of the study; PNG files and page go there.
        results: of the study.
        stages: all that a study can have.
        sentences: what the page begins with.

    Returns:
        The path of the page, which needs no other file.
    """
    folder.remove_report(name for stage in stages for name in stage.pictures)
    present = [stage for stage in stages if results.facts(stage.name)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synkern.study.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    profiles = results.profiles
    page = environment.get_template("report.html.jinja").render(
        {name: value for stage in present for name, value in stage.words.items()},
        name=results.name,
        findings=sentences,
        study=results.description,
        figures=[_written(folder, *drawn) for drawn in _drawn(results, present)],
        rankings=[
            _row(weights, profile)
            for weights, by_ranking in profiles.items()
            for ranking, profile in by_ranking.items()
            if ranking not in MEANS
        ],
        means=[
            _row(weights, profile, decimals)
            for weights, by_ranking in profiles.items()
            for group in [[p for mean, p in by_ranking.items() if mean in MEANS]]
            for decimals in [digits(*(end for p in group for end in p.quadratic_interval))]
            for profile in group
        ],
        number=number,
        levels={of_weights(w): _levels(by_ranking) for w, by_ranking in profiles.items()},
        percent=percent,
        stages={
            stage.name: {of_weights(w): facts for w, facts in results.facts(stage.name).items()}
            for stage in present
        },
        tolerated=MISSING_TOLERATED,
        nodes=results.words,
        ranked=[ranking for ranking in profiles[TRAINED] if ranking not in MEANS],
        spelled=spelled,
        sorted_in_maps=is_sorted(results.arrays[f"{TRAINED}_index"], results.words),
    )
    folder.write("report.html", page)
    return folder.path / "report.html"


def _drawn(results: Results, stages: Sequence[Stage]) -> Iterator[tuple[Stage, Drawn, str]]:
    """Every figure with its stage and its weights: of all weights first, then of each model."""
    for stage in stages:
        for drawn in stage.figures(results):
            yield stage, drawn, ""
    for weights in results.profiles:
        for stage in stages:
            for drawn in stage.figures_of(results, weights):
                yield stage, drawn, weights


def _written(folder: StudyFolder, stage: Stage, drawn: Drawn, weights: str) -> dict[str, str]:
    """Write a figure; what the page needs of it."""
    png = _png(drawn.figure)
    folder.write(drawn.file, png)
    return {
        "file": drawn.file,
        "data": base64.b64encode(png).decode("ascii"),
        "template": f"{stage.name}.html.jinja",
        "topic": drawn.topic,
        "weights": of_weights(weights) if weights else "",
    }


def _row(weights: str, profile: LayerProfile, decimals: int = 3) -> dict[str, str]:
    slopes = max(2, decimals - 1)
    return {
        "weights": weights,
        "ranking": _CALLED.get(profile.ranking, called(profile.ranking)),
        "level": number(float(np.nanmean(profile.scores)), decimals, signed=True),
        "quadratic": f"{number(profile.quadratic, decimals, signed=True)} "
        + interval(profile.quadratic_interval, decimals),
        "vertex": f"{number(profile.vertex, 2)} " + interval(profile.vertex_interval, signed=False),
        "rise": interval(profile.rise_interval, slopes),
        "fall": interval(profile.fall_interval, slopes),
        "p": f"{profile.shuffled_p:.3f}" if profile.shuffled_p >= 0.0005 else "< 0.001",
        "inverted_u": ("yes" if profile.inverted_u else "no") if profile.complete else "incomplete",
        "missing": percent(profile.missing_share),
        "top": ", ".join(map(str, profile.top_layers())),
    }


def _levels(profiles: Mapping[str, LayerProfile]) -> dict[str, dict[str, str]]:
    """Mean over the nodes and quadratic term of synergy itself, in words for the page."""
    out = {}
    for mean in MEANS:
        if mean in profiles:
            level = float(np.nanmean(profiles[mean].scores))
            bend = profiles[mean].quadratic
            out[mean] = {
                "mean": number(level, digits(level), signed=True),
                "bend": number(bend, digits(bend), signed=True),
            }
    return out


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):  # ticks and their labels come about here
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
