"""What noise did, on the page to explore."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from synkern.interventions.accuracy.noised import NoiseAccuracy
from synkern.study.explorer.explored import Chart, Line


def charts_of(found: NoiseAccuracy, many: str) -> Iterator[Chart]:
    """Return accuracy against the strength of the noise.

    Args:
        found: by the experiment.
        many: what the nodes are called.
    """
    intact, at = np.array([100 * found.intact.mean()]), np.array([found.alpha])
    lines = [Line(name="intact", x=np.zeros(1), y=intact, style="dots")]
    if found.sweep is not None:
        lines.append(
            Line(
                name="other random subsets, to choose the strength",
                x=found.sweep.alphas,
                y=100 * found.sweep.accuracies,
                style="dashed",
            )
        )
    for name, right in found.right.items():
        runs = 100 * right.mean(-1).reshape(-1, 1)
        lines.append(Line.of_draws(name, at, runs, style="dots"))
    yield Chart(
        name="noise in the weights: accuracy",
        x_label="strength of the noise, alpha",
        y_label="tasks that are right, %",
        lines=lines,
        note=f"noise in {found.size} of {len(found.nodes)} {many} by {found.ranking}; "
        f"{len(found.problems)} tasks, of which chance has {100 * found.floor:.1f} % right",
    )
