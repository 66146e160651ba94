"""The report of a study: figures as PNG files, and one HTML page that carries them along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from synkern.analysis.profile import MEANS, MISSING_TOLERATED, LayerProfile
from synkern.study import explorer
from synkern.study.experiments.experiment import Experiment
from synkern.study.folder import StudyFolder
from synkern.study.numerals import digits, interval, number, p_value, percent
from synkern.study.report.maps import is_sorted
from synkern.study.report.pages import rendered, write_figure
from synkern.study.report.words import called, of_weights, spelled
from synkern.study.settings import TRAINED
from synkern.study.stage import BASELINE, EXCESS, RAW, Drawn, Part, Results, Stage

# What the profiles of synergy itself are called on the page.
_CALLED = {RAW: "raw", EXCESS: "excess", BASELINE: "if unrelated"}


def write_report(
    folder: StudyFolder,
    results: Results,
    stages: Sequence[Stage],
    sentences: Sequence[str],
    experiments: Sequence[Experiment] = (),
) -> Path:
    """Draw the figures of a study and write `report.html`, in the place of an earlier report.

    Args:
        folder: of the study; PNG files and page go there.
        results: of the study.
        stages: all that a study can have.
        sentences: what the page begins with.
        experiments: all that can be done with one.

    Returns:
        The path of the page, which needs no other file, but links to the one to explore, beside it.
    """
    folder.remove_report(name for part in (*stages, *experiments) for name in part.pictures)
    present = [stage for stage in stages if results.facts(stage.name)]
    done = [experiment for experiment in experiments if results.facts(experiment.name)]
    profiles = results.profiles
    words = {name: value for part in (*present, *done) for name, value in part.words.items()}
    page = rendered(
        "synkern.study.report",
        "report.html.jinja",
        **words,
        name=results.name,
        explorer=explorer.FILE,
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
        p_value=p_value,
        percent=percent,
        stages={
            stage.name: {of_weights(w): facts for w, facts in results.facts(stage.name).items()}
            for stage in present
        },
        sections=[
            {
                "name": experiment.name,
                "title": experiment.title,
                "template": f"{experiment.name}.html.jinja",
                "figures": [_written(folder, *drawn) for drawn in _drawn(results, [experiment])],
            }
            for experiment in done
        ],
        experiments={one.name: results.facts(one.name)[TRAINED] for one in done},
        tolerated=MISSING_TOLERATED,
        nodes=results.words,
        ranked=[ranking for ranking in profiles[TRAINED] if ranking not in MEANS],
        spelled=spelled,
        sorted_in_maps=is_sorted(results.arrays[f"{TRAINED}_index"], results.words),
    )
    folder.write("report.html", page)
    return folder.path / "report.html"


def _drawn(results: Results, parts: Sequence[Part]) -> Iterator[tuple[Part, Drawn, str]]:
    """Every figure with its part and its weights: of all weights first, then of each model."""
    for part in parts:
        for drawn in part.figures(results):
            yield part, drawn, ""
    for weights in results.profiles:
        for part in parts:
            for drawn in part.figures_of(results, weights):
                yield part, drawn, weights


def _written(folder: StudyFolder, part: Part, drawn: Drawn, weights: str) -> dict[str, str]:
    """Write a figure; what the page needs of it."""
    return {
        "file": drawn.file,
        "data": write_figure(folder, drawn.file, drawn.figure),
        "template": f"{part.name}.html.jinja",
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
        "p": p_value(profile.shuffled_p),
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
