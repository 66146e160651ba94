"""What noise in the weights of a subset of nodes does to accuracy: the result of the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern.interventions.accuracy.paired import (
    Bools,
    Difference,
    Floats,
    McNemar,
    majority,
    mcnemar,
    paired_difference,
)
from synkern.interventions.accuracy.problems import Ints, Problems, level_name
from synkern.interventions.curves.statistics import permutation_p
from synkern.tasks import Accuracy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTACT = "intact"

_NAMED = {
    "synergy": "the most synergistic nodes",
    "redundancy": "the most redundant ones",
    "random": "random ones",
    "layer_matched": "random ones of the same layers",
}
_HARMS = {-1: "more than", 0: "neither more nor less, as far as can be told, than", 1: "less than"}


@dataclass(frozen=True, eq=False)
class Sweep:
    """How the strength of the noise was chosen: on random subsets alone.

    Attributes:
        alphas: (alphas,) strengths that were tried, rising; none above the first that took accuracy
            below the target.
        right: (alphas, draws, tasks), of random subsets that are in no comparison.
        target: the accuracy halfway from intact to the floor.
    """

    alphas: Floats
    right: Bools
    target: float

    @property
    def accuracies(self) -> Floats:
        """(alphas,), mean over draws and tasks."""
        found: Floats = self.right.mean((1, 2))
        return found

    @property
    def chosen(self) -> float:
        """The strength whose accuracy is nearest to the target; the weaker of two as near."""
        return float(self.alphas[np.abs(self.accuracies - self.target).argmin()])

    @property
    def remark(self) -> str:
        """What is to be known where no two strengths have the target between them; else ""."""
        accuracies = self.accuracies
        if accuracies.min() > self.target:
            return (
                f"the strongest noise that was tried, alpha {self.alphas[-1]:g}, takes accuracy "
                "less than halfway down: try stronger noise"
            )
        if accuracies.max() < self.target:
            return (
                f"the weakest noise that was tried, alpha {self.alphas[0]:g}, takes accuracy more "
                "than halfway down: try weaker noise"
            )
        return ""


@dataclass(frozen=True, eq=False, repr=False)
class NoiseAccuracy:
    """Accuracy intact and with noise in subsets of nodes; `str` and `repr` are a table.

    Attributes:
        problems: levels, categories and floors of the tasks.
        method: how answers were judged, one of `scoring.METHODS`.
        ranking: what the nodes were ranked by.
        nodes: labels of all nodes.
        subsets: by name, (draws, size) places of their nodes; of equal size.
        alpha, scale: of the noise, see `perturb`.
        sweep: how `alpha` was chosen; None where it was given.
        intact: (tasks,) what the intact model has right.
        right: by subset (draws, seeds, tasks), with noise.
        truncated: by "intact" and subset, texts cut short, which are wrong; of exact match only.
    """

    problems: Problems
    method: str
    ranking: str
    nodes: tuple[str, ...]
    subsets: Mapping[str, Ints]
    alpha: float
    scale: str
    sweep: Sweep | None
    intact: Bools
    right: Mapping[str, Bools]
    truncated: Mapping[str, Bools]

    @property
    def size(self) -> int:
        """Nodes of a subset."""
        return int(self.subsets["synergy"].shape[1])

    @property
    def floor(self) -> float:
        """The expected accuracy of one who knows nothing."""
        return self.problems.floor

    def accuracy(self, name: str) -> float:
        """The accuracy of "intact", or of a subset over its draws and seeds, 0 to 1."""
        return float((self.intact if name == INTACT else self.right[name]).mean())

    def of_draws(self, name: str) -> Floats:
        """(draws,) accuracies of a subset, over its seeds."""
        found: Floats = self.right[name].mean((1, 2))
        return found

    def spread(self, name: str) -> float:
        """The standard deviation of a subset's accuracies over its runs (n - 1); NaN of one run."""
        runs = self.right[name].mean(-1).ravel()
        return float(runs.std(ddof=1)) if len(runs) > 1 else float("nan")

    @property
    def where(self) -> str:
        """Where the intact model is: at the "floor", at the "ceiling", or "between" them.

        At the floor if the Wilson interval (95 %) of its accuracy holds what chance gives; at the
        ceiling if it has everything right.
        """
        total = Accuracy(int(self.intact.sum()), len(self.intact), self.floor)
        # Of exact match the floor is 0: there it is at the floor if it has nothing right.
        if total.interval()[0] <= self.floor:
            return "floor"
        return "ceiling" if total.right == total.count else "between"

    @cached_property
    def against_intact(self) -> dict[str, Difference]:
        """By subset, its accuracy less the intact one: below 0 if noise harms."""
        return {name: paired_difference(each, self.intact) for name, each in self.right.items()}

    @cached_property
    def of_synergy(self) -> dict[str, Difference]:
        """By other subset, accuracy with noise in the synergistic nodes less that with it there."""
        synergy = self.right["synergy"]
        return {
            name: paired_difference(synergy, each)
            for name, each in self.right.items()
            if name != "synergy"
        }

    @cached_property
    def tests(self) -> dict[str, McNemar]:
        """By subset, intact against what most of its runs have right (McNemar, exact).

        It says whether these very runs differ from intact; to other subsets and other noise it
        says nothing, as the intervals of differences do.
        """
        return {name: mcnemar(self.intact, majority(each)) for name, each in self.right.items()}

    @cached_property
    def draw_p(self) -> dict[str, float]:
        """By drawn subset, how often so low an accuracy as that of synergy is among its draws.

        (1 + draws that are as low) / (1 + draws), one-sided: of five draws at least 1/6.
        """
        return {
            name: permutation_p(-self.accuracy("synergy"), -self.of_draws(name))
            for name, each in self.right.items()
            if len(each) > 1
        }

    def some(self, places: Ints) -> NoiseAccuracy:
        """The same of the tasks at these places alone."""
        sweep = self.sweep and replace(self.sweep, right=self.sweep.right[..., places])
        return replace(
            self,
            problems=self.problems.some(places),
            sweep=sweep,
            intact=self.intact[places],
            right={name: each[..., places] for name, each in self.right.items()},
            truncated={name: each[..., places] for name, each in self.truncated.items()},
        )

    def by(self, what: str) -> dict[Any, NoiseAccuracy]:
        """The same of each "level" (0: none), or of each "category", alone.

        Raises:
            ValueError: `what` is neither.
        """
        return {key: self.some(places) for key, places in self.problems.places(what).items()}

    def overlap(self, name: str) -> float:
        """The share of a subset's nodes that the synergistic subset has too, mean over draws."""
        return float(np.isin(self.subsets[name], self.subsets["synergy"]).mean())

    @property
    def finding(self) -> str:
        """What the experiment says, in plain sentences."""
        intact, floor = self.accuracy(INTACT), self.floor
        if self.where == "floor":
            return (
                f"The intact model has {intact:.1%} right, no more than the {floor:.1%} of one who "
                "knows nothing: a model at the floor cannot fall, and this shows nothing."
            )
        lost = ", ".join(f"{_NAMED[name]} to {self.accuracy(name):.1%}" for name in self.right)
        said = [
            f"Noise in {self.size} of {len(self.nodes)} nodes (alpha {self.alpha:g}) takes "
            f"accuracy from {intact:.1%} (floor {floor:.1%}) down: {lost}."
        ]
        if self.where == "ceiling":
            said.append("The intact model has everything right: weak noise may not show.")
        if self.sweep and self.sweep.remark:
            said.append(f"{self.sweep.remark[0].upper()}{self.sweep.remark[1:]}.")
        return " ".join([*said, *self._compared()])

    def _compared(self) -> list[str]:
        """How synergy compares with each other subset, and what follows from that."""
        # An interval without zero decides; all else is "no telling".
        signs = {
            name: -1 if each.high < 0 else int(each.low > 0)
            for name, each in self.of_synergy.items()
        }
        parts = [
            f"{_HARMS[signs[name]]} in {_NAMED[name]} (accuracy {each})"
            for name, each in self.of_synergy.items()
        ]
        verdict = "This does not support that the most synergistic nodes matter most."
        if all(sign < 0 for sign in signs.values()):
            verdict = "So would a synergistic core, and the layers of its nodes do not explain it."
        elif (signs["random"], signs["layer_matched"]) == (-1, 0):
            verdict = "It is no clearer than what any nodes of the same layers would give."
        return [f"Noise in the synergistic nodes harms {'; '.join(parts)}.", verdict]

    def table(self) -> list[dict[str, Any]]:
        """A row for each condition: accuracy, spread, differences, tests; JSON."""
        rows: list[dict[str, Any]] = [
            {
                "condition": INTACT,
                "accuracy": self.accuracy(INTACT),
                "tasks": len(self.problems),
                "truncated": _mean(self.truncated.get(INTACT)),
            }
        ]
        for name, each in self.right.items():
            less, test = self.against_intact[name], self.tests[name]
            row: dict[str, Any] = {
                "condition": name,
                "accuracy": self.accuracy(name),
                "spread": self.spread(name) if each[..., 0].size > 1 else None,
                "draws": each.shape[0],
                "seeds": each.shape[1],
                "of_draws": self.of_draws(name).tolist(),
                "overlap": self.overlap(name),
                "against_intact": [less.mean, less.low, less.high],
                "mcnemar": {"lost": test.lost, "gained": test.gained, "p": test.p},
                "truncated": _mean(self.truncated.get(name)),
            }
            if name in self.of_synergy:
                less = self.of_synergy[name]
                row["synergy_less_this"] = [less.mean, less.low, less.high]
                row["synergy_among_draws_p"] = self.draw_p.get(name)
            rows.append(row)
        return rows

    def plot(self, title: str | None = None) -> Figure:
        """Accuracy by subset, by level, and by strength of the noise where that was chosen.

        Args:
            title: of the whole figure; None: what was done.
        """
        from synkern.interventions.accuracy.plotting import noise_figure  # noqa: PLC0415  matplotlib

        sweep = self.sweep
        return noise_figure(
            {name: each.mean(-1) for name, each in self.right.items()},
            intact=self.accuracy(INTACT),
            floor=self.floor,
            levels={
                level_name(level): {name: each.accuracy(name) for name in (INTACT, *self.right)}
                | {"floor": each.floor}
                for level, each in self.by("level").items()
            },
            sweep=None if sweep is None else (sweep.alphas, sweep.right.mean(-1)),
            target=None if sweep is None else sweep.target,
            title=title
            or (
                f"Noise (alpha {self.alpha:g}) in {self.size} of {len(self.nodes)} nodes by "
                f"{self.ranking}, {len(self.problems)} tasks by {self.method}"
            ),
        )

    def __repr__(self) -> str:
        """A line on the experiment, a table by level, and differences."""
        levels = self.by("level")
        width = max(map(len, self.right))
        heads = "".join(f"{level_name(level):>10}" for level in levels)
        lines = [
            f"NoiseAccuracy: {self.size} of {len(self.nodes)} nodes by {self.ranking}, alpha "
            f"{self.alpha:g} of each {self.scale}, {len(self.problems)} tasks by {self.method}, "
            f"floor {self.floor:.1%}",
            f"  {'accuracy':<{width}}{'all':>8}{'SD':>8}{heads}",
        ]
        for name in (INTACT, *self.right):
            several = name != INTACT and self.right[name][..., 0].size > 1
            spread = f"{self.spread(name):.1%}" if several else ""
            cells = "".join(f"{each.accuracy(name):>10.1%}" for each in levels.values())
            lines.append(f"  {name:<{width}}{self.accuracy(name):>8.1%}{spread:>8}{cells}")
        lines += [
            f"  synergy less {name}: {difference}" for name, difference in self.of_synergy.items()
        ]
        return "\n".join(lines)


def _mean(truncated: Bools | None) -> float | None:
    """Texts cut short of a run, on average."""
    return None if truncated is None else float(truncated.sum(-1).mean())
