"""What networks are found to be, as a study keeps it: arrays, facts, a paragraph, and lines."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.results import MEASURES, Network, Networks, ratio_to_null
from synkern.study.experiments.finished import FinishedStudy
from synkern.study.numerals import digits, number, rounded
from synkern.study.settings import TRAINED
from synkern.study.stage import Arrays, Facts, step_name
from synkern.study.stages.statistics import rank_correlation

if TYPE_CHECKING:
    from synkern.analysis import NetworkIntervals

Floats = NDArray[np.float64]

GRAPHS = ("synergy", "redundancy")

CALLED = {
    "efficiency": "efficiency",
    "path_length": "path length",
    "clustering": "clustering",
    "modularity": "modularity",
}
"""What measures are called for readers."""

KEEPS = {
    "weights": "weights shuffled over all pairs: keeps their distribution alone",
    "strengths": "keeps the strength of every node",
    "layers": "weights shuffled among pairs whose layers are equally far apart",
}
"""What nulls are, for readers."""

CLAIMS = {"efficiency": ("synergy", "the more efficient"), "modularity": ("redundancy", "modular")}
"""What is published of them: which graph has more of each."""

HOLDS, REVERSED, OPEN = "holds", "reversed", "open"
_VERDICTS = {
    HOLDS: "holds",
    REVERSED: "is reversed",
    OPEN: "is not decided",
    None: "has no interval",
}
_KEPT = {"weights": "the weights alone", "strengths": "strengths", "layers": "distances of layers"}

_BRAINS = "about −0.4 is reported of brains"
_TOP = 5


def arrays_of(found: Networks, intervals: NetworkIntervals | None) -> Arrays:
    """Return the arrays that a study keeps."""
    arrays: Arrays = {
        "densities": found.synergy.densities,
        "null_densities": found.synergy.null_densities,
    }
    for name in GRAPHS:
        graph: Network = getattr(found, name)
        nulls = [np.stack([drawn[m] for m in MEASURES]) for drawn in graph.nulls.values()]
        arrays |= {
            f"{name}_measured": np.stack([graph.measured[m] for m in MEASURES]),
            f"{name}_nulls": np.stack(nulls),
            f"{name}_runs": graph.run_modularity,
            f"{name}_partition": graph.partition,
            f"{name}_consensus": graph.consensus,
            f"{name}_participation": graph.participation,
        }
    if intervals is not None:
        ratios = [np.stack([drawn[m] for m in MEASURES]) for drawn in intervals.ratio.values()]
        arrays |= {
            "bootstrap_raw": np.stack([intervals.raw[m] for m in MEASURES]),
            "bootstrap_ratio": np.stack(ratios),
            "bootstrap_spearman": intervals.spearman,
        }
    return arrays


def facts_of(study: FinishedStudy, found: Networks, intervals: NetworkIntervals | None) -> Facts:
    """Return what study.json says of networks, and the page and the terminal show."""
    graphs = {
        name: _of_graph(study, getattr(found, name), intervals, place)
        for place, name in enumerate(GRAPHS)
    }
    ends = None if intervals is None else intervals.interval(intervals.spearman)
    facts: Facts = {
        "unit": study.steps[step_name("analysis", TRAINED)]["unit"],
        "nodes": len(found.layers),
        "pairs": found.synergy.graph.pairs,
        "layers": len(np.unique(found.layers)),
        "negative": found.negative,
        "spearman": {"value": rounded(found.spearman), **_ends(ends)},
        "pearson": rounded(found.pearson),
        "null_runs": found.null_runs,
        "runs_aside": found.runs_aside,
        "null_draws": found.draws,
        "failed_draws": None if intervals is None else intervals.failed_draws,
        "failure": "" if intervals is None else intervals.failure,
        "graphs": graphs,
        "differences": _differences(found, intervals),
    }
    facts["finding"] = _finding(facts, study.settings.words.many)
    return facts


def _of_graph(
    study: FinishedStudy, graph: Network, intervals: NetworkIntervals | None, place: int
) -> Facts:
    """What is known of one of the two, which is the first or the second of all intervals."""
    raw = {}
    for measure in MEASURES:
        ends = None if intervals is None else intervals.interval(intervals.raw[measure])[:, place]
        raw[measure] = {"value": rounded(graph.whole(measure)), **_ends(ends)}
    known = bool(np.isfinite(graph.participation).any())
    return {
        "mean_weight": rounded(graph.graph.mean_weight),
        "negative_pairs": len(graph.graph.negative),
        "negative_share": graph.graph.negative_share,
        "negative_sum": graph.graph.negative_sum,
        "missing_pairs": len(graph.graph.missing),
        "raw": raw,
        "efficiency_per_weight": rounded(graph.efficiency_per_weight),
        "small_world": rounded(graph.small_world),
        "against": {
            null: {m: _against(graph, null, m, intervals, place) for m in MEASURES}
            for null in graph.nulls
        },
        "densities": _by_density(graph),
        "area": {measure: rounded(value) for measure, value in graph.area.items()},
        "area_ratio": _area_ratios(graph),
        "best_modularity": rounded(graph.run_modularity.max()),
        "sd_of_runs": rounded(graph.run_modularity.std(ddof=1)),
        "communities": len(np.unique(graph.consensus)) if known else None,
        "sizes": sorted(np.bincount(graph.consensus).tolist(), reverse=True) if known else [],
        "layer_modularity": rounded(graph.layer_modularity),
        "layer_agreement": rounded(graph.layer_agreement),
        "run_agreement": rounded(graph.run_agreement),
        "resolutions": [
            {
                "resolution": float(resolution),
                "modularity": rounded(modularity),
                "communities": int(communities),
                "layer_agreement": rounded(agreement),
            }
            for resolution, modularity, communities, agreement in zip(
                graph.resolutions,
                graph.swept_modularity,
                graph.swept_communities,
                graph.swept_agreement,
                strict=True,
            )
        ],
        "participation": _participation(study, graph.participation),
    }


def _against(
    graph: Network, null: str, measure: str, intervals: NetworkIntervals | None, place: int
) -> Facts:
    """A measure of the graph without threshold beside a null."""
    found, at = graph.against(null, measure), int(np.argmax(graph.null_densities))
    ends = None
    if intervals is not None:
        ends = intervals.interval(intervals.ratio[null][measure])[:, place]
    return {
        "ratio": {"value": rounded(found.ratio[at]), **_ends(ends)},
        "null_mean": rounded(found.null_mean[at]),
        "null_sd": rounded(found.null_sd[at]),
        "z": rounded(found.z[at]),
        "p": rounded(found.p[at]),
    }


def _by_density(graph: Network) -> list[Facts]:
    """Measures at every density, and their ratios to nulls where these were measured there."""
    against = {null: {m: graph.against(null, m).ratio for m in MEASURES} for null in graph.nulls}
    at_null = {float(density): i for i, density in enumerate(graph.null_densities)}
    rows = []
    for place, density in enumerate(map(float, graph.densities)):
        row: Facts = {"density": density}
        row |= {m: rounded(graph.measured[m][place]) for m in MEASURES}
        row["ratio"] = {
            null: {m: rounded(ratios[m][at_null[density]]) for m in MEASURES}
            for null, ratios in against.items()
            if density in at_null
        }
        rows.append(row)
    return rows


def _area_ratios(graph: Network) -> Facts:
    """Area under a measure over densities, divided by that under the means of a null, by null."""
    if not np.array_equal(graph.null_densities, graph.densities):
        return {}
    at = graph.densities[:-1]
    if len(at) < 2:
        return {}
    out: Facts = {}
    for null in graph.nulls:
        out[null] = {}
        for measure in MEASURES:
            mean = graph.against(null, measure).null_mean[:-1]
            area = np.trapezoid(mean, at) / (at[-1] - at[0])
            observed = np.array(graph.area[measure])
            out[null][measure] = rounded(ratio_to_null(measure, observed, area))
    return out


def _participation(study: FinishedStudy, participation: Floats) -> Facts:
    """Who takes part in several communities, and whether it goes with the rankings."""
    known = np.flatnonzero(np.isfinite(participation))
    if not len(known):
        return {"mean": None, "sd": None, "correlations": {}, "top": []}
    order = known[np.argsort(-participation[known], kind="stable")][:_TOP]
    return {
        "mean": rounded(participation[known].mean()),
        "sd": rounded(participation[known].std()),
        "correlations": {
            ranking: rank_correlation(participation, study.scores(ranking))
            for ranking in study.rankings
        },
        "top": [
            {"node": study.nodes[node].label, "value": rounded(participation[node])}
            for node in order
        ],
    }


def _differences(found: Networks, intervals: NetworkIntervals | None) -> Facts:
    """Synergy minus redundancy, raw ("") and of ratios to each null, and what becomes of claims."""
    out: Facts = {}
    for null in (None, *found.synergy.nulls):
        out[null or ""] = {}
        for measure in MEASURES:
            one, other = (_value(getattr(found, name), null, measure) for name in GRAPHS)
            ends = None if intervals is None else intervals.difference(measure, null)
            difference = {"value": rounded(one - other), **_ends(ends)}
            out[null or ""][measure] = {**difference, "claim": _claim(measure, difference)}
    return out


def _value(graph: Network, null: str | None, measure: str) -> float:
    if null is None:
        return graph.whole(measure)
    ratio = graph.against(null, measure).ratio
    return float(ratio[int(np.argmax(graph.null_densities))])


def _claim(measure: str, difference: Mapping[str, float | None]) -> str | None:
    """What becomes of what is published of a measure; None where nothing is, or can be said.

    The value has to lie on the same side as its interval: a mean over draws of prompts is noisier,
    which moves measures.
    """
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    if measure not in CLAIMS or value is None or low is None or high is None:
        return None
    more = 1 if CLAIMS[measure][0] == "synergy" else -1
    ends = [more * low, more * high]
    if min(ends) > 0 and more * value > 0:
        return HOLDS
    return REVERSED if max(ends) < 0 and more * value < 0 else OPEN


def _ends(ends: Any) -> dict[str, float | None]:
    return (
        {"low": None, "high": None}
        if ends is None
        else {
            "low": rounded(ends[0]),
            "high": rounded(ends[1]),
        }
    )


def _finding(facts: Facts, many: str) -> str:
    """Say what of the published differences is left beside nulls, whatever it is."""
    synergy, redundancy = (facts["graphs"][name] for name in GRAPHS)
    said = []
    for measure, unit in (("efficiency", f" {facts['unit']}"), ("modularity", "")):
        values = [graph["raw"][measure]["value"] for graph in (synergy, redundancy)]
        one, other = (number(value, digits(value)) for value in values)
        said.append(f"{measure} {one} of synergy and {other}{unit} of redundancy")
    per_weight = [number(g["efficiency_per_weight"], 2) for g in (synergy, redundancy)]
    text = (
        f"Networks of {facts['nodes']} {many}: raw, as published, {' and '.join(said)}; by their "
        f"mean weight the efficiencies are {per_weight[0]} and {per_weight[1]}, so that raw ones "
        "tell how large weights are. "
    )
    text += " ".join(_of_claim(facts, measure) for measure in CLAIMS)
    spearman = facts["spearman"]["value"]
    if spearman is not None:
        text += (
            f" Mean synergy and mean redundancy of {many} correlate by "
            f"{number(spearman, 2, signed=True)} ({_BRAINS})."
        )
    return text


def _of_claim(facts: Facts, measure: str) -> str:
    """What becomes of one claim beside the nulls."""
    graph, _ = CLAIMS[measure]
    what = "synergy is the more efficient" if graph == "synergy" else "redundancy is more modular"
    claims = {null: found[measure]["claim"] for null, found in facts["differences"].items() if null}
    raw = facts["differences"][""][measure]["value"] or 0.0
    as_published = raw * (1 if graph == "synergy" else -1) > 0
    beginning = f"That {what} {'holds' if as_published else 'does not even hold'} of raw values"
    if not claims or {*claims.values()} == {None}:
        return f"{beginning}; beside nulls nothing is said without intervals."
    ordered = sorted(claims, key=lambda null: [*_VERDICTS].index(claims[null]))
    parts = [
        f"{_VERDICTS[verdict]} beside those that keep {_listed([_KEPT[null] for null in nulls])}"
        for verdict, nulls in groupby(ordered, key=lambda null: claims[null])
    ]
    return f"{beginning}; normalised by null graphs it {', and '.join(parts)}."


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _figures(value: float | None, form: str) -> str:
    return "undefined" if value is None else format(value, form)


def lines_of(facts: Facts) -> list[str]:
    """Return the table of a terminal."""
    lines = [f"{'networks:':24}{'synergy':>12}{'redundancy':>12}  synergy - redundancy"]

    def row(label: str, values: list[float | None], difference: Mapping[str, Any]) -> str:
        shown = "".join(f"{_figures(value, '.4g'):>12}" for value in values)
        low, high = difference["low"], difference["high"]
        ends = "" if low is None else f" [{low:+.3g}, {high:+.3g}]"
        return f"  {label:22}{shown}  {_figures(difference['value'], '+.3g')}{ends}"

    graphs = [facts["graphs"][name] for name in GRAPHS]
    for measure in CLAIMS:
        values = [graph["raw"][measure]["value"] for graph in graphs]
        lines.append(row(f"{measure}, raw", values, facts["differences"][""][measure]))
        for null in graphs[0]["against"]:
            ratios = [graph["against"][null][measure]["ratio"]["value"] for graph in graphs]
            lines.append(row(f"  / null {null}", ratios, facts["differences"][null][measure]))
    return lines
