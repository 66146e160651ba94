"""What a study of a language model shows on its page to explore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.normalisation import ranked_layers
from synkern.analysis.profile import MEANS, MISSING_TOLERATED, LayerProfile
from synkern.analysis.scores import PUBLISHED, mean_over_pairs
from synkern.models.nodes import Node
from synkern.study.explorer.explored import (
    DIFFERENCE,
    SHARE,
    Chart,
    Explored,
    Line,
    NodeValues,
    PairValues,
    View,
)
from synkern.study.published import published
from synkern.study.report.words import called, of_weights
from synkern.study.settings import CONTROL, NONE, TRAINED
from synkern.study.stage import BASELINE, EXCESS, RAW, Part, Results

SYNERGY, REDUNDANCY = "synergy (sts)", "redundancy (rtr)"
"""What the two atoms of a study are called."""

MOST = 20_000
"""Nodes that a page shows singly, where there are no pairs of them."""

_PAIRS = "sts"
_DEPTH = "relative depth (0 first layer, 1 last)"
_MEANS = {
    RAW: "synergy itself, unscaled",
    EXCESS: "synergy beyond persistence, unscaled",
}
_COMBINED = {
    "trials": "decomposed prompt by prompt, then averaged",
    "moments": "moments pooled over prompts, decomposed once",
    "concatenate": "prompts joined to one series, decomposed once",
}


def explored_study(
    results: Results, parts: Sequence[Part], sentences: Sequence[str], most: int = MOST
) -> Explored:
    """Return what the page to explore of a study shows.

    Args:
        results: of the study.
        parts: all stages and experiments; those that the study has may have charts.
        sentences: the findings.
        most: nodes that are shown singly, where there are no pairs of them; of more, some are.
    """
    words, shown = results.words, _shown(results, most)
    layer = results.arrays[f"{TRAINED}_layer"][shown]
    index = results.arrays[f"{TRAINED}_index"][shown]
    names, group_of = np.unique(layer, return_inverse=True)
    present = [part for part in parts if results.facts(part.name)]
    about = _about(results)
    return Explored(
        title=results.name,
        subtitle=f"{about['estimator']}; lag {about['lag']}; {about['prompts']}.",
        findings=sentences,
        about=about,
        notes=_notes(results, len(shown)),
        node=words.one,
        nodes=words.many,
        group="layer",
        groups="layers",
        labels=[
            Node(int(place), int(number), words.kind).label
            for place, number in zip(layer, index, strict=True)
        ],
        group_names=[str(name) for name in names],
        group_of=group_of,
        views=[_view(results, layer, index)],
        condition="weights",
        conditions=[of_weights(weights) for weights in results.profiles],
        rankings=[_of_some(one, shown) for one in _rankings(results)],
        values=[_of_some(one, shown) for one in _values(results)],
        pairs=list(_pairs(results)),
        profiles=list(_profiles(results)),
        charts=[chart for part in present for chart in part.charts(results)],
        report="report.html",
    )


def _about(results: Results) -> dict[str, str]:
    """How the study came about, by what it is called."""
    told, words = results.description, results.words
    parameters, facts = told["parameters"], results.facts("analysis")[TRAINED]
    layers = len(np.unique(results.arrays[f"{TRAINED}_layer"]))
    kind = "Gaussian" if parameters["kind"] == "gaussian" else parameters["kind"]
    prepared = parameters["detrend"]
    about = {
        "model": str(parameters["model"]),
        "nodes": f"{facts['nodes']:,} {words.among(layers)}; {facts['pairs']:,} pairs",
        "series": f"{words.said}, at each generated token",
        "estimator": f"{kind}, {parameters['redundancy']} redundancy, in {facts['unit']}",
        "lag": f"{parameters['tau']} token{'s' if parameters['tau'] > 1 else ''}",
        "prompts": f"{facts['trials']} prompts of {facts['samples']} tokens each, "
        f"{_COMBINED[parameters['average']]}",
        "preparation": "none" if prepared == NONE else prepared,
        "rankings": "mean difference: mean of sts − rtr over a node's pairs, that of the published "
        "figures (arXiv:2601.06851); rank difference: rank of mean synergy less rank of mean "
        "redundancy; balance: mean of sts / (sts + rtr)",
        "bands": f"95 % bootstrap intervals over prompts, {parameters['bootstrap']:,} draws",
        "software": f"synkern {told['environment']['synkern']}",
    }
    if CONTROL in results.profiles:
        about["control"] = f"the same architecture with random weights (seed {parameters['seed']})"
    return about


def _shown(results: Results, most: int) -> NDArray[np.intp]:
    """Places of the nodes that the page shows: all, or evenly many of every layer.

    Nodes of which there are no pairs may be hundreds of thousands. Of each layer those are taken
    that lie evenly in the order of their score, the highest and the lowest among them.
    """
    layer = results.arrays[f"{TRAINED}_layer"]
    if len(layer) <= most or _PAIRS in results.of(TRAINED):
        return np.arange(len(layer))
    score = next(iter(results.profiles[TRAINED].values())).scores
    by_score = np.argsort(score, kind="stable")
    found = []
    for one in np.unique(layer):
        own = by_score[layer[by_score] == one]
        count = max(2, most * len(own) // len(layer))
        found.append(own[np.unique(np.linspace(0, len(own) - 1, count).round().astype(int))])
    return np.sort(np.concatenate(found))


def _of_some(one: NodeValues, shown: NDArray[np.intp]) -> NodeValues:
    return replace(one, values={name: values[shown] for name, values in one.values.items()})


def _notes(results: Results, shown: int) -> list[str]:
    notes = []
    nodes, many = len(results.arrays[f"{TRAINED}_layer"]), results.words.many
    if shown < nodes:
        notes.append(
            f"{shown:,} of {nodes:,} {many} are shown, those of each layer evenly by their score, "
            f"its ends among them; ranks are among these, profiles are of all {many}"
        )
    for weights, facts in results.facts("analysis").items():
        if facts["excess"]["absent"] is not None:
            notes.append(
                f"{of_weights(weights)}: no synergy beyond persistence, {facts['excess']['absent']}"
            )
    if results.description["parameters"]["pairs"] != "kept":
        notes.append("single pairs were not kept: there are means by node alone")
    return notes


def _view(results: Results, layer: Any, index: Any) -> View:
    words = results.words
    if not words.numbered:
        return View(
            name="by layer",
            x=layer,
            y=np.zeros_like(layer),
            x_label="layer",
            y_label="",
            cells=True,
        )
    name = f"layer by {words.one}"
    return View(name=name, x=index, y=layer, x_label=words.one, y_label="layer", cells=True)


def _rankings(results: Results) -> Iterator[NodeValues]:
    unit: str = results.facts("analysis")[TRAINED]["unit"]
    units = {"rank_difference": "ranks", "balance": "share"}
    for ranking in _ranked(results):
        yield NodeValues(
            name=called(ranking),
            unit=units.get(ranking, unit),
            values={
                of_weights(weights): profiles[ranking].scores
                for weights, profiles in results.profiles.items()
            },
            diverging=ranking != "balance",
        )


def _ranked(results: Results) -> list[str]:
    return [ranking for ranking in results.profiles[TRAINED] if ranking not in MEANS]


def _values(results: Results) -> Iterator[NodeValues]:
    """Mean synergy and redundancy of each node, its excess, its persistence, its routing."""
    facts = results.facts("analysis")
    unit = facts[TRAINED]["unit"]
    own = {weights: results.of(weights) for weights in results.profiles}

    def named(name: str, unit: str, found: dict[str, Any], diverging: bool = False) -> NodeValues:
        values = {of_weights(weights): each for weights, each in found.items()}
        return NodeValues(name=name, unit=unit, values=values, diverging=diverging)

    for name, mean, atom in ((SYNERGY, "synergy", "sts"), (REDUNDANCY, "redundancy", "rtr")):
        found = {
            weights: arrays[mean] if mean in arrays else mean_over_pairs(arrays[atom])
            for weights, arrays in own.items()
        }
        yield named(f"mean {name}", unit, found)
    beyond = {
        weights: profiles[EXCESS].scores
        for weights, profiles in results.profiles.items()
        if EXCESS in profiles and profiles[EXCESS].complete
    }
    if beyond:
        yield named("mean synergy beyond persistence", unit, beyond, diverging=True)
    yield named("persistence", "correlation", {w: own[w]["autocorrelation"] for w in own})
    routed = {
        weights: arrays["routed"].sum(0) / (facts[weights]["trials"] * _steps(facts[weights]))
        for weights, arrays in own.items()
        if "routed" in arrays
    }
    if routed:
        yield named("routing frequency", "share of the tokens", routed)


def _steps(facts: Any) -> int:
    steps: int = facts["routing"]["steps"]
    return steps


def _pairs(results: Results) -> Iterator[PairValues]:
    facts = results.facts("analysis")
    unit = facts[TRAINED]["unit"]
    own = {weights: results.of(weights) for weights in results.profiles}

    def named(name: str, found: dict[str, Any], unit: str, diverging: bool = False) -> PairValues:
        values = {of_weights(weights): each for weights, each in found.items()}
        return PairValues(name=name, unit=unit, values=values, diverging=diverging)

    if "sts" not in own[TRAINED]:
        return
    yield named(SYNERGY, {w: arrays["sts"] for w, arrays in own.items()}, unit)
    yield named(REDUNDANCY, {w: arrays["rtr"] for w, arrays in own.items()}, unit)
    both: Any = {"of": (SYNERGY, REDUNDANCY)}
    yield PairValues(name="sts − rtr", unit=unit, rule=DIFFERENCE, diverging=True, **both)
    yield PairValues(name="balance, sts / (sts + rtr)", unit="share", rule=SHARE, **both)
    beyond = {}
    for weights, profiles in results.profiles.items():
        if EXCESS in profiles:
            referenced = own[weights]["excess_trials"] / facts[weights]["trials"]
            known = referenced >= 1 - MISSING_TOLERATED
            beyond[weights] = np.where(known, own[weights]["excess_sts"], np.nan)
    if beyond:
        yield named("synergy beyond persistence", beyond, unit, diverging=True)
    for atom, name in (("sts", SYNERGY), ("rtr", REDUNDANCY)):
        z = {w: a[f"null_{atom}_z"] for w, a in own.items() if f"null_{atom}_z" in a}
        if z:
            null = results.description["parameters"]["null"]
            yield named(f"{name}, against null {null}", z, "z", diverging=True)


def _profiles(results: Results) -> Iterator[Chart]:
    for ranking in _ranked(results):
        yield Chart(
            name=f"profile by {called(ranking)}",
            x_label=_DEPTH,
            y_label="mean scaled score of the layer",
            lines=[
                line
                for weights, profiles in results.profiles.items()
                for line in _curve(weights, profiles[ranking])
            ],
            note="scores scaled to [0, 1] over all nodes; band: 95 % bootstrap interval over "
            "prompts; broken line: the fitted parabola",
            ranking=called(ranking),
            groups=results.profiles[TRAINED][ranking].depth,
        )
    yield _beside_published(results)
    unit = results.facts("analysis")[TRAINED]["unit"]
    for mean, name in _MEANS.items():
        lines = [
            line
            for weights, profiles in results.profiles.items()
            if mean in profiles
            for line in _mean_curve(weights, profiles, mean)
        ]
        if lines:
            yield Chart(
                name=name,
                x_label=_DEPTH,
                y_label=f"{unit}, mean of the layer",
                lines=lines,
                note="an excess estimated from short series is not zero where there is none: "
                "compare with that of unrelated nodes"
                if mean == EXCESS
                else "",
                groups=results.profiles[TRAINED][mean].depth,
            )


def _curve(weights: str, profile: LayerProfile) -> Iterator[Line]:
    """Layer means with their band, and the fitted parabola."""
    name = of_weights(weights)
    yield Line(
        name=name,
        x=profile.depth,
        y=profile.mean,
        lower=profile.lower,
        upper=profile.upper,
        condition=name,
    )
    if profile.complete:
        fitted: Any = {"x": profile.depth, "y": profile.fitted, "style": "dashed"}
        yield Line(name=f"{name} · parabola", condition=name, **fitted)


def _mean_curve(weights: str, profiles: Any, mean: str) -> Iterator[Line]:
    yield from _curve(weights, profiles[mean])
    if mean == EXCESS:
        name, baseline = of_weights(weights), profiles[BASELINE]
        yield Line(
            name=f"{name} · if unrelated",
            x=baseline.depth,
            y=baseline.mean,
            style="dotted",
            condition=name,
        )


def _beside_published(results: Results) -> Chart:
    """The order of the layers by the published ranking, beside those of the published figure."""
    told = published("profiles")
    lines = []
    for weights, profiles in results.profiles.items():
        profile = profiles[PUBLISHED]
        name = of_weights(weights)
        ranks = ranked_layers(profile.mean)
        lines.append(Line(name=name, x=profile.depth, y=ranks, condition=name))
    for row in told["profiles"].values():
        if row["normalisation"] != "layer_rank":
            continue
        values = np.array(row["values"])
        lines.append(
            Line(
                name=row["model"],
                x=np.linspace(0, 1, len(values)),
                y=values,
                style="dotted",
                published=True,
                source=f"{told['source']}; {told['error']}",
            )
        )
    return Chart(
        name="rank of the layers, beside published ones",
        x_label=_DEPTH,
        y_label="rank of the layer, 0 lowest, 1 highest",
        lines=lines,
        note=f"by {called(PUBLISHED)}; published: {told['source']}, {told['error']}",
        groups=results.profiles[TRAINED][PUBLISHED].depth,
    )
