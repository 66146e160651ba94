"""Surrogates of a recording that may have subjects, gaps and trials of unequal length.

As in `synkern.decomposition.masks`, a trial with n pairs of a past and a future is written as the n
pasts and then the n futures, at a lag of n samples: so a mask is obeyed, and `row_shift`, which
keeps each past with its future, is the same as without one. A scope is what is averaged before the
rest: a subject, or all trials where there are no subjects. Trials change places within it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synkern.analysis import NULLS
from synkern.analysis.options import Null
from synkern.analysis.surrogates import Recorded
from synkern.study.errors import ArgumentError
from synkern.study.of_data.options import AUTO, DecomposeOptions
from synkern.study.of_data.preparing import FEWEST, Floats, Indices, Prepared
from synkern.study.settings import NONE

BLOCK = 10
"""Length of the blocks of null `block`, in samples."""

_ENOUGH_TRIALS = 5
# Samples that all trials have in common, below which trials are too unlike to change places.
_SHARE_IN_COMMON = 0.5


class Batch(NamedTuple):
    """Trials of one scope that are decomposed together.

    Attributes:
        series: (trials, time, nodes).
        tau: the lag at which pasts and futures are found.
    """

    series: Floats
    tau: int


class Chosen(NamedTuple):
    """The null that is used: its name, or `none`, and why."""

    name: str
    why: str


def chosen(options: DecomposeOptions, found: Prepared) -> Chosen:
    """Choose the null, or check the one that was asked for.

    Raises:
        ArgumentError: it cannot be used on this recording.
    """
    if options.null == NONE:
        return Chosen(NONE, "none was asked for")
    obstacles: dict[str, str | None] = {name: _obstacle(name, options, found) for name in NULLS}
    if options.null != AUTO:
        why_not = obstacles[options.null]
        if why_not is not None:
            fitting = [name for name, why in obstacles.items() if why is None] or [NONE]
            raise ArgumentError(
                f"null = {options.null!r} cannot be used here: {why_not}; use "
                f"{' or '.join(fitting)}"
            )
        return Chosen(options.null, "it was asked for")
    few = obstacles["cross_trial"]
    if few is None:
        if _pairings(found) >= math.factorial(_ENOUGH_TRIALS):
            whose = " of each subject" if found.of_subjects else ""
            return Chosen("cross_trial", f"the trials{whose} can change places, which is exact")
        few = "the trials can change places in too few ways for small p values"
    for name in ("row_shift", "circular"):
        if obstacles[name] is None:
            return Chosen(name, f"as {few}; exact only for series of many correlation times")
    return Chosen(NONE, str(obstacles["circular"]))


def scopes(found: Prepared, tau: int, null: str) -> list[list[Batch]]:
    """Return what is decomposed for a null: the recording itself, in batches by scope."""
    out = []
    for trials in _scopes(found):
        if null == "cross_trial":
            out.append([_in_common(found, trials, tau)])
        elif null == "row_shift":
            out.append(_by_length(found, trials, tau))
        else:
            whole = [found.series[k, found.stretch(k)] for k in trials]
            lengths = sorted({len(one) for one in whole})
            out.append([Batch(np.stack([w for w in whole if len(w) == n]), tau) for n in lengths])
    return out


def loses_samples(found: Prepared, tau: int, null: str) -> bool:
    """Whether surrogates of a null have fewer samples than the trials that they are made of."""
    samples = found.samples(tau)
    return null == "cross_trial" and any(
        _in_common(found, trials, tau).tau < samples[trials].max() for trials in _scopes(found)
    )


def surrogate(
    given: Sequence[Sequence[Batch]], null: Null, rng: np.random.Generator
) -> list[list[Batch]]:
    """Draw one surrogate of all batches."""
    return [[_drawn(batch, null, rng) for batch in batches] for batches in given]


def _drawn(batch: Batch, null: Null, rng: np.random.Generator) -> Batch:
    owner = np.zeros(len(batch.series), np.int64)  # A batch is of one scope: all may change places.
    drawn = NULLS[null](Recorded(np, batch.series, batch.tau, BLOCK, owner), rng)
    return Batch(drawn.series, drawn.tau)


def _scopes(found: Prepared) -> list[Indices]:
    if not found.of_subjects:
        return [np.arange(found.trials)]
    return [found.of_unit(unit) for unit in range(len(found.units))]


def _rows(found: Prepared, trial: int, tau: int) -> Floats:
    """Pasts, then futures."""
    return np.concatenate(found.rows(trial, tau))


def _by_length(found: Prepared, trials: Indices, tau: int) -> list[Batch]:
    """Trials with as many valid pairs together."""
    count = found.samples(tau)[trials]
    return [
        Batch(np.stack([_rows(found, k, tau) for k in trials[count == n]]), int(n))
        for n in np.unique(count)
    ]


def _in_common(found: Prepared, trials: Indices, tau: int) -> Batch:
    """Trials at the samples that are valid in all of them."""
    valid = np.logical_and.reduce(found.valid[trials], 0)
    ok = valid[:-tau] & valid[tau:]
    series = found.series[trials]
    rows = np.concatenate([series[:, :-tau][:, ok], series[:, tau:][:, ok]], 1)
    return Batch(rows, int(ok.sum()))


def _pairings(found: Prepared) -> float:
    """In how many ways two nodes can be paired across trials, up to a large number."""
    ways = 1.0
    for trials in _scopes(found):
        ways = min(1e9, ways * math.factorial(min(len(trials), 10)))
    return ways


def _obstacle(null: str, options: DecomposeOptions, found: Prepared) -> str | None:
    """Why a null cannot be used; None if it can."""
    if options.average != "trials":
        return f"it tests means over trials, and average = {options.average!r} pools the trials"
    if null == "cross_trial":
        return _obstacle_of_trials(options, found)
    if null == "row_shift":
        gaussian = options.kind == "gaussian"
        return None if gaussian else "it serves kind 'gaussian' only"
    if found.gaps:
        return (
            "samples inside the trials are left out, and it moves values past such gaps, which "
            "would join what was not neighbouring"
        )
    shortest = min(found.stretch(k).stop - found.stretch(k).start for k in range(found.trials))
    if null == "block" and shortest < 2 * BLOCK:
        return f"a trial has {shortest} samples, less than two blocks of {BLOCK}"
    return None


def _obstacle_of_trials(options: DecomposeOptions, found: Prepared) -> str | None:
    single = [k for k, trials in enumerate(_scopes(found)) if len(trials) < 2]
    if single:
        return (
            f"subject {found.units[single[0]]!r} has one trial, and trials of other subjects "
            "cannot take its place"
            if found.of_subjects
            else "there is one trial, and nodes are paired across trials"
        )
    for tau in options.tau:
        samples = found.samples(tau)
        for trials in _scopes(found):
            common = _in_common(found, trials, tau).tau
            if common < max(FEWEST, _SHARE_IN_COMMON * samples[trials].mean()):
                return (
                    f"only {common} pairs of samples are valid in all trials"
                    f"{' of a subject' if found.of_subjects else ''}, too few of the "
                    f"{samples[trials].mean():.0f} that a trial has"
                )
    return None
