"""What all figures have in common."""

from __future__ import annotations

from typing import Any

STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    # Names of models and nodes are text, whatever they hold: "$" begins no formula.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
}
"""For `matplotlib.rc_context`, which holds while a figure is drawn and while it is saved."""
