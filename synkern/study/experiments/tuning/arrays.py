"""What is kept of runs: arrays of all of them, and warnings of what they cannot say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synkern.interventions.curves.orders import is_drawn
from synkern.study.stage import Arrays, Facts
from synkern.tasks import Task
from synkern.training.conditions import Condition
from synkern.training.options import ORDERED
from synkern.training.tuning.method import GRPO, MEASURED

Runs = Sequence[tuple[Condition, int]]
"""Condition and seed of each run, in the order of the arrays."""


def arrays_of(
    runs: Runs,
    found: Sequence[Facts],
    asked: Sequence[Task],
    before: Sequence[bool],
    scores: NDArray[np.float64],
    method: str,
) -> Arrays:
    """Return the arrays of a tuning experiment, see `Tuning`.

    Args:
        runs: at least one.
        found: what is kept of each.
        asked: the test tasks.
        before: (tasks,) which of them the model had right as it was.
        scores: (nodes,) by which nodes were chosen.
        method: of training.
    """
    arrays: Arrays = {
        "condition": np.array([condition.name for condition, _ in runs]),
        "seed": np.array([seed for _, seed in runs], dtype=np.int64),
        "draw": np.array(
            [condition.draw if is_drawn(condition.name) else -1 for condition, _ in runs],
            dtype=np.int64,
        ),
        "level": np.array([-1 if t.level is None else t.level for t in asked], dtype=np.int64),
        "category": np.array([task.category for task in asked]),
        "before": np.array(before, dtype=bool),
        "base_scores": scores,
    }
    columns = {
        "trained": np.int64,
        "trains": bool,
        "validation": np.float64,
        "selected": np.int64,
        "selected_right": bool,
        "last_right": bool,
    }
    columns |= {"groups": np.int64, "silent": np.int64} if method == GRPO else {}
    columns |= (
        {"own_scores": np.float64, "forced_scores": np.float64} if "own_scores" in found[0] else {}
    )
    arrays |= {
        name: np.array([one[name] for one in found], dtype=dtype) for name, dtype in columns.items()
    }
    arrays[MEASURED[method]] = np.array([one["logged"] for one in found])
    # The same in all runs.
    arrays |= {name: np.array(found[0][name], dtype=np.int64) for name in ("steps", "logged_steps")}
    return arrays


def cautions(runs: Runs, trained: Sequence[int], many: str) -> list[str]:
    """Return warnings of comparisons that do not say what they seem to.

    Args:
        runs: condition and seed of each.
        trained: (runs,) numbers that trained.
        many: what nodes are called.
    """
    said = []
    counts = {
        n for (condition, _), n in zip(runs, trained, strict=True) if condition.name in ORDERED
    }
    if len(counts) > 1:
        said.append(
            f"conditions that are compared train as many {many}, but from {min(counts):,} to "
            f"{max(counts):,} numbers, as {many} of this model differ in size: a difference may be "
            "due to that"
        )
    chosen = {
        name: {condition.nodes for condition, _ in runs if condition.name == name}
        for name in ("synergy", "layer_matched")
    }
    if chosen["synergy"] and chosen["synergy"] == chosen["layer_matched"]:
        said.append(
            f"synergy and layer-matched train the same {many}, as layers have no others to choose "
            "from: that they gain the same says nothing"
        )
    return said
