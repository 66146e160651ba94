"""Series in many blocks, and stores compared file by file."""

from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
"""Of the smallest blocks."""


def series(trials: int = 2, time: int = 40, nodes: int = 200) -> Any:
    """Persistent series, related to each other."""
    rng = np.random.default_rng(nodes)
    values = rng.standard_normal((trials, time, nodes)) + rng.standard_normal((trials, time, 1))
    for step in range(1, time):
        values[:, step] += 0.5 * values[:, step - 1]
    return values


def files(folder: Path) -> dict[str, bytes]:
    """All files of a store, by path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def same(big: Any, small: Any) -> None:
    """Check that the matrices of blocks have the bits of a result of `phiid`."""
    assert list(big) == list(small)
    for name in small:
        np.testing.assert_array_equal(np.asarray(big[name]), small[name])
