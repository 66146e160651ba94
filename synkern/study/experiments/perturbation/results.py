"""What noise does to accuracy, as a study keeps it: arrays, facts, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern._faces import Later
from synkern.study.numerals import number, percent, plain, rounded
from synkern.study.stage import Arrays, Facts

if TYPE_CHECKING:
    from synkern.interventions.accuracy import noised, problems
    from synkern.interventions.accuracy.noised import NoiseAccuracy
else:
    noised = Later("synkern.interventions.accuracy.noised")
    problems = Later("synkern.interventions.accuracy.problems")

_TRUNCATED = "_truncated"


def arrays_of(found: NoiseAccuracy) -> Arrays:
    """Return the arrays that a study keeps: what was right in every condition."""
    arrays: Arrays = {
        "level": found.problems.levels,
        "category": found.problems.categories,
        "floor": found.problems.floors,
        "intact": found.intact,
    }
    for name, right in found.right.items():
        arrays |= {f"{name}_right": right, f"{name}_nodes": found.subsets[name]}
    arrays |= {f"{name}{_TRUNCATED}": cut for name, cut in found.truncated.items()}
    if found.sweep is not None:
        arrays |= {"alphas": found.sweep.alphas, "alphas_right": found.sweep.right}
    return arrays


def noise_of(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> NoiseAccuracy:
    """Return what `arrays_of` kept.

    Args:
        arrays: of the experiment.
        facts: of the experiment.
    """
    sweep = None
    if "alphas" in arrays:
        target = facts["sweep"]["target"]
        sweep = noised.Sweep(arrays["alphas"], arrays["alphas_right"], target)
    subsets = [row["condition"] for row in facts["conditions"][1:]]
    return noised.NoiseAccuracy(
        problems=problems.Problems(arrays["level"], arrays["category"], arrays["floor"]),
        method=facts["scoring"],
        ranking=facts["ranking"],
        nodes=("",) * facts["nodes"],
        subsets={name: arrays[f"{name}_nodes"] for name in subsets},
        alpha=facts["alpha"],
        scale=facts["scale"],
        sweep=sweep,
        intact=arrays["intact"],
        right={name: arrays[f"{name}_right"] for name in subsets},
        truncated={
            name.removesuffix(_TRUNCATED): cut
            for name, cut in arrays.items()
            if name.endswith(_TRUNCATED)
        },
    )


def facts_of(found: NoiseAccuracy) -> Facts:
    """Return what study.json says, and the page and the terminal show."""
    sweep = found.sweep
    return {
        "finding": found.finding,
        "scoring": found.method,
        "ranking": found.ranking,
        "scale": found.scale,
        "alpha": found.alpha,
        "nodes": len(found.nodes),
        "size": found.size,
        "tasks": len(found.problems),
        "floor": rounded(found.floor),
        "where": found.where,
        "conditions": plain(found.table()),
        "levels": _accuracies(found.by("level")),
        "categories": _accuracies(found.by("category")),
        "sweep": None
        if sweep is None
        else {
            "alphas": sweep.alphas.tolist(),
            "accuracies": [rounded(each) for each in sweep.accuracies],
            "target": sweep.target,
            "remark": sweep.remark,
        },
    }


def routed_of(
    found: NoiseAccuracy,
    routed: NDArray[np.integer[Any]],
    tokens: int,
    correlation: float | None,
) -> Facts:
    """Return how often the nodes of each subset took part, where a router chooses among them.

    Args:
        found: what noise did.
        routed: (trials, nodes), at how many tokens each node took part.
        tokens: of each trial.
        correlation: over nodes, of score and of how often they took part, by rank.
    """
    share = routed.sum(0) / (len(routed) * tokens)
    return {
        "shares": {name: rounded(share[nodes].mean()) for name, nodes in found.subsets.items()},
        "correlation": correlation,
    }


def routed_sentence(routed: Mapping[str, Any], many: str) -> str:
    """Say how often the nodes of each subset took part: what noise does may be owed to that."""
    shares = {name: percent(share) for name, share in routed["shares"].items()}
    rho = routed["correlation"]
    said = "undefined" if rho is None else number(rho, 2, signed=True)
    return (
        f"A router chooses among these {many}: each of the most synergistic ones at "
        f"{shares['synergy']} of the tokens of the study's answers, of the most redundant at "
        f"{shares['redundancy']}, of random ones at {shares['random']}, of those of the same "
        f"layers at {shares['layer_matched']} (rank correlation of score and frequency {said}); "
        "what is used more may be missed more, and no subset here is matched for it."
    )


def lines_of(facts: Mapping[str, Any]) -> list[str]:
    """Return the table of a terminal."""
    levels = facts["levels"]
    heads = "".join(f"{f'level {level}':>9}" for level in levels) if len(levels) > 1 else ""
    width = max(len(row["condition"]) for row in facts["conditions"])
    lines = [
        f"accuracy on {facts['tasks']} tasks, %, with noise (alpha {facts['alpha']:g}) in "
        f"{facts['size']} of {facts['nodes']} nodes; floor {100 * facts['floor']:.1f}:",
        f"  {'':{width}}     all       SD{heads}  synergy minus it [95 %]",
    ]
    for row in facts["conditions"]:
        name = row["condition"]
        spread = row.get("spread")
        cells = f"{100 * row['accuracy']:8.1f}" + (
            f"{'' if spread is None else format(100 * spread, '.1f'):>9}"
        )
        if len(levels) > 1:
            cells += "".join(f"{100 * level['accuracies'][name]:9.1f}" for level in levels.values())
        less = row.get("synergy_less_this")
        said = "" if less is None else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * e for e in less))
        lines.append(f"  {name:{width}}{cells}  {said}".rstrip())
    return lines


def _accuracies(parts: Mapping[Any, NoiseAccuracy]) -> Facts:
    """By level or category, tasks, floor, and accuracies of all conditions."""
    return {
        str(key or "none"): {
            "tasks": len(part.problems),
            "floor": rounded(part.floor),
            "accuracies": {
                name: rounded(part.accuracy(name)) for name in (noised.INTACT, *part.right)
            },
        }
        for key, part in parts.items()
    }
