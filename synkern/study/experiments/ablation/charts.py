"""The curves of an ablation on the page to explore, beside the published ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from synkern.interventions.curves.curve import MEASURES, AblationCurve
from synkern.study.explorer.explored import Chart, Line
from synkern.study.published import published

_LABELS = {
    "kl": "KL(intact || ablated), nats",
    "loss": "loss of the answer, nats",
    "agreement": "share of the answer's tokens that are likeliest",
}
_ORDERS = ("synergy", "random")


def charts_of(curve: AblationCurve, many: str) -> Iterator[Chart]:
    """Return a chart for each measure.

    Args:
        curve: of the experiment.
        many: what the nodes are called.
    """
    about = curve.about
    for measure in MEASURES:
        lines = [
            Line.of_draws(name, 100 * curve.fractions, draws)
            for name, draws in curve.mean(measure).items()
        ]
        yield Chart(
            name=f"ablation: {_LABELS[measure]}",
            x_label=f"{many} taken out, %",
            y_label=_LABELS[measure],
            lines=[*lines, *(_published() if measure == "kl" else ())],
            note=f"in orders by {about['ranking']} ({about['kind']}), mean over "
            f"{len(curve.tokens)} answers; band: all draws of a random order",
        )


def _published() -> Iterator[Line]:
    """The curves of the study, by model and order."""
    table = published("ablation")["tables"][0]
    for row in table["rows"]:
        for order in _ORDERS:
            yield Line(
                name=f"{row['model']}, {order}",
                x=np.array([100 * point["fraction"] for point in row["points"]]),
                y=np.array([point[order] for point in row["points"]]),
                style="dotted",
                published=True,
                source=f"{table['source']}; error {table['error']}",
            )
