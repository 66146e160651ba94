"""The report of a study: figures as PNG files, and one HTML page that carries them along."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synkern.analysis.profile import MEANS, MISSING_TOLERATED, LayerProfile
from synkern.analysis.scores import mean_over_pairs
from synkern.study.folder import StudyFolder
from synkern.study.numerals import digits as _digits
from synkern.study.numerals import interval as _interval
from synkern.study.numerals import number as _number
from synkern.study.numerals import percent as _percent
from synkern.study.report.figures import (
    STYLE,
    excess_matrices,
    head_maps,
    layer_profile_curves,
    null_curves,
    pair_matrices,
    synergy_curves,
)
from synkern.study.report.findings import called, findings
from synkern.study.stages.analysis import BASELINE, EXCESS, FALSE_DISCOVERIES, RAW

FALSE_POSITIVES = {
    "cross_trial": (".052 / .054", ".052 / .055"),
    "row_shift": (".050 / .054", ".130 / .128"),
    "circular": (".188 / .054", ".721 / .143"),
    "block": (".964 / .072", "1.00 / .807"),
    "phase": (".189 / .051", ".726 / .146"),
}
"""Shares of unrelated pairs with p <= 0.05, sts / rtr, for AR(1) nodes of coefficient 0.5 and of
0.97, mean of ten trials: the table in `synkern.analysis.nulls`."""

Floats = NDArray[np.float64]

# What the profiles of synergy itself are called on the page.
_CALLED = {RAW: "raw", EXCESS: "excess", BASELINE: "if unrelated"}


def write_report(
    folder: StudyFolder,
    description: Mapping[str, Any],
    profiles: Mapping[str, Mapping[str, LayerProfile]],
) -> Path:
    """Draw the figures of a study and write `report.html`, in the place of an earlier report.

    Args:
        folder: of the study, with its arrays; PNG files and page go there.
        description: what study.json holds.
        profiles: by weights, then by ranking.

    Returns:
        The path of the page, which needs no other file.
    """
    model = description["parameters"]["model"]
    name = Path(model).name or model
    recordings = _stages(description, "recording", profiles)
    analyses = _stages(description, "analysis", profiles)
    tested = description["parameters"]["null"] != "none"
    tests = _stages(description, "null", profiles) if tested else {}
    folder.remove_report()
    figures = []
    for drawn in _figures(folder.arrays, name, profiles, analyses, tests):
        png = _png(drawn.figure)
        folder.write(drawn.file, png)
        figures.append(
            {
                "file": drawn.file,
                "data": base64.b64encode(png).decode("ascii"),
                "topic": drawn.topic,
                "weights": drawn.weights,
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("synkern.study.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        name=name,
        findings=findings(description, profiles),
        study=description,
        figures=figures,
        rankings=[
            _row(weights, profile)
            for weights, by_ranking in profiles.items()
            for ranking, profile in by_ranking.items()
            if ranking not in MEANS
        ],
        means=[
            _row(weights, profile, digits)
            for weights, by_ranking in profiles.items()
            for group in [[p for mean, p in by_ranking.items() if mean in MEANS]]
            for digits in [_digits(*(end for p in group for end in p.quadratic_interval))]
            for profile in group
        ],
        number=_number,
        levels={_weights(w): _levels(by_ranking) for w, by_ranking in profiles.items()},
        percent=_percent,
        recordings=recordings,
        analyses=analyses,
        tests=tests,
        threshold=FALSE_DISCOVERIES,
        tolerated=MISSING_TOLERATED,
        false_positives=FALSE_POSITIVES,
    )
    folder.write("report.html", page)
    return folder.path / "report.html"


class _Drawn(NamedTuple):
    """A figure, the file it goes to, and the paragraph of the page that goes with it."""

    file: str
    figure: Figure
    topic: str
    weights: str | None = None


def _figures(
    arrays: Mapping[str, Any],
    name: str,
    profiles: Mapping[str, Mapping[str, LayerProfile]],
    analyses: Mapping[str, Any],
    tests: Mapping[str, Any],
) -> Iterator[_Drawn]:
    unit = next(iter(analyses.values()))["unit"]
    titled = {_weights(weights): by_ranking for weights, by_ranking in profiles.items()}
    figure = layer_profile_curves(titled, f"{name}: layer profiles of three rankings")
    yield _Drawn("profiles.png", figure, "profiles")

    referenced = {
        weights: arrays[f"{weights}_excess_trials"] / analyses[_weights(weights)]["trials"]
        for weights, by_ranking in profiles.items()
        if EXCESS in by_ranking
    }
    missing = {
        _weights(weights): _missing_by_layer(share, arrays[f"{weights}_layer"])
        for weights, share in referenced.items()
    }
    figure = synergy_curves(titled, missing, f"{name}: synergy over depth", unit)
    yield _Drawn("synergy.png", figure, "synergy")

    if tests:
        atoms = {
            _weights(weights): {
                atom: {key: arrays[f"{weights}_null_{atom}_{key}"] for key in "pqz"}
                for atom in ("sts", "rtr")
            }
            for weights in profiles
        }
        layer = next(arrays[f"{weights}_layer"] for weights in profiles)
        null = next(iter(tests.values()))["null"]
        figure = null_curves(atoms, layer, FALSE_DISCOVERIES, f"{name}: against null {null!r}")
        yield _Drawn("null.png", figure, "null")

    for weights, by_ranking in profiles.items():
        layer, head = arrays[f"{weights}_layer"], arrays[f"{weights}_head"]
        said = _weights(weights)
        scores = {r: profile.scores for r, profile in by_ranking.items() if r not in MEANS}
        figure = head_maps(scores, layer, head, f"{name}, {said}: score of every head", unit)
        yield _Drawn(f"heads_{weights}.png", figure, "heads", said)
        sts, rtr = arrays[f"{weights}_sts"], arrays[f"{weights}_rtr"]
        title = f"{name}, {said}: synergy and redundancy of all pairs of heads"
        figure = pair_matrices(sts, rtr, layer, title, unit)
        yield _Drawn(f"pairs_{weights}.png", figure, "pairs", said)
        if weights in referenced:
            share = referenced[weights]
            excess = arrays[f"{weights}_excess_sts"]
            known = np.where(share >= 1 - MISSING_TOLERATED, excess, np.nan)
            title = f"{name}, {said}: synergy of all pairs beyond persistence"
            figure = excess_matrices(known, _without_diagonal(share), layer, title, unit)
            yield _Drawn(f"excess_{weights}.png", figure, "excess", said)


def _missing_by_layer(referenced: Floats, layer: NDArray[np.int64]) -> Floats:
    """(layers,) share of the (trial, pair) of a layer's nodes that have no reference."""
    by_node = 1 - mean_over_pairs(_without_diagonal(referenced))
    return np.array([by_node[layer == one].mean() for one in np.unique(layer)])


def _without_diagonal(matrix: Floats) -> Floats:
    return np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)


def _row(weights: str, profile: LayerProfile, digits: int = 3) -> dict[str, str]:
    slopes = max(2, digits - 1)
    return {
        "weights": weights,
        "ranking": _CALLED.get(profile.ranking, called(profile.ranking)),
        "level": _number(float(np.nanmean(profile.scores)), digits, signed=True),
        "quadratic": f"{_number(profile.quadratic, digits, signed=True)} "
        + _interval(profile.quadratic_interval, digits),
        "vertex": f"{_number(profile.vertex, 2)} "
        + _interval(profile.vertex_interval, signed=False),
        "rise": _interval(profile.rise_interval, slopes),
        "fall": _interval(profile.fall_interval, slopes),
        "p": f"{profile.shuffled_p:.3f}" if profile.shuffled_p >= 0.0005 else "< 0.001",
        "inverted_u": ("yes" if profile.inverted_u else "no") if profile.complete else "incomplete",
        "missing": _percent(profile.missing_share),
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
                "mean": _number(level, _digits(level), signed=True),
                "bend": _number(bend, _digits(bend), signed=True),
            }
    return out


def _stages(
    description: Mapping[str, Any], kind: str, profiles: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The stages of one kind, by what their weights are called."""
    return {_weights(w): description["stages"][f"{kind} ({w})"] for w in profiles}


def _weights(weights: str) -> str:
    return f"{weights} weights"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):  # ticks and their labels come about here
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
