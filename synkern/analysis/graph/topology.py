"""Synergy and redundancy as networks: measured raw as published, and beside nulls.

Published (arXiv:2601.06851, figure 3c) are efficiency and modularity of the graphs without
threshold, of raw weights, from one run of Louvain and without a null. So read, "synergy is more
efficient" says that its weights are larger, and "redundancy is more modular" may say that its
weights are more unequal or that layers differ. What survives a null is the statement.

Both networks are drawn and measured alike. All that is random follows from one seed: run r of
Louvain and draw d of a null have streams of their own, so that another number of workers, or of
nulls, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

import synkern._checks as check
from synkern._arrays import to_numpy
from synkern.analysis.graph import communities, measures
from synkern.analysis.graph.null_graphs import NULL_GRAPHS, Drawn
from synkern.analysis.graph.results import MEASURES, Floats, Network, Networks
from synkern.analysis.graph.weights import (
    WeightedGraph,
    densities_of,
    layer_distances,
    layers_checked,
    strongest,
)
from synkern.analysis.graph.workers import check_kept, each
from synkern.analysis.scores import mean_over_pairs, tied_rank

RESOLUTIONS = (0.5, 0.75, 1.0, 1.5, 2.0)

NEGATIVE = "no edge (weight 0); refused where more than 5 % of the pairs are negative"
"""What is done to negative weights, and said in every result."""

_RUNS_ASIDE = 20
_MANY_NODES = 500
"""Above this, fewer and cheaper nulls by default: a shortest path costs nodes cubed."""

_SAME = 1e-12
"""Difference of means over pairs, of which the largest is 1, that rounding makes."""

# Streams of random numbers of one seed.
_OF_RUNS, _OF_ASIDE, _OF_SWEEP, _OF_NULLS, _OF_NULL_RUNS = range(5)


@dataclass(frozen=True)
class _Task:
    """One piece of work that needs no other, for `_done`.

    Attributes:
        weights: to be measured; of a null, what it is drawn from is in `drawn`.
        densities: at which to measure; none: only the runs of Louvain.
        seeds: of the runs of Louvain, at each density.
        resolution: of them.
        drawn, null, key: the graph that a null is drawn from, its name, and the seed.
    """

    weights: Floats | None
    densities: tuple[float, ...]
    seeds: list[tuple[int, ...]]
    resolution: float = 1.0
    drawn: Drawn | None = None
    null: str = ""
    key: tuple[int, ...] = ()


def networks(
    sts: Any,
    rtr: Any,
    layers: Any,
    *,
    densities: Sequence[float] | None = None,
    resolutions: Sequence[float] = RESOLUTIONS,
    runs: int = 100,
    nulls: Sequence[str] = tuple(NULL_GRAPHS),
    draws: int | None = None,
    null_runs: int = 1,
    null_densities: Sequence[float] | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
    kept: MutableMapping[str, Any] | None = None,
) -> Networks:
    """Measure the graphs of synergy and redundancy, and null graphs of either.

    Args:
        sts: (nodes, nodes), synergy of all pairs, averaged over trials; any kind of array, NaN
            where a pair has no value. The diagonal is ignored.
        rtr: the same, redundancy.
        layers: (nodes,) whole numbers.
        densities: shares of the pairs, strongest first, at which to measure; above 0 and up to 1,
            which is measured in any case. None: 0.05, 0.1, 0.15, 0.2 and 0.3, less those that keep
            fewer edges than could join all nodes, see `weights.densities_of`.
        resolutions: at which communities are looked for; 1 is in any case.
        runs: of Louvain on either graph as it is.
        nulls: names from `NULL_GRAPHS`.
        draws: null graphs of each kind, at least 2; None: 100 up to 500 nodes, 20 beyond.
        null_runs: of Louvain on each. Modularity is compared by its mean over runs, so that their
            number may differ.
        null_densities: from the densities, 1 in any case; None: all up to 500 nodes, 1 beyond.
        seed: of all that is drawn, a whole number from 0.
        workers: number of processes to share the work; the results are the same for any. Above 1,
            a script has to start its own work under `if __name__ == "__main__":`.
        progress: called with the number of pieces of work that are done, and of all: before the
            first, and after each.
        kept: what is done so far, by the name of the piece of work, such as JSON can hold; each
            further piece is put in as it is done, so that the same call with it goes on from there
            and ends with the same numbers. What another call has left is refused. None: nothing.

    Returns:
        `Networks`.

    Raises:
        ValueError: matrices that do not fit, or that make no graph (see `WeightedGraph.of`); an
            argument out of range; a null that cannot be drawn.
        MissingExtraError: scipy or scikit-network is not installed.
    """
    graphs = {"synergy": WeightedGraph.of(sts, "sts"), "redundancy": WeightedGraph.of(rtr, "rtr")}
    nodes = graphs["synergy"].nodes
    if graphs["redundancy"].nodes != nodes:
        raise ValueError(
            f"sts has {nodes} nodes and rtr {graphs['redundancy'].nodes}; give both from one result"
        )
    many = nodes > _MANY_NODES
    draws = (20 if many else 100) if draws is None else draws
    at, dropped = densities_of("densities", densities, nodes)
    null_at = at if not many else (1.0,)
    if null_densities is not None:
        null_at, _ = densities_of("null_densities", null_densities, nodes)
    if not set(null_at) <= set(at):
        raise ValueError(f"null_densities = {null_at}: choose from densities, {at}")
    for name in nulls:
        check.choice("nulls", name, tuple(NULL_GRAPHS))
    for argument, value, least in (
        ("runs", runs, 2),
        ("draws", draws, 2),
        ("null_runs", null_runs, 1),
        ("workers", workers, 1),
        ("seed", seed, 0),
    ):
        check.whole(argument, value, least)
    swept = _swept(resolutions)
    distances = layer_distances(layers, nodes)
    plan = _Plan(at, swept, null_at, runs, tuple(nulls), draws, null_runs, seed)
    tasks = {name: plan.tasks(graph, distances) for name, graph in graphs.items()}
    kept = {} if kept is None else kept
    contents = [graph.weights.tobytes() + graph.valued.tobytes() for graph in graphs.values()]
    check_kept(kept, "of graphs", *contents, distances.tobytes(), repr(plan).encode())
    done = _carried_out(tasks, workers, progress, kept)
    checked = layers_checked(layers, nodes)
    found = {name: plan.network(graph, checked, done[name]) for name, graph in graphs.items()}
    spearman, pearson = correlation(to_numpy(sts), to_numpy(rtr))
    return Networks(
        **found,
        layers=checked,
        spearman=spearman,
        pearson=pearson,
        runs=runs,
        runs_aside=min(runs, _RUNS_ASIDE),
        null_runs=null_runs,
        draws=draws,
        dropped=dropped,
        negative=NEGATIVE,
        seed=seed,
    )


def _carried_out(
    tasks: Mapping[str, list[tuple[str, _Task]]],
    workers: int,
    progress: Callable[[int, int], None],
    kept: MutableMapping[str, Any],
) -> dict[str, dict[str, list[_Done]]]:
    """By graph, and name of its tasks: what these come to, in their order."""
    named = {
        f"{name} {place}": (name, said, task)
        for name, of_graph in tasks.items()
        for place, (said, task) in enumerate(of_graph)
    }
    to_do = [name for name in named if name not in kept]
    progress(len(named) - len(to_do), len(named))
    answers = each(_done, [named[name][2] for name in to_do], workers)
    for count, (name, answer) in enumerate(
        zip(to_do, answers, strict=True), len(named) - len(to_do) + 1
    ):
        kept[name] = answer
        progress(count, len(named))
    done: dict[str, dict[str, list[_Done]]] = {name: {} for name in tasks}
    for name, (graph, said, _) in named.items():
        done[graph].setdefault(said, []).append(kept[name])
    return done


def correlation(sts: Floats, rtr: Floats) -> tuple[float, float]:
    """Spearman's and Pearson's correlation over nodes of mean synergy and mean redundancy.

    Args:
        sts, rtr: (nodes, nodes), NaN where there is no value; the diagonal is left out.

    Returns:
        Both; NaN where either mean is the same for all nodes, up to rounding.
    """
    means = []
    for matrix in (sts, rtr):
        off = np.array(matrix, np.float64)
        np.fill_diagonal(off, np.nan)
        means.append(mean_over_pairs(off))
    both = np.isfinite(means[0]) & np.isfinite(means[1])
    # By the largest: squares of very small means would be 0.
    one, other = (mean[both] / np.abs(mean[both]).max() for mean in means)
    if any(np.ptp(mean) <= _SAME for mean in (one, other)):
        return float("nan"), float("nan")
    ranks = np.corrcoef(tied_rank(one), tied_rank(other))[0, 1]
    return float(ranks), float(np.corrcoef(one, other)[0, 1])


def measured(
    weights: Floats, seeds: Sequence[tuple[int, ...]]
) -> tuple[dict[str, float], communities.Runs]:
    """`MEASURES` of a graph, (nodes, nodes), and the runs of Louvain, one for each seed."""
    found = communities.louvain(weights, seeds)
    along = measures.paths(weights)
    values = {
        "efficiency": along.efficiency,
        "path_length": along.path_length,
        "clustering": measures.clustering(weights),
        "modularity": float(found.modularity.mean()),
    }
    return values, found


class _Done(TypedDict):
    """What a task comes to, such as JSON can hold.

    Attributes:
        measures: by name, one number for each density.
        labels, modularity: of the runs of Louvain at the last density, see `communities.Runs`.
    """

    measures: dict[str, list[float]]
    labels: list[list[int]]
    modularity: list[float]


def _runs(*done: _Done) -> communities.Runs:
    """The runs of all these, one after the other."""
    return communities.Runs(
        np.concatenate([np.array(one["labels"], np.int64) for one in done]),
        np.concatenate([np.array(one["modularity"]) for one in done]),
    )


def _done(task: _Task) -> _Done:
    """Do a task, in whatever process."""
    weights = task.weights
    if task.drawn is not None:
        weights = NULL_GRAPHS[task.null](task.drawn, np.random.default_rng(task.key))
    assert weights is not None
    values: dict[str, list[float]] = {name: [] for name in MEASURES}
    for density in task.densities:
        one, found = measured(strongest(weights, density), task.seeds)
        for name, value in one.items():
            values[name].append(value)
    if not task.densities:
        found = communities.louvain(weights, task.seeds, task.resolution)
    return {
        "measures": values,
        "labels": found.labels.tolist(),
        "modularity": found.modularity.tolist(),
    }


@dataclass(frozen=True)
class _Plan:
    """What is done to either graph; see the arguments of `networks`."""

    densities: tuple[float, ...]
    resolutions: tuple[float, ...]
    null_densities: tuple[float, ...]
    runs: int
    nulls: tuple[str, ...]
    draws: int
    null_runs: int
    seed: int

    def seeds(self, stream: int, count: int, *key: int) -> list[tuple[int, ...]]:
        """Seeds of so many runs of Louvain."""
        return [(self.seed, stream, *key, run) for run in range(count)]

    def tasks(self, graph: WeightedGraph, distances: NDArray[np.int64]) -> list[tuple[str, _Task]]:
        """Name and task of all there is to do for a graph."""
        weights = graph.weights
        aside = min(self.runs, _RUNS_ASIDE)
        tasks = []
        whole = self.seeds(_OF_RUNS, self.runs)
        # The first runs with the measures, the others in parts that are shared among workers.
        for start in range(0, self.runs, _RUNS_ASIDE):
            at = (1.0,) if start == 0 else ()
            tasks.append(("runs", _Task(weights, at, whole[start : start + _RUNS_ASIDE])))
        for place, density in enumerate(self.densities[:-1]):
            seeds = self.seeds(_OF_ASIDE, aside, place)
            tasks.append(("thresholds", _Task(weights, (density,), seeds)))
        for place, resolution in enumerate(self.resolutions):
            if resolution != 1:
                seeds = self.seeds(_OF_SWEEP, aside, place)
                tasks.append(("resolutions", _Task(weights, (), seeds, resolution)))
        drawn = Drawn(graph, distances)
        for name in self.nulls:
            place = list(NULL_GRAPHS).index(name)
            for draw in range(self.draws):
                task = _Task(
                    weights=None,
                    densities=self.null_densities,
                    seeds=self.seeds(_OF_NULL_RUNS, self.null_runs, place, draw),
                    drawn=drawn,
                    null=name,
                    key=(self.seed, _OF_NULLS, place, draw),
                )
                tasks.append((f"null {name}", task))
        return tasks

    def network(
        self, graph: WeightedGraph, layers: NDArray[np.int64], done: Mapping[str, list[_Done]]
    ) -> Network:
        """Put together what `tasks` came to, by name."""
        found = _runs(*done["runs"])
        whole = done["runs"][0]["measures"] | {"modularity": [float(found.modularity.mean())]}
        by_density = [one["measures"] for one in done.get("thresholds", [])] + [whole]
        measured = {name: np.array([v[name][0] for v in by_density]) for name in MEASURES}
        agreed = communities.consensus(found.labels, self.seed)
        known = bool((agreed != communities.NO_COMMUNITY).all())
        rest = iter(done.get("resolutions", []))
        swept = [found if r == 1 else _runs(next(rest)) for r in self.resolutions]
        return Network(
            graph=graph,
            densities=np.array(self.densities),
            measured=measured,
            area={name: self._area(values) for name, values in measured.items()},
            null_densities=np.array(self.null_densities),
            nulls={
                name: {
                    m: np.array([one["measures"][m] for one in done[f"null {name}"]])
                    for m in MEASURES
                }
                for name in self.nulls
            },
            run_modularity=found.modularity,
            partition=found.best,
            consensus=agreed,
            participation=measures.participation(graph.weights, agreed)
            if known
            else np.full(graph.nodes, np.nan),
            resolutions=np.array(self.resolutions),
            swept_modularity=np.array([one.modularity.max() for one in swept]),
            swept_communities=np.array([one.best.max() + 1 for one in swept]),
            swept_agreement=np.array(
                [communities.adjusted_rand(one.best, layers) for one in swept]
            ),
            layer_modularity=measures.modularity(graph.weights, layers),
            layer_agreement=communities.adjusted_rand(agreed, layers) if known else float("nan"),
            run_agreement=float(
                np.mean([communities.adjusted_rand(found.best, labels) for labels in found.labels])
            ),
        )

    def _area(self, values: Floats) -> float:
        at = np.array(self.densities[:-1])
        if len(at) < 2:
            return float("nan")
        return float(np.trapezoid(values[:-1], at) / (at[-1] - at[0]))


def _swept(resolutions: Sequence[float]) -> tuple[float, ...]:
    wrong = [value for value in resolutions if not (np.isfinite(value) and value > 0)]
    if wrong:
        raise ValueError(f"resolutions has {wrong[0]!r}; give numbers above 0")
    return tuple(sorted({*map(float, resolutions), 1.0}))
