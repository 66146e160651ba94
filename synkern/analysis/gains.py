"""What training gained in accuracy: means of conditions, and what tells them apart.

The unit is the run: one condition trained with one seed, and tested once. Accuracies come in as
shares from 0 to 1; all that is made of them is in per cent, or in points of a per cent.

- Of a condition: mean over its runs and its 95 % interval (Student's t over runs).
- Of two conditions that train as many nodes (`FAMILY`): difference of means, its 95 % interval
  (Welch's t, which takes no spread for equal to another), and the exact permutation test: how often
  the same runs, dealt to two conditions in all ways there are, differ as far. Two-sided, as twice
  the smaller tail. Holm's correction is over all comparisons that are tested.
- Conditions that share seeds share the order of the data, so the mean difference seed by seed has
  an interval too (t over seeds). It asks what the first adds with the seed held.
- Hedges' g, the difference in pooled standard deviations of a run, corrected for few runs (Hedges
  1981, doi:10.3102/10769986006002107, with gamma functions). It is large where runs are alike,
  whatever was gained, so it never stands alone.

None of this knows that all runs answer the same test tasks: with others all means would move. The
size of that is the standard error of one evaluation, binomial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import isnan, sqrt
from typing import Any

import numpy as np

import synkern._checks as check
from synkern.analysis.two_samples import (
    DECIMALS,
    Ends,
    Floats,
    deviation,
    difference,
    hedges_g,
    holm,
    permuted,
    t_interval,
    welch,
)

FAMILY = (
    ("synergy", "redundancy"),
    ("synergy", "random"),
    ("synergy", "layer_matched"),
    ("redundancy", "random"),
)
"""Comparisons that are tested, of conditions that train as many nodes."""

BESIDE = (("synergy", "all"),)
"""Comparisons that are shown without a test: these do not train as many numbers."""

ALPHA = 0.05
"""A comparison holds if its p after Holm's correction is not above this."""


@dataclass(frozen=True)
class ConditionGain:
    """One condition.

    Attributes:
        condition: its name.
        runs: how many.
        mean: accuracy, %, over runs.
        interval: of the mean, 95 %; None where there is no spread to make it of, see `note`.
        sd: of runs, points (n - 1); None of one run.
        least, most: accuracies of the worst and of the best run, %.
        gain: mean less the accuracy before, points; None where that is not known.
        gain_interval: of the gain. The accuracy before counts as known.
        note: why there is no interval; "" where there is.
    """

    condition: str
    runs: int
    mean: float
    interval: Ends | None
    sd: float | None
    least: float
    most: float
    gain: float | None
    gain_interval: Ends | None
    note: str


@dataclass(frozen=True)
class GainComparison:
    """Two conditions.

    Attributes:
        first, second: their names.
        difference: mean of the first less that of the second, points.
        interval: of it, 95 %, Welch's t.
        pairs: number of seeds that both have; 0 where seeds are not known.
        paired: mean difference over these.
        paired_interval: of it, 95 %, t over seeds.
        hedges_g: see the module's text.
        welch_p: of Welch's t test, to compare with what others report; nothing is decided by it.
        p: of the permutation test; None of a comparison without one.
        arrangements: ways to deal the runs that were looked at.
        exact: whether these are all there are; else they were drawn.
        smallest_p: the smallest p that so many runs can give.
        holm_p: p after Holm's correction.
        note: why something of this is missing; "" where nothing is.
    """

    first: str
    second: str
    difference: float
    interval: Ends | None = None
    pairs: int = 0
    paired: float | None = None
    paired_interval: Ends | None = None
    hedges_g: float | None = None
    welch_p: float | None = None
    p: float | None = None
    arrangements: int | None = None
    exact: bool | None = None
    smallest_p: float | None = None
    holm_p: float | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is told from chance after Holm's correction."""
        return self.holm_p is not None and self.holm_p <= ALPHA


@dataclass(frozen=True, eq=False)
class Gains:
    """Accuracies of runs by condition, and what follows from them.

    Attributes:
        accuracies: by condition, one a run, shares of the test tasks from 0 to 1.
        seeds: by condition, the seed of every run; None where they are not known, or not shared.
        before: accuracy of the model before training, 0 to 1, on the same tasks.
        tasks: number of the test tasks.

    Raises:
        ValueError: an accuracy that is none, a condition without runs, seeds that are not those of
            the runs or that come twice, a number of tasks that is not at least 1.
    """

    accuracies: Mapping[str, Sequence[float]]
    seeds: Mapping[str, Sequence[int]] | None = None
    before: float | None = None
    tasks: int | None = None

    def __post_init__(self) -> None:
        """Check."""
        if not self.accuracies:
            raise ValueError("accuracies: no condition; give the runs of at least one")
        for name, runs in self.accuracies.items():
            if not len(runs):
                raise ValueError(f"accuracies: {name!r} has no run; leave it out")
            for place, value in enumerate(runs):
                _share(f"accuracies of {name!r}, run {place}", value)
        if self.before is not None:
            _share("before", self.before)
        if self.tasks is not None:
            check.whole("tasks", self.tasks, 1)
        for name, runs in self.accuracies.items() if self.seeds is not None else ():
            seeds = list((self.seeds or {}).get(name, ()))
            if len(seeds) != len(runs) or len({*seeds}) < len(seeds):
                raise ValueError(
                    f"seeds of {name!r}: {seeds} for {len(runs)} runs; give one for each, all of a "
                    "condition different, or None for all conditions"
                )

    @cached_property
    def conditions(self) -> dict[str, ConditionGain]:
        """By name, in the order given."""
        return {name: self._condition(name) for name in self.accuracies}

    @cached_property
    def comparisons(self) -> tuple[GainComparison, ...]:
        """Those of `FAMILY`, then those of `BESIDE`, of which both conditions are there."""
        found = [self._compared(*pair, tested=True) for pair in FAMILY if self._has(*pair)]
        tested = [place for place, each in enumerate(found) if each.p is not None]
        adjusted = holm([found[place].p or 0.0 for place in tested])
        for place, p in zip(tested, adjusted, strict=True):
            found[place] = GainComparison(**vars(found[place]) | {"holm_p": p})
        found += [self._compared(*pair, tested=False) for pair in BESIDE if self._has(*pair)]
        return tuple(found)

    @property
    def tested(self) -> tuple[GainComparison, ...]:
        """The comparisons over which Holm's correction is."""
        return tuple(each for each in self.comparisons if each.p is not None)

    @property
    def standard_error(self) -> float | None:
        """Of one evaluation, points: binomial, at the mean accuracy of all runs."""
        if self.tasks is None:
            return None
        mean = float(np.mean(np.concatenate([self._runs(name) for name in self.accuracies])))
        return 100 * sqrt(mean * (1 - mean) / self.tasks)

    @property
    def out_of_reach(self) -> bool:
        """Whether not even runs that do not overlap could make a comparison hold."""
        smallest = [each.smallest_p for each in self.tested if each.smallest_p is not None]
        return bool(smallest) and len(smallest) * min(smallest) > ALPHA

    @property
    def finding(self) -> str:
        """What the runs say, in plain sentences."""
        return " ".join([self._gained(), *self._told_apart(), *self._beside_error()])

    def table(self) -> list[dict[str, Any]]:
        """A row for each condition: the attributes of `ConditionGain`."""
        return [asdict(each) for each in self.conditions.values()]

    def compared(self) -> list[dict[str, Any]]:
        """A row for each comparison: the attributes of `GainComparison`, and whether it holds."""
        return [{**asdict(each), "holds": each.holds} for each in self.comparisons]

    def _gained(self) -> str:
        """How far each condition went."""
        if self.before is None:
            each = [
                f"{_called(name)} {one.mean:.2f}{_ends(one.interval)}"
                for name, one in self.conditions.items()
            ]
            return f"Of the tasks are right, % (mean of runs [95 %]): {'; '.join(each)}."
        tasks = "the tasks" if self.tasks is None else f"{self.tasks:,} tasks"
        each = [
            f"{_called(name)} {_signed(one.gain or 0.0)}{_ends(one.gain_interval)}"
            for name, one in self.conditions.items()
        ]
        return (
            f"Before training {100 * self.before:.2f} % of {tasks} are right; points gained by it "
            f"(mean of runs [95 %]): {'; '.join(each)}."
        )

    def _told_apart(self) -> list[str]:
        """Which comparisons hold, and which do not."""
        family = [each for each in self.comparisons if (each.first, each.second) in FAMILY]
        tested, said = self.tested, []
        holding = [each for each in tested if each.holds]
        others = [each for each in tested if not each.holds]
        corrected = f"After Holm's correction over {len(tested)} comparisons "
        corrected = corrected if len(tested) > 1 else "By a permutation test "
        if holding:
            said.append(f"{corrected}it holds that {'; that '.join(map(_ahead, holding))}.")
        if others:
            apart = "; ".join(
                f"{_called(each.first)} from {_called(each.second)} ({_signed(each.difference)} "
                f"points, p {_p(each.holm_p or 0.0)})"
                for each in others
            )
            nothing = "Nothing" if holding else f"{corrected}nothing"
            said.append(f"{nothing} distinguishes {apart}.")
        if self.out_of_reach:
            smallest = min(each.smallest_p or 0.0 for each in tested)
            times = f" (times {len(tested)})" if len(tested) > 1 else ""
            said.append(
                f"With so few runs nothing could: the smallest p they can give is "
                f"{_p(smallest)}{times}."
            )
        untested = [
            f"{_called(each.first)} and {_called(each.second)} ({each.note})"
            for each in family
            if each.p is None
        ]
        if untested:
            said.append(f"Not compared: {'; '.join(untested)}.")
        return said

    def _beside_error(self) -> list[str]:
        """What is no larger than what other test tasks could change."""
        error = self.standard_error
        if error is None:
            return []
        gains = [
            f"the gain of {_called(name)}"
            for name, one in self.conditions.items()
            if one.gain is not None and abs(one.gain) < error
        ]
        gains += [
            f"the difference of {_called(each.first)} and {_called(each.second)}"
            for each in self.tested
            if each.holds and abs(each.difference) < error
        ]
        small = f"; smaller than that: {', '.join(gains)}" if gains else ""
        return [
            f"One evaluation on {self.tasks:,} tasks has a standard error of {error:.2f} points"
            f"{small}."
        ]

    def _has(self, *names: str) -> bool:
        return all(name in self.accuracies for name in names)

    def _runs(self, name: str) -> Floats:
        return np.asarray(self.accuracies[name], np.float64)

    def _condition(self, name: str) -> ConditionGain:
        runs = self._runs(name)
        mean, interval, note = 100 * float(runs.mean()), None, ""
        before = None if self.before is None else 100 * self.before
        if len(runs) < 2:
            note = "1 run: no interval"
        elif not np.ptp(runs):
            note = f"all {len(runs)} runs are equal: no interval"
        else:
            interval = t_interval(100 * runs)
        return ConditionGain(
            condition=name,
            runs=len(runs),
            mean=mean,
            interval=interval,
            sd=None if len(runs) < 2 else deviation(100 * runs),
            least=100 * float(runs.min()),
            most=100 * float(runs.max()),
            gain=None if before is None else mean - before,
            gain_interval=None
            if before is None or interval is None
            else (interval[0] - before, interval[1] - before),
            note=note,
        )

    def _compared(self, first: str, second: str, *, tested: bool) -> GainComparison:
        a, b = self._runs(first), self._runs(second)
        apart = 100 * float(difference(a, b))
        few = [f"{name}: 1 run" for name, runs in ((first, a), (second, b)) if len(runs) < 2]
        if few:
            return GainComparison(
                first, second, apart, note=f"{', '.join(few)}, nothing to compare"
            )
        paired = self._paired(first, second)
        notes = [paired.pop("note", "")]
        spread: dict[str, Any] = {}
        if np.ptp(a) or np.ptp(b):
            spread = welch(100 * a, 100 * b) | {"hedges_g": hedges_g(a, b)}
        else:
            what = "infinite" if apart else "undefined"
            notes.append(
                f"the runs of either are all equal: no interval, and an effect size is {what}"
            )
        test = permuted(a, b) if tested else {}
        if not tested:
            notes.append("not as many numbers train: no test")
        note = "; ".join(filter(None, notes))
        return GainComparison(first, second, apart, **paired, **spread, **test, note=note)

    def _paired(self, first: str, second: str) -> dict[str, Any]:
        """The mean difference over seeds that both have."""
        if self.seeds is None:
            return {}
        by_seed = [
            dict(zip(self.seeds[name], self.accuracies[name], strict=True))
            for name in (first, second)
        ]
        shared = [seed for seed in by_seed[0] if seed in by_seed[1]]
        if not shared:
            return {"note": "no seed in common: no difference by seed"}
        each = np.round([by_seed[0][seed] - by_seed[1][seed] for seed in shared], DECIMALS)
        found = {"pairs": len(shared), "paired": 100 * float(each.mean())}
        if len(shared) < 2:
            return {**found, "note": "1 seed in common: no interval by seed"}
        if not np.ptp(each):
            return {**found, "note": "the same difference at every seed: no interval by seed"}
        return {**found, "paired_interval": t_interval(100 * each)}


def _called(name: str) -> str:
    return name.replace("_", "-")


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


def _ends(ends: Ends | None) -> str:
    return "" if ends is None else f" [{_signed(ends[0])}, {_signed(ends[1])}]".replace("+", "")


def _p(p: float) -> str:
    return "below 0.001" if p < 0.0005 else f"{p:.3f}"


def _ahead(each: GainComparison) -> str:
    """Who ended above whom."""
    above, below = (each.first, each.second) if each.difference > 0 else (each.second, each.first)
    return (
        f"{_called(above)} ends {abs(each.difference):.2f} points above {_called(below)} "
        f"(p {_p(each.holm_p or 0.0)})"
    )


def _share(argument: str, value: float) -> None:
    if isnan(value) or not 0 <= value <= 1:
        raise ValueError(
            f"{argument}: {value}; an accuracy is a share of the tasks, from 0 to 1 (not per cent)"
        )
