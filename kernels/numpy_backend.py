"""Backend `numpy`: the eager engine on NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from .contract import Estimator, Nodes, Pairs
from .engine.all_pairs import decompose, request_for, totals
from .engine.chosen_pairs import decompose_chosen
from .engine.node_means import decompose_nodes


class _NumPy:
    xp: Any = np

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return np.zeros(shape, dtype)

    def arange(self, stop: int, like: Any) -> Any:
        return np.arange(stop)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype, copy=False)

    def keep(self, values: Any, mask: Any) -> Any:
        return values * mask

    def add_at(self, target: Any, index: tuple[Any, ...], values: Any) -> None:
        np.add.at(target, index, values)


LIBRARY = _NumPy()


def run(
    series: Any,
    *,
    estimator: Estimator,
    tau: int,
    pooled: str | None,
    names: Sequence[str],
    per_trial: bool,
    dtype: str,
    pairs: Any | None = None,
    reduce: str | None = None,
) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) NumPy array; see `Pairs`, `Nodes`."""
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    totals_of = functools.partial(totals, LIBRARY)
    # Entries out of range (the diagonal, the singular) divide by zero before they are masked.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        features = estimator.features(LIBRARY, series, tau, pooled)
        if reduce == "nodes":
            return decompose_nodes(LIBRARY, features, request)
        if pairs is not None:
            return decompose_chosen(LIBRARY, features, names, request, totals_of, pairs)
        return decompose(LIBRARY, features, names, request, totals_of)
