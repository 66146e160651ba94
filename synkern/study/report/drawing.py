"""What the figures of a study have in common."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MISSING = "#BDBDBD"
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    # Names of models and nodes are text, whatever they hold: "$" begins no formula.
    "text.parse_math": False,
    "text.usetex": False,
    "axes.formatter.use_mathtext": False,
}
"""Holds while a figure is drawn and while it is saved."""


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Indices below `count`, a round step apart, not more than `most`."""
    step = next(s for k in range(9) for s in (10**k, 2 * 10**k, 5 * 10**k) if count <= s * most)
    return np.arange(0, count, step)


def colours(name: str) -> Any:
    """A colour map in which what is missing is grey."""
    return mpl.colormaps[name].with_extremes(bad=_MISSING)
