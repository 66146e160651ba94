"""Groups of prompts side by side: do categories, or levels of difficulty, have other rankings?

Nothing is recorded anew: scores of a group are those of the atoms averaged over its trials.

Two groups never correlate fully, because few prompts estimate a ranking only so well. Two ceilings
say how far they could:

- prompts of all groups, dealt into groups of the same sizes at random: what two groups without any
  difference correlate by (`random_similarity`). A pair of groups below nearly all of these differs.
- halves of one group: the correlation between them, stepped up to the whole group, is its
  `reliability`, and the root of the product of two is the largest correlation to expect of two
  groups that are the same (`synkern.analysis.reliability`).

"Do the groups differ at all" is one test: the mean over the pairs of groups, among those of random
deals. All correlations are Spearman's. The nodes stay fixed, prompts are what is drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import synkern._checks as check
from synkern.analysis import parabola
from synkern.analysis.averages import Averages, NodeAverages, TrialAverages
from synkern.analysis.profile import Axis
from synkern.analysis.reliability import stepped_up
from synkern.analysis.scores import OF_MEANS, PUBLISHED, RANKINGS, tied_rank

Floats = NDArray[np.float64]

_CHUNK_BYTES = 200 * 2**20
_ARRAYS_PER_DRAW = 6


@dataclass(frozen=True, eq=False, repr=False)
class GroupComparison:
    """Rankings and profiles of groups of trials, and how alike they are.

    Attributes:
        ranking: one of `synkern.analysis.scores.RANKINGS`.
        groups: names, in the order of their first trials.
        trials: (groups,) int64, trials of each.
        scores: (groups, nodes), by the ranking, from the atoms averaged over the group's trials.
        rank: (groups, nodes) tied rank of the scores, 1 (most redundant) to nodes.
        layers: (layers,) int64 in rising order.
        profile: (groups, layers) mean over a layer's nodes of the scores scaled to [0, 1].
        lower, upper: (groups, layers) ends of its interval over trials of the group; NaN for a
            layer without a valid node in some group, and in a group of one trial.
        quadratic: (groups,) quadratic term of the profile over the other layers, see
            `synkern.analysis.profile`.
        quadratic_interval: (groups, 2), NaN for a group of one trial.
        similarity: (groups, groups) correlation over the nodes of two groups' scores.
        profile_similarity: the same over the layers, of profiles.
        random_similarity: (permutations, pairs) `similarity` of random groups, pairs of groups
            i < j by row.
        random_profile_similarity: the same of profiles.
        reliability: (groups,) of each group's scores; NaN for a group of one trial, 0 where
            halves do not correlate above 0.
        confidence: coverage of the intervals.
        seed: of all draws.
    """

    ranking: str
    groups: tuple[Hashable, ...]
    trials: NDArray[np.int64]
    scores: Floats
    rank: Floats
    layers: NDArray[np.int64]
    profile: Floats
    lower: Floats
    upper: Floats
    quadratic: Floats
    quadratic_interval: Floats
    similarity: Floats
    profile_similarity: Floats
    random_similarity: Floats
    random_profile_similarity: Floats
    reliability: Floats
    confidence: float
    seed: int

    def __repr__(self) -> str:
        """One line: groups and how alike they are."""
        return (
            f"GroupComparison({self.ranking!r}, {len(self.groups)} groups: mean correlation "
            f"{_of_pairs(self.similarity).mean():.3f}, of random groups "
            f"{self.random_similarity.mean():.3f}, p = {self.p:.3g})"
        )

    @property
    def p(self) -> float:
        """Whether rankings differ: share of random deals whose groups are as unlike, on average."""
        return _as_low(_of_pairs(self.similarity).mean(), self.random_similarity.mean(1))

    @property
    def profile_p(self) -> float:
        """Whether profiles differ, likewise."""
        return _as_low(
            _of_pairs(self.profile_similarity).mean(), self.random_profile_similarity.mean(1)
        )

    @property
    def pair_p(self) -> Floats:
        """The same for each pair of groups, (groups, groups), not adjusted for their number."""
        out = np.full(self.similarity.shape, np.nan)
        rows, columns = np.triu_indices(len(self.groups), 1)
        for pair, (row, column) in enumerate(zip(rows, columns, strict=True)):
            p = _as_low(self.similarity[row, column], self.random_similarity[:, pair])
            out[row, column] = out[column, row] = p
        return out

    @property
    def ceiling(self) -> Floats:
        """Largest correlation to expect by reliability, (groups, groups).

        NaN on the diagonal, and for a group whose reliability is 0 or unknown.
        """
        root = np.sqrt(np.where(self.reliability > 0, self.reliability, np.nan))
        out = root[:, None] * root
        np.fill_diagonal(out, np.nan)
        return out


def compare_groups(
    averages: Averages,
    groups: Sequence[Hashable],
    layers: Any,
    *,
    ranking: str = PUBLISHED,
    permutations: int = 999,
    splits: int = 100,
    bootstrap: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> GroupComparison:
    """Compare the rankings and the profiles of groups of trials.

    Args:
        averages: of `sts` and `rtr`. Of many nodes, `NodeAverages` take least time; `TrialAverages`
            without missing values are as fast for a ranking made of means by node.
        groups: (trials,) the group of each: a category, or a level of difficulty.
        layers: (nodes,) whole numbers.
        ranking: one of `synkern.analysis.scores.RANKINGS`.
        permutations: random deals of the trials into groups, at least 19.
        splits: of each group into halves, at random.
        bootstrap: draws of trials within each group, at least 100.
        confidence: coverage of the intervals, above 0 and below 1.
        seed: of all draws.

    Raises:
        ValueError: fewer than 2 groups, labels or layers that do not fit, a group without a valid
            pair or whose nodes all score alike, or an argument out of range.
    """
    check.choice("ranking", ranking, RANKINGS)
    names, member = dealt(groups, averages.trials)
    for argument, value, least in (
        ("permutations", permutations, 19),
        ("splits", splits, 1),
        ("bootstrap", bootstrap, 100),
    ):
        check.whole(argument, value, least)
    check.confidence(confidence)
    scoring = _Scoring(_by_node(averages, ranking), ranking, Axis.of(layers, averages.nodes))
    scores, profile = scoring(member)
    if np.isnan(scores).all(1).any():
        empty = names[int(np.isnan(scores).all(1).argmax())]
        raise ValueError(f"group {empty!r} has no pair with a value in any trial; leave it out")
    alike = np.nanmin(scores, 1) == np.nanmax(scores, 1)
    if alike.any():
        raise ValueError(
            f"group {names[int(alike.argmax())]!r}: all its nodes score alike by {ranking}, which "
            "is no ranking; leave it out"
        )
    rng = np.random.default_rng(seed)
    drawn = resampled(member, bootstrap, rng)
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    profiles = scoring(drawn)[1].reshape(len(names), bootstrap, -1)
    usable = np.isfinite(profile).all(0)
    lower, upper = np.full((2, *profile.shape), np.nan)
    # One trial drawn with replacement is that trial: no interval, not one of width 0.
    several = member.sum(1) > 1
    which = np.ix_(several, usable)
    lower[which], upper[which] = np.nanpercentile(profiles[several][..., usable], tails, axis=1)
    depth = scoring.axis.depth[usable]
    bends = np.stack([parabola.fitted(depth, draws[:, usable])[2] for draws in profiles])
    bend_ends = np.full((len(names), 2), np.nan)
    bend_ends[several] = np.nanpercentile(bends[several], tails, axis=1).T
    at_random, profile_at_random = [], []
    for _ in range(permutations):
        others = scoring(member[:, rng.permutation(averages.trials)])
        at_random.append(_of_pairs(correlations(others[0])))
        profile_at_random.append(_of_pairs(correlations(others[1])))
    return GroupComparison(
        ranking=ranking,
        groups=names,
        trials=member.sum(1).astype(np.int64),
        scores=scores,
        rank=np.asarray(tied_rank(scores), np.float64),
        layers=scoring.axis.layers,
        profile=profile,
        lower=lower,
        upper=upper,
        quadratic=parabola.fitted(depth, profile[:, usable])[2],
        quadratic_interval=bend_ends,
        similarity=correlations(scores),
        profile_similarity=correlations(profile),
        random_similarity=np.stack(at_random),
        random_profile_similarity=np.stack(profile_at_random),
        reliability=np.array([_reliability(scoring, row, splits, rng) for row in member]),
        confidence=confidence,
        seed=seed,
    )


def correlations(rows: Floats) -> Floats:
    """Spearman's correlation of every two rows, (rows, rows), over the columns both have.

    Args:
        rows: (rows, columns), NaN where there is no value.
    """
    if np.isfinite(rows).all():
        return np.asarray(np.corrcoef(tied_rank(rows)))
    out: Floats = np.eye(len(rows))
    for i, j in zip(*np.triu_indices(len(rows), 1), strict=True):
        both = np.isfinite(rows[i]) & np.isfinite(rows[j])
        ranks = tied_rank(rows[[i, j]][:, both])
        matrix: Floats = np.asarray(np.corrcoef(ranks))
        out[i, j] = out[j, i] = matrix[0, 1]
    return out


@dataclass(frozen=True)
class _Scoring:
    """Scores and profiles of trials averaged by weights (draws, trials)."""

    averages: Averages
    ranking: str
    axis: Axis

    def __call__(self, weights: Floats) -> tuple[Floats, Floats]:
        """Scores (draws, nodes) and profiles (draws, layers)."""
        size = 8 * _ARRAYS_PER_DRAW * self.averages.numbers
        chunk = max(1, _CHUNK_BYTES // size)
        parts = []
        for start in range(0, len(weights), chunk):
            atoms = self.averages.weighted(weights[start : start + chunk])
            parts.append(self.axis.scored(self.averages, atoms, self.ranking))
        return (
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.mean for part in parts]),
        )


def _by_node(averages: Averages, ranking: str) -> Averages:
    """The same averages by node, where that changes nothing but the time it takes."""
    if not isinstance(averages, TrialAverages) or averages.missing or ranking not in OF_MEANS:
        return averages
    each = [averages.weighted(trial[None]) for trial in np.eye(averages.trials)]
    return NodeAverages(
        trials=averages.trials,
        nodes=averages.nodes,
        entries=averages.entries,
        missing=0,
        atoms={
            name: np.concatenate([averages.by_node(one[name]) for one in each])
            for name in averages.atoms
        },
        pairs=np.full((averages.trials, averages.nodes), averages.nodes - 1.0),
    )


def dealt(groups: Sequence[Hashable], trials: int) -> tuple[tuple[Hashable, ...], Floats]:
    """Names of the groups, and (groups, trials) 1 where a trial is of a group."""
    labels = [group.item() if isinstance(group, np.generic) else group for group in groups]
    if len(labels) != trials:
        raise ValueError(f"groups has {len(labels)} labels; give one for each of {trials} trials")
    names = tuple(dict.fromkeys(labels))
    if len(names) < 2:
        raise ValueError(f"groups names {len(names)} group(s), {list(names)}; give at least 2")
    return names, np.array([[float(label == name) for label in labels] for name in names])


def resampled(member: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Weights (groups * draws, trials) of trials drawn with replacement within each group."""
    return np.concatenate(
        [
            rng.multinomial(int(row.sum()), row / row.sum(), size=draws).astype(float)
            for row in member
        ]
    )


def _reliability(scoring: _Scoring, member: Floats, splits: int, rng: np.random.Generator) -> float:
    """Mean correlation of halves of a group, stepped up to the whole of it."""
    trials = np.flatnonzero(member)
    if len(trials) < 2:
        return float("nan")
    halves = np.zeros((splits, 2, len(member)))
    for split in halves:
        order = rng.permutation(trials)
        split[0, order[: len(order) // 2]] = 1
        split[1, order[len(order) // 2 :]] = 1
    scores = scoring(halves.reshape(2 * splits, -1))[0].reshape(splits, 2, -1)
    return stepped_up(float(np.mean([correlations(pair)[0, 1] for pair in scores])))


def _of_pairs(matrix: Floats) -> Floats:
    """Entries i < j by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)])


def _as_low(observed: float, at_random: Floats) -> float:
    """Share of random values as low as the observed, itself counted in.

    NaN for an observed one without a value; a random one without a value counts as low, as nothing
    shows that it is not.
    """
    if np.isnan(observed):
        return float("nan")
    return float((1 + (~(at_random > observed + 1e-12)).sum()) / (1 + len(at_random)))
