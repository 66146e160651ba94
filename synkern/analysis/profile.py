"""Layer profiles: how a ranking of the nodes runs over depth, and how certain that is.

Every ranking gives one score per node. Scores are scaled to [0, 1] over all nodes (smallest 0,
largest 1), so that rankings with different units can be compared, and averaged over the nodes of
each layer. (The mean of a single atom, `MEANS`, keeps the atom's unit instead.) Layers lie at
relative depth d in [0, 1], evenly spaced by their index (first recorded layer 0, last 1). A
parabola is fitted to the layer means by least squares, every layer with the same weight, in the
centred depth u = 2 d - 1:

    profile(d) ~ level + slope * u + quadratic * u**2

With evenly spaced layers u is orthogonal to 1 and u**2, so the tilt of a profile does not leak into
its bend. `quadratic` is the mean of the parabola's two ends minus its middle, in units of the
scaled score: -0.3 says that the middle lies 0.3 of the whole range of node scores above the ends.
(The coefficient of d**2 is four times that.) The vertex lies at d = 1/2 - slope / (4 quadratic).

Uncertainty is over trials: trials are drawn with replacement, matrices averaged over the drawn
trials (`synkern.analysis.averages`), and scores, scaling, layer means and fit computed anew for
each draw. Intervals are percentiles over the draws (Efron and Tibshirani 1993, chapter 13). The
nodes stay
fixed: the statement is about this model, answering other prompts of the same kind.

A bend is not yet an inverted U: a profile that rises ever more slowly has one, and a vertex inside
the depth (Simonsohn 2018, Advances in Methods and Practices in Psychological Science 1, 538). So
the profile is split at the vertex, and a straight line fitted to the layer means on either side;
the vertex of the fit to all trials splits every draw. The intervals of the two slopes, in scaled
score over the whole depth, have to say that the profile rises before and falls after the vertex.

That it does for any prompts does not make depth its reason: layers that merely differ, as those of
one draw of random weights do, may rise and fall in any order. `shuffled_p` asks how often the same
layer means in a random order bend downwards as much. It takes the layers for exchangeable, which
neighbours that are alike are not, so it claims too much for smooth profiles. Of 4,000 sets of 30
layer means without any trend and known exactly, `inverted_u` holds for 5 % if they are white noise,
for 19 % if they follow an autoregression of 0.7, and for 23 % at 0.9 (without the slopes: 6, 22 and
28 %). The slopes' intervals, over trials alone, do not know about the scatter of the layers either:
of means that saturate as 1 - exp(-5 d), none passes by itself, but 26 % (49 %) with a scatter of
0.02 (0.1) from layer to layer, because their level end happens to fall.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

import synkern._checks as check
from synkern.analysis import parabola
from synkern.analysis.averages import Averages, Floats
from synkern.analysis.scores import RANKINGS

MEANS = {"synergy": "sts", "excess_synergy": "excess", "unrelated_excess": "excess"}
"""Scores beside the rankings: the mean over a node's pairs of the atom named. (`excess` is sts
beyond persistence, of the nodes as they are or of nodes without relation.) They keep the atom's
unit: their profiles are not scaled, so that models and atoms can be compared."""

MISSING_TOLERATED = 0.05
"""A profile that lacks a larger share of its (trial, pair) is one of the rest that happens to have
a value, and no inverted U is claimed for it."""

# Below this number of draws the ends of a 95 % interval are two or three draws: noise.
_FEWEST_DRAWS = 100
# Working memory of one chunk of draws, in bytes; the input is not counted.
_CHUNK_BYTES = 400 * 2**20
# Arrays of the atoms' size alive at once per draw: two averages, and temporaries of the scores.
_ARRAYS_PER_DRAW = 6


@dataclass(frozen=True, repr=False)
class LayerProfile:
    """The profile of one ranking over depth, with a parabola fitted to it.

    See the module for what is fitted and how the intervals come about.

    Attributes:
        ranking: name of the ranking, or of one of `MEANS`.
        layers: (layers,) int64, layer indices in rising order.
        depth: (layers,) float64, relative depth in [0, 1].
        scores: (nodes,) float64, the nodes' scores, from the matrices averaged over trials. In
            the unit of the atoms for `mean_difference` and `MEANS`, ranks for `rank_difference`, a
            fraction for `balance`.
        scaled: (nodes,) float64, the scores scaled to [0, 1], or unscaled for one of `MEANS`, whose
            means, terms and slopes below are then in their unit; NaN for a node without a valid
            pair.
        mean: (layers,) float64, mean scaled score of each layer; NaN if it has no valid node.
        lower, upper: (layers,) float64, ends of the bootstrap interval of `mean`, by layer.
        fitted: (layers,) float64, the parabola at `depth`.
        quadratic: mean of the parabola's ends minus its middle, in scaled score.
        quadratic_interval: ends of its bootstrap interval.
        vertex: relative depth of the parabola's vertex; infinite for a straight line.
        vertex_interval: ends of its bootstrap interval; wide where the bend is uncertain.
        rise_interval: ends of the bootstrap interval of the layer means' slope up to the vertex, in
            scaled score over the whole depth; NaN where fewer than 3 layers lie there.
        fall_interval: the same from the vertex on.
        shuffled_p: share of random orders of the layers whose quadratic term is as low as this one
            or lower, the given order counted in: a one-sided permutation test of "the layers'
            order does not matter" against an inverted U.
        confidence: coverage aimed at by every interval.
        trials: number of trials.
        draws: number of bootstrap draws that entered the intervals.
        failed_draws: draws left out because in them a layer had no valid pair at all, or all nodes
            the same score.
        skipped_pair_trials: number of (trial, pair) that were NaN and entered no average; of pairs,
            where trials are pooled.
        missing_share: their share of all, from 0 to 1.
        skipped_nodes: number of nodes without any valid pair.
    """

    ranking: str
    layers: NDArray[np.int64]
    depth: Floats
    scores: Floats
    scaled: Floats
    mean: Floats
    lower: Floats
    upper: Floats
    fitted: Floats
    quadratic: float
    quadratic_interval: tuple[float, float]
    vertex: float
    vertex_interval: tuple[float, float]
    rise_interval: tuple[float, float]
    fall_interval: tuple[float, float]
    shuffled_p: float
    confidence: float
    trials: int
    draws: int
    failed_draws: int
    skipped_pair_trials: int
    missing_share: float
    skipped_nodes: int

    def __repr__(self) -> str:
        """One line: ranking, size, the quadratic term and the verdict."""
        low, high = self.quadratic_interval
        verdict = "inverted U" if self.inverted_u else "no inverted U"
        return (
            f"LayerProfile({self.ranking!r}; {len(self.scores)} nodes in {len(self.layers)} layers "
            f"x {self.trials} trials, quadratic {self.quadratic:+.4f} [{low:+.4f}, {high:+.4f}], "
            f"{verdict})"
        )

    @property
    def complete(self) -> bool:
        """Whether no more than `MISSING_TOLERATED` of the (trial, pair) lack a value."""
        return self.missing_share <= MISSING_TOLERATED

    @property
    def inverted_u(self) -> bool:
        """Whether the profile rises and then falls, with other prompts too, and hardly by chance.

        It is complete, all of `quadratic_interval` is below 0, all of `rise_interval` above and all
        of `fall_interval` below, and `shuffled_p` is below 1 - confidence. What the last cannot
        rule out is in the module's text.
        """
        bends_down = self.quadratic_interval[1] < 0
        rises_and_falls = self.rise_interval[0] > 0 > self.fall_interval[1]
        unlikely = self.shuffled_p < 1 - self.confidence
        return self.complete and bends_down and rises_and_falls and unlikely

    @property
    def verdict(self) -> bool | None:
        """`inverted_u` of a profile that is complete; of a biased rest there is none."""
        return self.inverted_u if self.complete else None

    def top_layers(self, count: int = 3) -> tuple[int, ...]:
        """The `count` layers with the highest mean, highest first."""
        usable = np.flatnonzero(np.isfinite(self.mean))
        order = usable[np.argsort(-self.mean[usable], kind="stable")]
        return tuple(int(layer) for layer in self.layers[order[:count]])


def layer_profiles(
    averages: Averages,
    layers: ArrayLike,
    *,
    rankings: Sequence[str] = RANKINGS,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] = lambda draws: None,
) -> dict[str, LayerProfile]:
    """Profiles over depth of one or more rankings, with bootstrap intervals over trials.

    All rankings see the same draws. A (trial, pair) without a value is left out of the averages and
    counted; it never counts as zero.

    Args:
        averages: of the atoms that the rankings are made of: `sts` and `rtr`, or one for a mean.
            Of `NodeAverages`, only the rankings in `synkern.analysis.scores.OF_MEANS`, and means.
        layers: (nodes,) integer, the layer of each node.
        rankings: names from `synkern.analysis.scores.RANKINGS` or `MEANS`.
        bootstrap: number of draws, at least 100.
        confidence: coverage of the intervals, above 0 and below 1.
        seed: seed of the draws and of the shuffles.
        progress: called with the number of draws finished since the last call.

    Returns:
        One `LayerProfile` per ranking, in the given order.

    Raises:
        ValueError: layers that do not fit the nodes, fewer than 2 trials, fewer than 3 layers (a
            parabola needs three points), an argument out of range, too few valid pairs, or a
            ranking in which all nodes score the same.
    """
    axis = Axis.of(layers, averages.nodes)
    _check_options(rankings, bootstrap, confidence)
    if averages.trials < 2:
        raise ValueError(
            f"averages has {averages.trials} trial(s); a bootstrap over trials needs at least 2: "
            "give more"
        )
    whole = averages.weighted(np.ones((1, averages.trials)))  # a draw of its own
    points = {ranking: axis.scored(averages, whole, ranking) for ranking in rankings}
    for ranking, point in points.items():
        if not np.isfinite(point.scaled).any():
            raise ValueError(
                f"ranking {ranking!r}: all nodes have the same score, so there is no profile to "
                "show; check that the nodes' series differ"
            )
    draws = _drawn(averages, axis, rankings, bootstrap, seed, progress)
    counted = {
        "trials": averages.trials,
        "skipped_pair_trials": averages.missing,
        "missing_share": averages.missing / averages.entries,
    }
    return {
        ranking: _profile(ranking, axis, points[ranking], draws[ranking], confidence, seed, counted)
        for ranking in rankings
    }


class Scored(NamedTuple):
    """Scores of nodes and their means by layer, of one or more draws of trials.

    Attributes:
        scores: (draws, nodes).
        scaled: (draws, nodes), scaled to [0, 1] in each draw, or as they are for one of `MEANS`.
        mean: (draws, layers) of the scaled ones.
    """

    scores: Floats
    scaled: Floats
    mean: Floats


class Axis(NamedTuple):
    """The layers of the nodes, as the axis of a profile.

    Attributes:
        layers: (layers,) in rising order.
        place: (nodes,) of each node's layer among them.
        depth: (layers,) relative depth in [0, 1].
    """

    layers: NDArray[np.int64]
    place: NDArray[np.intp]
    depth: Floats

    @classmethod
    def of(cls, layers: ArrayLike, nodes: int) -> Axis:
        """Check the layers of so many nodes; raises ValueError."""
        place, unique = _layers_checked(layers, nodes)
        return cls(unique, place, (unique - unique[0]) / (unique[-1] - unique[0]))

    def scored(self, averages: Averages, atoms: Mapping[str, Floats], ranking: str) -> Scored:
        """Scores by a ranking of draws of atoms, as `averages.weighted` gives them."""
        if ranking in MEANS:
            scores = scaled = averages.by_node(atoms[MEANS[ranking]])
        else:
            scores = averages.scored(atoms, ranking)
            scaled = _scaled(scores)
        return Scored(scores, scaled, _layer_means(scaled, self.place, len(self.layers)))

    def means(self, values: Floats) -> Floats:
        """Mean over the nodes of each layer that have a value, (draws, nodes) to (draws, layers).

        NaN for a layer that has none.
        """
        return _layer_means(values, self.place, len(self.layers))


def _drawn(
    averages: Averages,
    axis: Axis,
    rankings: Sequence[str],
    bootstrap: int,
    seed: int,
    progress: Callable[[int], None],
) -> dict[str, Floats]:
    """Layer means (draws, layers) by ranking, of trials drawn with replacement."""
    trials = averages.trials
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(trials, np.full(trials, 1 / trials), size=bootstrap).astype(float)
    draws: dict[str, list[Floats]] = {ranking: [] for ranking in rankings}
    chunk = max(1, _CHUNK_BYTES // (8 * _ARRAYS_PER_DRAW * averages.numbers))
    if not averages.batched:
        chunk = 1  # so that the progress shows
    for start in range(0, bootstrap, chunk):
        atoms = averages.weighted(weights[start : start + chunk])
        for ranking in rankings:
            draws[ranking].append(axis.scored(averages, atoms, ranking).mean)
        progress(min(chunk, bootstrap - start))
    return {ranking: np.concatenate(parts) for ranking, parts in draws.items()}


def profiles_to_arrays(profiles: Mapping[str, LayerProfile]) -> dict[str, NDArray[Any]]:
    """Profiles as one array per field of `LayerProfile`, with one row per ranking."""
    return {
        field.name: np.stack([np.asarray(getattr(p, field.name)) for p in profiles.values()])
        for field in fields(LayerProfile)
    }


def profiles_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> dict[str, LayerProfile]:
    """The profiles that `profiles_to_arrays` made arrays of, by ranking."""

    def value(name: str, row: int) -> Any:
        entry = np.asarray(arrays[name][row])
        if name.endswith("_interval"):
            return tuple(entry.tolist())
        return entry if entry.ndim else entry.item()

    rankings = [str(ranking) for ranking in arrays["ranking"]]
    return {
        ranking: LayerProfile(**{f.name: value(f.name, row) for f in fields(LayerProfile)})
        for row, ranking in enumerate(rankings)
    }


def _profile(
    ranking: str,
    axis: Axis,
    point: Scored,
    draws: Floats,
    confidence: float,
    seed: int,
    counted: Mapping[str, Any],
) -> LayerProfile:
    depth = axis.depth
    scores, scaled, mean = (part[0] for part in point)
    usable = np.isfinite(mean)
    if usable.sum() < 3:
        raise ValueError(
            f"ranking {ranking!r}: only {int(usable.sum())} of {len(mean)} layers have a valid "
            "pair, and a parabola needs 3; record longer or more varied series"
        )
    complete = np.isfinite(draws[:, usable]).all(1)
    kept = draws[complete]
    if len(kept) < _FEWEST_DRAWS:
        raise ValueError(
            f"ranking {ranking!r}: in {len(draws) - len(kept)} of {len(draws)} bootstrap draws a "
            "layer had no valid pair, or all nodes the same score; too many trials are degenerate, "
            "or nodes too few: give more draws, or more or other prompts"
        )
    tail = 100 * (1 - confidence) / 2

    def interval(values: Floats) -> tuple[float, float]:
        # "Higher" and "lower" ends instead of interpolation: vertices can be infinite.
        low = np.percentile(values, tail, method="lower")
        high = np.percentile(values, 100 - tail, method="higher")
        return float(low), float(high)

    level, slope, quadratic = (
        float(c[0]) for c in parabola.fitted(depth[usable], mean[None, usable])
    )
    _, slopes, quadratics = parabola.fitted(depth[usable], kept[:, usable])
    vertex = float(parabola.vertex_of(np.array(slope), np.array(quadratic)))
    lower, upper = np.full((2, len(mean)), np.nan)
    lower[usable], upper[usable] = np.percentile(kept[:, usable], [tail, 100 - tail], axis=0)
    u = 2 * depth - 1
    slack = 1e-9  # a layer at the vertex belongs to both sides, whatever rounding makes of it
    sides = (depth <= vertex + slack, depth >= vertex - slack)
    rise, fall = (parabola.slopes(depth[side & usable], kept[:, side & usable]) for side in sides)
    return LayerProfile(
        ranking=ranking,
        layers=axis.layers,
        depth=depth,
        scores=scores,
        scaled=scaled,
        mean=mean,
        lower=lower,
        upper=upper,
        fitted=level + slope * u + quadratic * u**2,
        quadratic=quadratic,
        quadratic_interval=interval(quadratics),
        vertex=vertex,
        vertex_interval=interval(parabola.vertex_of(slopes, quadratics)),
        rise_interval=interval(rise),
        fall_interval=interval(fall),
        shuffled_p=parabola.shuffled_p(depth[usable], mean[usable], seed),
        confidence=confidence,
        draws=len(kept),
        failed_draws=len(draws) - len(kept),
        skipped_nodes=int(np.isnan(scores).sum()),
        **counted,
    )


def _scaled(scores: Floats) -> Floats:
    """Scores (draws, nodes) scaled to [0, 1] per draw; all NaN where they do not differ."""
    finite = np.isfinite(scores)
    low = np.where(finite, scores, np.inf).min(1, keepdims=True)
    high = np.where(finite, scores, -np.inf).max(1, keepdims=True)
    spread = np.where(high > low, high - low, np.nan)
    return np.where(finite, (scores - low) / spread, np.nan)


def _layer_means(scaled: Floats, index: NDArray[np.intp], layers: int) -> Floats:
    """Mean over the valid nodes of each layer, (draws, layers); NaN where there is none."""
    membership = (index[:, None] == np.arange(layers)).astype(np.float64)  # [nodes, layers]
    finite = np.isfinite(scaled)
    with np.errstate(invalid="ignore"):
        means: Floats = (np.where(finite, scaled, 0.0) @ membership) / (finite @ membership)
    return means


def _layers_checked(layers: ArrayLike, nodes: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Position of each node's layer among the layers, and the layers in rising order."""
    labels: NDArray[Any] = np.asarray(layers)
    if labels.shape != (nodes,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"layers has shape {labels.shape} and dtype {labels.dtype}; give one integer for each "
            f"of the {nodes} nodes"
        )
    unique, index = np.unique(labels.astype(np.int64), return_inverse=True)
    if len(unique) < 3:
        raise ValueError(
            f"layers names {len(unique)} layer(s), {unique.tolist()}; a profile over depth needs "
            "at least 3: use a deeper model"
        )
    return index, unique


def _check_options(rankings: Sequence[str], bootstrap: int, confidence: float) -> None:
    known = (*RANKINGS, *MEANS)
    if not rankings or any(ranking not in known for ranking in rankings):
        raise ValueError(f"rankings = {list(rankings)}; choose from {', '.join(known)}")
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, int) or bootstrap < _FEWEST_DRAWS:
        raise ValueError(f"bootstrap = {bootstrap!r}; give an integer of at least {_FEWEST_DRAWS}")
    check.confidence(confidence)
