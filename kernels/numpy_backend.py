"""Backend `numpy`: the eager engine on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .eager import Estimator, Pairs, decompose, request_for


class _NumPy:
    xp: Any = np

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return np.zeros(shape, dtype)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)

    def add_at(self, target: Any, index: tuple[Any, ...], values: Any) -> None:
        np.add.at(target, index, values)


def run(
    series: Any,
    *,
    estimator: Estimator,
    tau: int,
    pooled: str | None,
    names: Sequence[str],
    per_trial: bool,
    dtype: str,
) -> Pairs:
    """Decompose all pairs of a (trials, time, nodes) NumPy array; see `Pairs`."""
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    # Entries out of range (the diagonal, the singular) divide by zero before they are masked.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        features = estimator.features(np, series.astype(np.float64, copy=False), tau, pooled)
        return decompose(_NumPy(), features, names, request)
