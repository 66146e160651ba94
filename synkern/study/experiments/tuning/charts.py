"""Learning curves of the training of nodes, on the page to explore."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from synkern.study.experiments.tuning.results import LOGGED, Tuned, called
from synkern.study.explorer.explored import Chart, Line


def charts_of(tuned: Tuned, many: str) -> Iterator[Chart]:
    """Return validation by step, and what was logged.

    Args:
        tuned: the runs.
        many: what the nodes are called.
    """
    arrays = tuned.arrays
    shown: tuple[tuple[str, Any, Any], ...] = (
        ("validation accuracy, %", arrays["steps"], 100 * arrays["validation"]),
        (LOGGED[tuned.logged], arrays["logged_steps"], arrays[tuned.logged]),
    )
    for label, steps, values in shown:
        yield Chart(
            name=f"training by {tuned.method}: {label}",
            x_label="step",
            y_label=label,
            lines=[
                Line.of_draws(called(name), steps, values[runs])
                for name, runs in tuned.runs.items()
            ],
            note=f"which {many} train is told by {tuned.ranking}; band: all runs of a condition",
        )
