"""What fewer bits did, on the page to explore."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from synkern.interventions.compressing.compressed import Compression
from synkern.interventions.compressing.plotting import LABELS
from synkern.study.explorer.explored import Chart, Line


def charts_of(found: Compression, many: str) -> Iterator[Chart]:
    """Return divergence and, with tasks, accuracy over bits, a chart for each pair of bits.

    Args:
        found: by the experiment.
        many: what the nodes are called.
    """
    for measure in ("kl", "accuracy") if found.intact.right is not None else ("kl",):
        for panel in found.panels(measure):
            high, low = panel.pair
            lines = [Line.of_draws(name, panel.bits, d) for name, d in panel.lines.items()]
            same: Any = {"x": panel.same[:, 0], "y": panel.same[:, 1], "style": "dots"}
            yield Chart(
                name=f"compression: {LABELS[measure]}, {high} and {low} bits",
                x_label=f"bits per weight of the {many}",
                y_label=LABELS[measure],
                lines=[*lines, Line(name="all at the same bits", **same)],
                note=f"orders by {found.ranking}; the first {many} of an order are kept at {high} "
                f"bits, the others at {low}; band: all draws of a random order",
            )
