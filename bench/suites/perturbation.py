"""What the small models lose where nodes get noise, and where nodes are taken out, on tasks.

The models are those of `bench.small_models`. A study of each ranks its nodes on tasks of the split
"validation"; what they lose is measured on tasks of the split "test", on which neither the models
nor the rankings were made.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.small_models import __main__ as training
from bench.small_models import competence
from bench.small_models.recipes import recipes
from synkern import tasks
from synkern.interventions import (
    AccuracyCurve,
    NoiseAccuracy,
    Scoring,
    accuracy_curve,
    noise_accuracy,
)
from synkern.models import UnsupportedModelError, load
from synkern.study import run_study

KINDS = {"dense": ("heads",), "moe": ("heads", "experts")}
"""By model, the kinds of nodes that are ranked."""

ASKED = {"dense": 600, "moe": 300}
"""By model, tasks that are drawn: experts take several times as long to answer."""

RANKINGS = ("mean_difference", "rank_difference")
PROMPTS = 60
DRAWS = 5
NOISE_SEEDS = 3
_BATCH = 64
_OF_CURVE = 3
"""Draws of an ablation curve, at most: it has many points."""


def measure(
    models: Path,
    work: Path,
    say: Callable[[str], None],
    *,
    asked: Mapping[str, int] = ASKED,
    draws: int = DRAWS,
    noise_seeds: int = NOISE_SEEDS,
    prompts: int = PROMPTS,
    new_tokens: int = 100,
    steps: dict[str, int] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables by model and kind of node, and figures by name.

    Args:
        models: folder that `python -m bench.small_models --out` has filled.
        work: folder for studies, and for what is done so far: the same call goes on from there.
        say: takes a line for each part that is done.
        asked: by model, tasks that are drawn; those that come twice are asked once.
        draws: of random and of layer-matched subsets.
        noise_seeds: of each subset.
        prompts: of the study.
        new_tokens: of each answer in the study.
        steps: by model, the checkpoint; the last of its recipe by default.
    """
    steps = steps or {name: recipe.steps for name, recipe in recipes().items()}
    listed = work / "prompts.json"
    work.mkdir(parents=True, exist_ok=True)
    listed.write_text(json.dumps(_prompts(prompts)), encoding="utf-8")
    tables: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    for name, kinds in KINDS.items():
        folder = models / name / f"step-{steps[name]}"
        model, tokenizer = load(folder, device="cpu")
        given = competence.held_out_tasks(asked[name], seed=1)
        for kind in kinds:
            label = f"{name}, {kind}"
            study = run_study(
                str(folder),
                out=work / f"study-{name}-{kind}",
                nodes=kind,
                prompts=listed,
                new_tokens=new_tokens,
                bootstrap=200,
                control=False,
                device="cpu",
                progress=False,
            )
            say(f"{label}: studied")
            profiles = study.profiles["trained"]
            one = _Measured(label, model, tokenizer, given, kind, work / f"{name}-{kind}", say)
            found, drawn = one.all_of(
                {ranking: profiles[ranking].scores for ranking in RANKINGS}, draws, noise_seeds
            )
            routing = study.description["stages"]["analysis (trained)"]["routing"]
            if routing is not None:
                _add_routing(found["noise"], study.arrays, routing)
            tables[label] = {
                "model": f"{name}/step-{steps[name]}",
                "architecture": type(model).__name__,
                "nodes": len(profiles[RANKINGS[0]].scores),
                "tasks": len(given),
                "prompts": prompts,
                "new_tokens": new_tokens,
                "estimator": study.description["parameters"]["kind"],
                **found,
            }
            figures |= {f"{what}_{name}_{kind}": figure for what, figure in drawn.items()}
    return tables, figures


def rehearse(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The tables of models that are hardly trained, from few tasks."""
    for name in KINDS:
        few = dataclasses.replace(recipes()[name], steps=2, rows=2)
        training.make(name, few, folder, seed=0, tested=20)
    tables, _ = measure(
        folder,
        folder / "work",
        say,
        asked=dict.fromkeys(KINDS, 24),
        draws=1,
        noise_seeds=1,
        prompts=8,
        new_tokens=20,
        steps=dict.fromkeys(KINDS, 2),
    )
    return tables


class _Measured:
    """One model and one kind of its nodes."""

    def __init__(
        self,
        label: str,
        model: Any,
        tokenizer: Any,
        given: list[tasks.Task],
        kind: str,
        file: Path,
        say: Callable[[str], None],
    ) -> None:
        self.label, self.model, self.tokenizer = label, model, tokenizer
        self.given, self.kind, self.file, self.say = given, kind, file, say

    def all_of(
        self, scores: dict[str, Any], draws: int, noise_seeds: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Noise by each ranking and by exact match, at one strength, and the ablation curve."""
        first = RANKINGS[0]
        figures: dict[str, Any] = {}
        noise: dict[str, Any] = {}
        try:
            main = self._noise(scores[first], first, "likelihood", None, draws, noise_seeds)
        except UnsupportedModelError as error:
            noise["refused"] = str(error)
            self.say(f"{self.label}: no noise: {error}")
        else:
            figures["noise"] = main.plot(f"{self.label}: noise (alpha {main.alpha:g}), {first}")
            noise[f"{first}, likelihood"] = _of_noise(main)
            for ranking, method in ((first, "exact_match"), (RANKINGS[1], "likelihood")):
                other = self._noise(
                    scores[ranking], ranking, method, main.alpha, draws, noise_seeds
                )
                noise[f"{ranking}, {method}"] = _of_noise(other)
        curve = accuracy_curve(
            self.model,
            self.tokenizer,
            self.given,
            {first: scores[first]},
            of=self.kind,
            draws=min(draws, _OF_CURVE),
            scoring=Scoring(batch_size=_BATCH),
            file=self.file.with_name(f"{self.file.name}-curve"),
        )
        self.say(f"{self.label}: {curve!r}")
        figures["ablation"] = curve.plot()
        return {"noise": noise, "ablation": _of_curve(curve)}, figures

    def _noise(
        self,
        scores: Any,
        ranking: str,
        method: str,
        alpha: float | None,
        draws: int,
        noise_seeds: int,
    ) -> NoiseAccuracy:
        found = noise_accuracy(
            self.model,
            self.tokenizer,
            self.given,
            {ranking: scores},
            of=self.kind,
            draws=draws,
            noise_seeds=noise_seeds,
            alpha=alpha,
            scoring=Scoring(method, batch_size=_BATCH, max_new_tokens=competence.LONGEST),
            file=self.file.with_name(f"{self.file.name}-{ranking}-{method}"),
        )
        self.say(f"{self.label}, {ranking}: {found!r}\n{found.finding}")
        return found


def _prompts(count: int) -> dict[str, list[str]]:
    """Prompts of the split "validation", by category, each once."""
    found: dict[str, list[str]] = {}
    for task in tasks.generate(count, seed=2, split="validation", distinct=True):
        found.setdefault(task.category, []).append(task.prompt)
    return found


def _of_noise(found: NoiseAccuracy) -> dict[str, Any]:
    sweep = found.sweep
    return {
        "alpha": found.alpha,
        "size": found.size,
        "floor": found.floor,
        "where": found.where,
        "sweep": None
        if sweep is None
        else {
            "alphas": sweep.alphas.tolist(),
            "accuracies": sweep.accuracies.tolist(),
            "of draws": sweep.right.mean(-1).tolist(),
            "target": sweep.target,
        },
        "conditions": found.table(),
        "by level": {
            str(level): {row["condition"]: row["accuracy"] for row in part.table()}
            for level, part in found.by("level").items()
        },
        "by category": {
            category: {row["condition"]: row["accuracy"] for row in part.table()}
            for category, part in found.by("category").items()
        },
        "synergy less others, by level": {
            str(level): {
                name: [less.mean, less.low, less.high] for name, less in part.of_synergy.items()
            }
            for level, part in found.by("level").items()
        },
        "nodes": {
            name: [[found.nodes[node] for node in draw] for draw in draws]
            for name, draws in found.subsets.items()
        },
        "finding": found.finding,
    }


def _add_routing(noise: dict[str, Any], arrays: Any, routing: dict[str, Any]) -> None:
    """How often the router chose the nodes of each subset: what is used more is missed more."""
    routed = arrays["trained_routed"]
    share = routed.sum(0) / (len(routed) * arrays["trained_tokens"].shape[1])
    places = zip(arrays["trained_layer"].tolist(), arrays["trained_index"].tolist(), strict=True)
    by_label = {f"L{layer}E{index}": share[k] for k, (layer, index) in enumerate(places)}
    for name, part in noise.items():
        part["routed"] = {
            subset: float(np.mean([by_label[label] for draw in draws for label in draw]))
            for subset, draws in part["nodes"].items()
        }
        part["rank correlation with routing"] = routing["correlations"][name.split(",")[0]]


def _of_curve(curve: AccuracyCurve) -> dict[str, Any]:
    return {
        "ranking": curve.ranking,
        "kind": curve.kind,
        "fractions": curve.fractions.tolist(),
        "orders": curve.table(),
        "by level": {
            str(level): {
                "floor": part.problems.floor,
                "tasks": len(part.problems),
                "orders": part.table(),
            }
            for level, part in curve.by("level").items()
        },
        "synergy's order": [curve.nodes[node] for node in np.ravel(curve.orders["synergy"])],
    }
