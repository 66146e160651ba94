"""The report of a study: figures as PNG files, and one HTML page that carries them along."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from synkern.figures import head_maps, layer_profile_curves, pair_matrices
from synkern.profile import LayerProfile
from synkern.study_folder import StudyFolder


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
    arrays = folder.arrays
    model = description["parameters"]["model"]
    name = Path(model).name or model
    drawn: dict[str, tuple[Figure, str]] = {}
    named = {_weights(weights): by_ranking for weights, by_ranking in profiles.items()}
    drawn["profiles.png"] = (
        layer_profile_curves(named, f"{name}: layer profiles of three rankings"),
        "Score of the heads by three rankings, scaled to 0 … 1 over all heads and averaged within "
        "each layer. Thin lines with markers: layer means; bands: 95 % bootstrap intervals over "
        "prompts; thick lines: fitted parabolas.",
    )
    for weights, by_ranking in profiles.items():
        layer, head = arrays[f"{weights}_layer"], arrays[f"{weights}_head"]
        scores = {ranking: profile.scores for ranking, profile in by_ranking.items()}
        drawn[f"heads_{weights}.png"] = (
            head_maps(scores, layer, head, f"{name}, {_weights(weights)}: score of every head"),
            f"Score of every head by each ranking, {_weights(weights)}; the colour scale differs "
            "from panel to panel.",
        )
        drawn[f"pairs_{weights}.png"] = (
            pair_matrices(
                arrays[f"{weights}_sts"],
                arrays[f"{weights}_rtr"],
                layer,
                f"{name}, {_weights(weights)}: synergy and redundancy of all pairs of heads",
            ),
            f"All pairs of heads in order of layer, {_weights(weights)}, averaged over prompts. "
            "Lines separate layers; a colour bar with a tip is cut at the 99.5th percentile; pairs "
            "without a value are grey.",
        )
    folder.remove_report()
    figures = []
    for file, (figure, caption) in drawn.items():
        png = _png(figure)
        folder.write(file, png)
        figures.append(
            {"file": file, "data": base64.b64encode(png).decode("ascii"), "caption": caption}
        )
    template = resources.files("synkern.data").joinpath("report.html.jinja")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        name=name,
        study=description,
        figures=figures,
        rows=[
            _row(weights, profile)
            for weights, by_ranking in profiles.items()
            for profile in by_ranking.values()
        ],
        number=_number,
        recordings=_stages(description, "recording", profiles),
        analyses=_stages(description, "analysis", profiles),
    )
    folder.write("report.html", page)
    return folder.path / "report.html"


def _row(weights: str, profile: LayerProfile) -> dict[str, str]:
    return {
        "weights": weights,
        "ranking": profile.ranking.replace("_", " "),
        "quadratic": f"{_number(profile.quadratic, 3, signed=True)} "
        + _interval(profile.quadratic_interval, 3),
        "vertex": f"{_number(profile.vertex, 2)} "
        + _interval(profile.vertex_interval, signed=False),
        "rise": _interval(profile.rise_interval),
        "fall": _interval(profile.fall_interval),
        "p": f"{profile.shuffled_p:.3f}" if profile.shuffled_p >= 0.0005 else "< 0.001",
        "inverted_u": "yes" if profile.inverted_u else "no",
        "top": ", ".join(map(str, profile.top_layers())),
    }


def _interval(interval: tuple[float, float], digits: int = 2, signed: bool = True) -> str:
    low, high = (_number(end, digits, signed) for end in interval)
    return f"[{low}, {high}]" if not math.isnan(interval[0]) else "too few layers"


def _number(value: float, digits: int, signed: bool = False) -> str:
    if not math.isfinite(value):
        return "−∞" if value < 0 else "∞"
    # "z": no minus before a zero.
    return f"{value:{'+' if signed else ''}z.{digits}f}".replace("-", "−")


def _stages(
    description: Mapping[str, Any], kind: str, profiles: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The stages of one kind, by what their weights are called."""
    return {_weights(w): description["stages"][f"{kind} ({w})"] for w in profiles}


def _weights(weights: str) -> str:
    return f"{weights} weights"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
