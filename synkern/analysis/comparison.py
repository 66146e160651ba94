"""Profiles over depth of several models side by side: how alike they are, and how surely.

**Similarity** is Spearman's correlation of two profiles on a common grid over depth.

**Null.** Neighbouring layers are alike, so two unrelated profiles are often correlated: shuffled
layers would call 20 to 40 % of smooth ones alike at p <= 0.05. The surrogates here are as smooth as
the profile that they are made of: the profile is followed by its mirror image, and the Fourier
phases of this whole are drawn at random (Theiler et al., Physica D 58, 77, 1992); the first half of
the outcome is the surrogate. The mirror makes end and beginning meet. Without it, as with circular
shifts, a jump that no layer has counts as roughness, and more pairs of drifting profiles than p
says are called alike. Surrogates of each of the two profiles are compared with the other profile,
and with n of either, p = (1 + how many correlate as highly, or higher) / (1 + 2 n), which is never
below 1 / (1 + 2 n). The test is one-sided: a profile that mirrors another one has a p near 1.

How often p <= 0.05 for unrelated profiles, of 2,000 simulated pairs of 30 layers (with circular
shifts of one profile in brackets): white noise .04 (.06), autoregression of 0.9 .04 (.07), random
walks .05 (.13), Gaussian processes of length 0.1, 0.2 and 0.3 of the depth .04, .05 and .04 (.06,
.08 and .09); single humps of one width at any depth .09 (.13). A hump has few ways to differ from
another hump, so that two models both have one in the middle says less than it seems: of pairs of
equal parabolas in noise (SD 0.15 of their height), 62 % get p <= 0.05. Nor are straight lines in
noise, of which half the pairs rise or fall together: 20 to 30 % of pairs of 12 to 30 layers.

**Intervals** are over prompts: percentiles of the similarity when the prompts of both models are
drawn with replacement, jointly where both answered the same ones. Noise of the draws comes on top
of that of the sample, so a similarity can lie near the upper end of its interval, or above it.

**Reliability** is that of one profile: Spearman's correlation between the profiles of two halves of
its prompts, mean over random halves, stepped up to all of them. Two models that are the same can be
expected to correlate by the root of the product of theirs (`synkern.analysis.reliability`).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

import synkern._checks as check
from synkern.analysis import parabola
from synkern.analysis.averages import Averages
from synkern.analysis.normalisation import (
    NORMALISATIONS,
    check_normalisation,
    normalised,
    on_grid,
    ranked_layers,
)
from synkern.analysis.profile import Axis
from synkern.analysis.reliability import stepped_up
from synkern.analysis.scores import tied_rank

Floats = NDArray[np.float64]

POINTS = 101
"""Of the common grid over depth, unless asked otherwise."""

SPLITS = 100
"""Random halves of the prompts, of which a reliability is the mean."""

FEWEST_SURROGATES = 19
"""With fewer, p <= 0.05 would hang on one of them."""

_CHUNK_BYTES = 400 * 2**20
# Correlations that differ by rounding count as equal, and so do points of a profile: lines between
# layers may cross one value.
_ROUNDING, _DECIMALS = 1e-12, 12


@dataclass(frozen=True, eq=False, repr=False)
class DepthProfile:
    """One model's profile over depth by one ranking, under one or more normalisations.

    Attributes:
        name: of the model, for readers.
        layers: (layers,) int64, layer indices in rising order.
        depth: (layers,) float64, their relative depth, 0 the first to 1 the last.
        values: by normalisation (see `synkern.analysis.normalisation`), (layers,) float64.
        draws: by normalisation, (draws, layers), of prompts drawn with replacement; empty where
            there are no single prompts, as of a published profile. NaN for a layer without a score
            in a draw.
        halves: by normalisation, (splits, 2, layers), of random halves of the prompts; likewise.
        read: whether it was read off a figure.
    """

    name: str
    layers: NDArray[np.int64]
    depth: Floats
    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]
    halves: Mapping[str, Floats]
    read: bool = False

    def __repr__(self) -> str:
        """One line: name, size, normalisations."""
        draws = next((f", {len(rows):,} draws" for rows in self.draws.values()), "")
        return (
            f"DepthProfile({self.name!r}; {len(self.layers)} layers, {', '.join(self.values)}"
            f"{draws})"
        )

    def on_grid(self, normalisation: str, points: int = POINTS) -> Floats:
        """The profile (points,) on an even grid over depth.

        Raises:
            ValueError: a normalisation that it does not have, or too few points.
        """
        return on_grid(self._under(normalisation), self.depth, points)

    def bend(
        self, normalisation: str, confidence: float = 0.95
    ) -> tuple[float, tuple[float, float]]:
        """Quadratic term of the profile, and the ends of its interval over prompts.

        As in `synkern.analysis.profile`: the mean of the fitted parabola's ends minus its middle.
        The interval is NaN where there are no draws of which every layer has a value.

        Raises:
            ValueError: a normalisation that it does not have.
        """
        _, _, (term,) = parabola.fitted(self.depth, self._under(normalisation)[None])
        if normalisation not in self.draws:
            return float(term), (math.nan, math.nan)
        drawn = self.draws[normalisation]
        complete = drawn[np.isfinite(drawn).all(1)]
        if not len(complete):
            return float(term), (math.nan, math.nan)
        _, _, terms = parabola.fitted(self.depth, complete)
        tail = 100 * (1 - confidence) / 2
        low, high = np.percentile(terms, [tail, 100 - tail])
        return float(term), (float(low), float(high))

    def _under(self, normalisation: str) -> Floats:
        check_normalisation(normalisation)
        if normalisation not in self.values:
            raise ValueError(
                f"normalisation = {normalisation!r}: the profile {self.name!r} is there as "
                f"{', '.join(self.values)} only"
            )
        return self.values[normalisation]


def profile_of_scores(name: str, scores: ArrayLike, layers: ArrayLike) -> DepthProfile:
    """Return the profile of scores (nodes,) of nodes in layers (nodes,), without intervals.

    Raises:
        ValueError: a layer without any score, and what `normalised` refuses.
    """
    return _complete(name, Axis.of(layers, np.size(scores)), normalised(scores, layers))


def profile_as_read(name: str, values: ArrayLike, normalisation: str) -> DepthProfile:
    """Return a profile that is known only as read off a figure, layers from 0 on.

    Args:
        name: for readers.
        values: (layers,).
        normalisation: what they are. Of `layer_rank` nothing else can be made; of the others, the
            rank of the layers too.

    Raises:
        ValueError: values that are not (layers,), finite, of at least 3 layers.
    """
    check_normalisation(normalisation)
    read = np.asarray(values, np.float64)
    if read.ndim != 1 or len(read) < 3 or not np.isfinite(read).all():
        raise ValueError(
            f"values of profile {name!r} have shape {read.shape}; give one finite number for each "
            "of at least 3 layers"
        )
    known = {normalisation: read}
    if normalisation != "layer_rank":
        known["layer_rank"] = ranked_layers(read)
    axis = Axis.of(np.arange(len(read)), len(read))
    return replace(_complete(name, axis, known), read=True)


def drawn_profiles(
    name: str,
    averages: Averages,
    layers: ArrayLike,
    rankings: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int | Sequence[int] = 0,
    progress: Callable[[int], None] = lambda draws: None,
) -> dict[str, DepthProfile]:
    """Profiles by several rankings, with draws and halves of the prompts.

    Args:
        name: for readers.
        averages: of `sts` and `rtr` over prompts, which can be drawn.
        layers: (nodes,).
        rankings: some of `synkern.analysis.scores.RANKINGS`.
        bootstrap: draws of the prompts, at least 100.
        seed: of draws and halves. Models with the same seed and number of prompts have the same
            draws, which is right if the prompts are the same and wrong if not.
        progress: called with the number of draws, and halves, that were done.

    Raises:
        ValueError: fewer than 2 prompts, too few draws, a layer without any score, and what
            `normalised` refuses.
    """
    check.whole("bootstrap", bootstrap, 100)
    if averages.trials < 2:
        raise ValueError(
            f"{name!r} has {averages.trials} prompt; a bootstrap over prompts needs at least 2"
        )
    weights = np.concatenate(
        [np.ones((1, averages.trials)), *_weights(averages.trials, bootstrap, seed)]
    )
    chunk = max(1, _CHUNK_BYTES // (8 * 6 * averages.numbers)) if averages.batched else 1
    scores: dict[str, list[Floats]] = {ranking: [] for ranking in rankings}
    for start in range(0, len(weights), chunk):
        part = weights[start : start + chunk]
        atoms = averages.weighted(part)
        for ranking in rankings:
            scores[ranking].append(averages.scored(atoms, ranking))
        progress(len(part))
    axis = Axis.of(layers, averages.nodes)
    return {
        ranking: _split(name, axis, normalised(np.concatenate(parts), layers), bootstrap)
        for ranking, parts in scores.items()
    }


def _split(name: str, axis: Axis, rows: Mapping[str, Floats], bootstrap: int) -> DepthProfile:
    """The profile of all prompts, which is the first row, and of draws and halves of them."""
    return replace(
        _complete(name, axis, {norm: row[0] for norm, row in rows.items()}),
        draws={norm: row[1 : 1 + bootstrap] for norm, row in rows.items()},
        halves={norm: row[1 + bootstrap :].reshape(SPLITS, 2, -1) for norm, row in rows.items()},
    )


def _weights(trials: int, bootstrap: int, seed: int | Sequence[int]) -> tuple[Floats, Floats]:
    """How often each prompt counts: (draws, trials) with replacement, (2 x SPLITS, trials)."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(trials, np.full(trials, 1 / trials), size=bootstrap)
    order = rng.permuted(np.tile(np.arange(trials), (SPLITS, 1)), axis=1)
    half = trials // 2
    first, second = order < half, (order >= half) & (order < 2 * half)
    halves = np.stack([first, second], 1).reshape(2 * SPLITS, trials)
    return drawn.astype(np.float64), halves.astype(np.float64)


def _complete(name: str, axis: Axis, values: Mapping[str, Floats]) -> DepthProfile:
    """A profile of which every layer has a value, without draws."""
    for normalisation, row in values.items():
        missing = axis.layers[~np.isfinite(row)]
        if len(missing):
            alike = normalisation == "minmax" and np.isfinite(values["node_quantile"]).all()
            why = "all its layers are alike" if alike else "no node there has a score"
            raise ValueError(
                f"{name!r} has no {normalisation} in layers {missing.tolist()}, as {why}, so its "
                "profile cannot be compared"
            )
    for normalisation, row in values.items():
        if np.ptp(row) == 0:
            raise ValueError(
                f"{name!r}: all its layers have one {normalisation}, {row[0]:g}; a profile that "
                "does not vary correlates with none"
            )
    return DepthProfile(name, axis.layers, axis.depth, values, {}, {})


@dataclass(frozen=True, eq=False, repr=False)
class Similarity:
    """How alike profiles are, pair by pair, under one normalisation. P profiles.

    Attributes:
        normalisation: one of `NORMALISATIONS`.
        names: of the profiles.
        points: of the grid.
        spearman: (P, P) float64, symmetric, 1 on the diagonal.
        lower, upper: (P, P), ends of the intervals over prompts; NaN for a pair of which one has
            no draws, and on the diagonal.
        p: (P, P), as in the module's text; NaN on the diagonal. Not corrected for the number of
            pairs.
        surrogates: number of each profile; p is a multiple of 1 / (1 + 2 surrogates).
        reliability: (P,) of each profile; NaN of one without halves, 0 where halves do not
            correlate above 0.
        confidence: coverage aimed at by the intervals.
        failed_draws: (P, P) int64, draws left out of the intervals as a layer had no score.
    """

    normalisation: str
    names: tuple[str, ...]
    points: int
    spearman: Floats
    lower: Floats
    upper: Floats
    p: Floats
    surrogates: int
    reliability: Floats
    confidence: float
    failed_draws: NDArray[np.int64]

    def __repr__(self) -> str:
        """One line: how many, of what, and the range of the similarities."""
        apart = self.spearman[np.triu_indices(len(self.names), 1)]
        return (
            f"Similarity({self.normalisation!r} of {len(self.names)} profiles, Spearman "
            f"{apart.min():+.2f} to {apart.max():+.2f})"
        )

    @property
    def smallest_p(self) -> float:
        """The smallest p that there can be."""
        return 1 / (1 + 2 * self.surrogates)


def similarities(
    profiles: Sequence[DepthProfile],
    normalisation: str = NORMALISATIONS[0],
    *,
    points: int = POINTS,
    surrogates: int = 999,
    confidence: float = 0.95,
    seed: int = 0,
) -> Similarity:
    """Compare every two profiles; the module's text says how.

    Args:
        profiles: two or more.
        normalisation: which all of them have.
        points: of the common grid over depth.
        surrogates: of each profile, at least 19.
        confidence: coverage of the intervals, above 0 and below 1.
        seed: of the surrogates.

    Raises:
        ValueError: fewer than 2 profiles, a normalisation that one does not have, or an argument
            out of range.
    """
    if len(profiles) < 2:
        raise ValueError(f"profiles holds {len(profiles)}; give two or more to compare")
    check.whole("surrogates", surrogates, FEWEST_SURROGATES)
    check.confidence(confidence)
    observed = _standardised(np.stack([p.on_grid(normalisation, points) for p in profiles]))
    spearman = np.clip(observed @ observed.T, -1, 1)
    np.fill_diagonal(spearman, 1)
    size = len(profiles)
    # By profile whose surrogates they are, and by profile that they are compared with.
    as_high = np.zeros((size, size), np.int64)
    for row, profile in enumerate(profiles):
        drawn = _surrogates(profile, normalisation, surrogates, seed)
        against = _standardised(on_grid(drawn, np.linspace(0, 1, drawn.shape[1]), points))
        # One without a value counts as high, as nothing shows that it is not.
        as_high[row] = (~(against @ observed.T < spearman[row] - _ROUNDING)).sum(0)
    p = (1 + as_high + as_high.T) / (1 + 2 * surrogates)
    np.fill_diagonal(p, np.nan)
    lower, upper, failed = _intervals(profiles, normalisation, points, confidence)
    return Similarity(
        normalisation=normalisation,
        names=tuple(profile.name for profile in profiles),
        points=points,
        spearman=spearman,
        lower=lower,
        upper=upper,
        p=p,
        surrogates=surrogates,
        reliability=np.array([_reliability(one, normalisation, points) for one in profiles]),
        confidence=confidence,
        failed_draws=failed,
    )


def _intervals(
    profiles: Sequence[DepthProfile], normalisation: str, points: int, confidence: float
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Ends of the intervals over prompts, and how many draws were left out, (P, P) each."""
    size, tail = len(profiles), 100 * (1 - confidence) / 2
    lower, upper = np.full((2, size, size), np.nan)
    failed = np.zeros((size, size), np.int64)
    drawn = {
        place: _standardised(on_grid(profile.draws[normalisation], profile.depth, points))
        for place, profile in enumerate(profiles)
        if normalisation in profile.draws
    }
    for a, of_a in drawn.items():
        for b, of_b in drawn.items():
            if a == b:
                continue
            count = min(len(of_a), len(of_b))
            similar = (of_a[:count] * of_b[:count]).sum(-1)
            kept = similar[np.isfinite(similar)]
            failed[a, b] = count - len(kept)
            if len(kept):
                lower[a, b], upper[a, b] = np.percentile(kept, [tail, 100 - tail])
    return lower, upper, failed


def _reliability(profile: DepthProfile, normalisation: str, points: int) -> float:
    if normalisation not in profile.halves:
        return float("nan")
    halves = _standardised(on_grid(profile.halves[normalisation], profile.depth, points))
    similar = (halves[:, 0] * halves[:, 1]).sum(-1)
    kept = similar[np.isfinite(similar)]
    return stepped_up(float(kept.mean())) if len(kept) else float("nan")


def _standardised(profiles: Floats) -> Floats:
    """Ranks over the last axis, centred and of length 1: products are Spearman's correlations.

    NaN for a profile that has a NaN, or that does not vary.
    """
    ranks = tied_rank(np.round(profiles, _DECIMALS))
    centred = ranks - ranks.mean(-1, keepdims=True)
    length = np.sqrt((centred**2).sum(-1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(centred / length, np.float64)


def _surrogates(profile: DepthProfile, normalisation: str, count: int, seed: int) -> Floats:
    """Profiles (count, layers) as smooth as this one, on evenly spaced layers."""
    # Of a profile's own, so that a p does not depend on who else is compared.
    rng = np.random.default_rng((seed, zlib.crc32(profile.values[normalisation].tobytes())))
    # They are evenly spaced but where layers without nodes lie between.
    even = profile.on_grid(normalisation, len(profile.layers))
    whole = np.concatenate([even, even[::-1]])
    spectrum = np.fft.rfft(whole - whole.mean())
    angles = np.zeros((count, len(spectrum)))
    # All but the mean and, of the even number that they are, the last: real ones.
    angles[:, 1:-1] = rng.uniform(0, 2 * np.pi, (count, len(spectrum) - 2))
    drawn: Floats = np.fft.irfft(spectrum * np.exp(1j * angles), len(whole), axis=1)
    return drawn[:, : len(even)]
