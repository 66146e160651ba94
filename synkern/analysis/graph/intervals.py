"""How certain the networks of a study are: the same measures over draws of trials.

Trials are drawn with replacement and averaged (`synkern.analysis.averages`), and both graphs are
measured anew, each beside one null graph of each kind, drawn from it. Intervals are percentiles
over the draws, so what a null leaves to chance is in them. The mean of fewer different trials is
noisier, which moves measures as well as it spreads them: where a value lies outside its own
interval, read the interval as wide, not as another place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import synkern._checks as check
from synkern.analysis.averages import Averages
from synkern.analysis.graph.null_graphs import NULL_GRAPHS, Drawn
from synkern.analysis.graph.results import MEASURES
from synkern.analysis.graph.topology import correlation, measured
from synkern.analysis.graph.weights import WeightedGraph, layer_distances
from synkern.analysis.graph.workers import each
from synkern.analysis.profile import MISSING_TOLERATED

Floats = NDArray[np.float64]

_ROUNDING = 1e-12
"""Of a modularity, which is a difference of numbers up to 1."""


@dataclass(frozen=True, eq=False, repr=False)
class NetworkIntervals:
    """Measures of both graphs, without threshold, over draws of trials.

    Attributes:
        raw: by `MEASURES`, (draws, 2), of synergy and of redundancy.
        ratio: by null and measure, (draws, 2): raw by that of one null graph of the draw; NaN where
            that is 0, as modularity is where no division into communities is better than none.
        spearman: (draws,) correlation over nodes of mean synergy and mean redundancy.
        confidence: coverage aimed at by the intervals.
        trials: that were drawn from.
    """

    raw: Mapping[str, Floats]
    ratio: Mapping[str, Mapping[str, Floats]]
    spearman: Floats
    confidence: float
    trials: int

    def __repr__(self) -> str:
        """One line: draws, trials."""
        return f"NetworkIntervals({len(self.spearman)} draws of {self.trials} trials)"

    def interval(self, values: Floats) -> Floats:
        """Both ends of the interval of draws (draws, ...), as (2, ...).

        NaN where more than a few draws have no value: the rest are those that happen to have one.
        """
        tails = [50 * (1 - self.confidence), 50 * (1 + self.confidence)]
        ends = np.full((2, *values.shape[1:]), np.nan)
        most = np.isnan(values).mean(0) <= MISSING_TOLERATED
        ends[:, most] = np.nanpercentile(values[:, most], tails, axis=0)
        return ends

    def difference(self, measure: str, null: str | None = None) -> tuple[float, float]:
        """Interval of synergy minus redundancy, of a ratio to a null or (None) of raw values.

        Only that of a ratio speaks of the networks; raw values differ as the weights do.
        """
        values = self.raw[measure] if null is None else self.ratio[null][measure]
        low, high = self.interval(values[:, 0] - values[:, 1])
        return float(low), float(high)


def network_intervals(
    averages: Averages,
    layers: object,
    *,
    bootstrap: int = 200,
    nulls: Sequence[str] = tuple(NULL_GRAPHS),
    confidence: float = 0.95,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int], None] = lambda draws: None,
) -> NetworkIntervals:
    """Measure both graphs over draws of trials.

    Args:
        averages: of `sts` and `rtr` of all pairs: `TrialAverages` or `PooledAverages`.
        layers: (nodes,) whole numbers.
        bootstrap: number of draws, at least 20.
        nulls: names from `NULL_GRAPHS`.
        confidence: coverage of the intervals, above 0 and below 1.
        seed: of all that is drawn.
        workers: see `networks`.
        progress: called with the number of draws finished since the last call.

    Raises:
        ValueError: averages by node, fewer than 2 trials, an argument out of range, or a draw that
            makes no graph.
        MissingExtraError: scipy or scikit-network is not installed.
    """
    if averages.numbers != averages.nodes**2:
        raise ValueError(
            "averages holds means by node, and a graph needs single pairs; give TrialAverages"
        )
    if averages.trials < 2:
        raise ValueError(f"averages has {averages.trials} trial(s); a bootstrap needs at least 2")
    check.whole("bootstrap", bootstrap, 20)
    check.whole("workers", workers, 1)
    check.confidence(confidence)
    for name in nulls:
        check.choice("nulls", name, tuple(NULL_GRAPHS))
    distances = layer_distances(layers, averages.nodes)
    trials = averages.trials
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(trials, np.full(trials, 1 / trials), size=bootstrap).astype(float)
    drawn = (averages.weighted(row[None]) for row in weights)
    tasks = (
        _Task(atoms["sts"][0], atoms["rtr"][0], distances, tuple(nulls), (seed, place))
        for place, atoms in enumerate(drawn)
    )
    found = []
    for one in each(_measured, tasks, workers):
        found.append(one)
        progress(1)
    by_null = {
        null: {m: np.array([[g[null][m] for g in one] for one, _ in found]) for m in MEASURES}
        for null in ("", *nulls)
    }
    return NetworkIntervals(
        raw=by_null[""],
        ratio={
            null: {m: _ratio(m, by_null[""][m], by_null[null][m]) for m in MEASURES}
            for null in nulls
        },
        spearman=np.array([rho for _, rho in found]),
        confidence=confidence,
        trials=trials,
    )


def _ratio(measure: str, values: Floats, null: Floats) -> Floats:
    """Their ratio, NaN where that of the null is 0: of a modularity, up to rounding."""
    there = np.abs(null) > (_ROUNDING if measure == "modularity" else 0)
    return np.where(there, values / np.where(there, null, 1.0), np.nan)


@dataclass(frozen=True)
class _Task:
    """A draw of trials."""

    sts: Floats
    rtr: Floats
    distances: NDArray[np.int64]
    nulls: tuple[str, ...]
    key: tuple[int, ...]


_Measured = tuple[list[dict[str, dict[str, float]]], float]
"""By graph: measures by null, "" being the graph itself; and the correlation over nodes."""


def _measured(task: _Task) -> _Measured:
    graphs = []
    for place, matrix in enumerate((task.sts, task.rtr)):
        drawn = Drawn(WeightedGraph.of(matrix, ("sts", "rtr")[place]), task.distances)
        one = {"": _at_once(drawn.graph.weights, (*task.key, place))}
        for k, null in enumerate(task.nulls, 1):
            key = (*task.key, place, k)
            one[null] = _at_once(NULL_GRAPHS[null](drawn, np.random.default_rng(key)), key)
        graphs.append(one)
    return graphs, correlation(task.sts, task.rtr)[0]


def _at_once(weights: Floats, key: tuple[int, ...]) -> dict[str, float]:
    """`MEASURES`, modularity from one run, as of a null: a mean over draws needs no more."""
    return measured(weights, [(*key, 1)])[0]
