"""How certain the networks of a study are: the same measures over draws of trials.

Trials are drawn with replacement and averaged (`synkern.analysis.averages`), and both graphs are
measured anew, each beside one null graph of each kind, drawn from it. Intervals are percentiles
over the draws, so what a null leaves to chance is in them. The mean of fewer different trials is
noisier, which moves measures as well as it spreads them: where a value lies outside its own
interval, read the interval as wide, not as another place. For the same reason a draw may have too
many negative pairs for a graph where the mean of all trials has few: it has failed, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

import synkern._checks as check
from synkern.analysis.averages import Averages
from synkern.analysis.graph.null_graphs import NULL_GRAPHS, Drawn
from synkern.analysis.graph.results import MEASURES, ratio_to_null
from synkern.analysis.graph.topology import correlation, measured
from synkern.analysis.graph.weights import NoGraphError, WeightedGraph, layer_distances
from synkern.analysis.graph.workers import check_kept, each
from synkern.analysis.profile import MISSING_TOLERATED

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class NetworkIntervals:
    """Measures of both graphs, without threshold, over draws of trials.

    Attributes:
        raw: by `MEASURES`, (draws, 2), of synergy and of redundancy; NaN in a failed draw.
        ratio: by null and measure, (draws, 2): raw by that of one null graph of the draw; NaN where
            that is 0, as modularity is where no division into communities is better than none.
        spearman: (draws,) correlation over nodes of mean synergy and mean redundancy; NaN in a
            failed draw, or where either is the same everywhere.
        failed_draws: number of draws whose values make no graph, or a graph no null graph.
        failure: why the first of them does not; "" if none has failed.
        confidence: coverage aimed at by the intervals.
        trials: that were drawn from.
    """

    raw: Mapping[str, Floats]
    ratio: Mapping[str, Mapping[str, Floats]]
    spearman: Floats
    failed_draws: int
    failure: str
    confidence: float
    trials: int

    def __repr__(self) -> str:
        """One line: draws, trials."""
        failed = f", {self.failed_draws} of them failed" if self.failed_draws else ""
        return f"NetworkIntervals({len(self.spearman)} draws of {self.trials} trials{failed})"

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
    kept: MutableMapping[str, Any] | None = None,
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
        progress: called with the number of draws finished since the last call; at first with that
            of those in `kept`.
        kept: see `networks`, which may share it. Of another call by sizes and options is refused;
            that the averages are the same is left to the caller.

    Raises:
        ValueError: averages by node, fewer than 2 trials, an argument out of range, or `kept` of
            another call.
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
    kept = {} if kept is None else kept
    # Not the atoms: their last bits hang on the number of threads.
    sizes = averages.trials, averages.nodes, averages.entries, averages.missing
    told = repr((sizes, tuple(nulls), seed, bootstrap)).encode()
    check_kept(kept, "of draws", distances.tobytes(), told)
    names = [f"draw {place}" for place in range(bootstrap)]
    to_do = [place for place, name in enumerate(names) if name not in kept]
    progress(bootstrap - len(to_do))

    def task(place: int) -> _Task:
        atoms = averages.weighted(weights[place][None])
        return _Task(atoms["sts"][0], atoms["rtr"][0], distances, tuple(nulls), (seed, place))

    # One by one: what is drawn is as large as all pairs.
    for place, one in zip(to_do, each(_measured, map(task, to_do), workers), strict=True):
        kept[names[place]] = one
        progress(1)
    return _together([kept[name] for name in names], nulls, confidence, trials)


def _together(
    found: Sequence[_Measured], nulls: Sequence[str], confidence: float, trials: int
) -> NetworkIntervals:
    def values(null: str, measure: str) -> Floats:
        none = [np.nan, np.nan]
        return np.array(
            [none if one["failure"] else [g[null][measure] for g in one["graphs"]] for one in found]
        )

    raw = {m: values("", m) for m in MEASURES}
    failures = [one["failure"] for one in found if one["failure"]]
    return NetworkIntervals(
        raw=raw,
        ratio={
            null: {m: ratio_to_null(m, raw[m], values(null, m)) for m in MEASURES} for null in nulls
        },
        spearman=np.array([one["spearman"] for one in found]),
        failed_draws=len(failures),
        failure=failures[0] if failures else "",
        confidence=confidence,
        trials=trials,
    )


@dataclass(frozen=True)
class _Task:
    """A draw of trials."""

    sts: Floats
    rtr: Floats
    distances: NDArray[np.int64]
    nulls: tuple[str, ...]
    key: tuple[int, ...]


class _Measured(TypedDict):
    """What is found in a draw, such as JSON can hold.

    Attributes:
        graphs: of synergy and of redundancy: measures by null, "" being the graph itself.
        spearman: the correlation over nodes.
        failure: why there is nothing, or "".
    """

    graphs: list[dict[str, dict[str, float]]]
    spearman: float
    failure: str


def _measured(task: _Task) -> _Measured:
    try:
        graphs = [_of_graph(task, place) for place in range(2)]
    except NoGraphError as error:
        return {"graphs": [], "spearman": float("nan"), "failure": str(error)}
    return {"graphs": graphs, "spearman": correlation(task.sts, task.rtr)[0], "failure": ""}


def _of_graph(task: _Task, place: int) -> dict[str, dict[str, float]]:
    name, matrix = (("sts", task.sts), ("rtr", task.rtr))[place]
    drawn = Drawn(WeightedGraph.of(matrix, name), task.distances)
    one = {"": _at_once(drawn.graph.weights, (*task.key, place))}
    for k, null in enumerate(task.nulls, 1):
        key = (*task.key, place, k)
        one[null] = _at_once(NULL_GRAPHS[null](drawn, np.random.default_rng(key)), key)
    return one


def _at_once(weights: Floats, key: tuple[int, ...]) -> dict[str, float]:
    """`MEASURES`, modularity from one run, as of a null: a mean over draws needs no more."""
    return measured(weights, [(*key, 1)])[0]
