"""What the figures of a study have in common."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from synkern._figures import STYLE

__all__ = ["STYLE", "Floats", "colours", "spread"]

Floats = NDArray[np.float64]

_MISSING = "#BDBDBD"


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Indices below `count`, a round step apart, not more than `most`."""
    step = next(s for k in range(9) for s in (10**k, 2 * 10**k, 5 * 10**k) if count <= s * most)
    return np.arange(0, count, step)


def colours(name: str) -> Any:
    """A colour map in which what is missing is grey."""
    return mpl.colormaps[name].with_extremes(bad=_MISSING)
