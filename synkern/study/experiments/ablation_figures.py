"""The figures of an ablation: all orders together, and category by category."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from synkern.interventions.plotting import draw_on
from synkern.study.report.drawing import STYLE
from synkern.study.words import Words

if TYPE_CHECKING:
    from synkern.interventions import AblationCurve

# Of a category there is room for what matters most.
_OF_CATEGORIES = ("synergy", "redundancy", "random", "layer_matched", "norm")
_COLUMNS = 3
# Letters of a line above a panel.
_TITLE = 32


def curves(curve: AblationCurve, title: str, words: Words) -> Figure:
    """KL, loss and agreement of all orders.

    Args:
        curve: what was measured.
        title: of the whole figure.
        words: for the nodes.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7.4), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        axes = figure.subplot_mosaic([["kl", "kl"], ["loss", "agreement"]], height_ratios=(1.5, 1))
        for measure in ("kl", "loss", "agreement"):
            draw_on(axes[measure], curve.fractions, curve.mean(measure), measure)
            axes[measure].set_xlabel(f"{words.many} taken out, %")
        axes["agreement"].set_ylabel("agreement with the response")
        axes["kl"].legend(frameon=False, loc="upper left")
        return figure


def categories(curve: AblationCurve, title: str, words: Words) -> Figure:
    """KL of the main orders, a panel for each category of prompts, on one scale.

    Args:
        curve: what was measured, with a category for each text.
        title: of the whole figure.
        words: for the nodes.
    """
    parts = curve.by()
    columns = min(_COLUMNS, len(parts))
    rows = math.ceil(len(parts) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 0.8 + 2.6 * rows), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, (category, part) in zip(panels.flat, parts.items(), strict=False):
            heights = {name: h for name, h in part.kl.items() if name in _OF_CATEGORIES}
            draw_on(axes, part.fractions, heights)
            said = f"{category or 'no category'} ({len(part.tokens)})"
            axes.set_title(textwrap.fill(said, _TITLE))
            axes.set_xlabel(f"{words.many} taken out, %")
            axes.label_outer()
        for axes in panels.flat[len(parts) :]:
            axes.set_axis_off()
        panels[0, 0].legend(frameon=False, fontsize="small")
        return figure
