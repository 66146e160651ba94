"""What a decomposition of data has found, as the call returns it and the pages show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.scores import RANKINGS
from synkern.kernels import ATOMS
from synkern.study.numerals import interval, number, percent
from synkern.study.of_data.labelled import labelled
from synkern.study.of_data.options import DECOMPOSING, EXCESS, NULL
from synkern.study.of_data.steps import Step, of_lag

if TYPE_CHECKING:
    import xarray

Facts = dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False)
class Decomposition:
    """All pairs of a recording, decomposed.

    Attributes:
        description: what result.json holds: parameters, data, environment, stages, summary.
        arrays: what result.npz holds, by name; see `synkern.study.decompose_data`.
        out: the folder.
        report: the HTML page.
        reused: the steps that were taken from an earlier run.
    """

    description: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    out: Path
    report: Path
    reused: tuple[str, ...]

    def __repr__(self) -> str:
        """One line: folder, size, lags."""
        data = self.data
        return (
            f"Decomposition({str(self.out)!r}: {data['trials']} trials, {data['nodes']} nodes, "
            f"lags {', '.join(map(str, self.lags))}, {self.unit})"
        )

    @property
    def data(self) -> Facts:
        """What is known of the recording: names, groups, trials, notes."""
        found: Facts = self.description["data"]
        return found

    @property
    def lags(self) -> tuple[int, ...]:
        """In samples, in the order they were asked for."""
        return tuple(self.description["parameters"]["tau"])

    @property
    def unit(self) -> str:
        """Of all atoms, nats or bits."""
        return str(self.facts(self.lags[0])["unit"])

    @property
    def node_names(self) -> tuple[str, ...]:
        """One for each node."""
        return tuple(self.data["node_names"])

    @property
    def groups(self) -> tuple[str, ...] | None:
        """The group of each node; "" is in none."""
        return None if self.data["groups"] is None else tuple(self.data["groups"])

    @property
    def coordinates(self) -> NDArray[np.float64] | None:
        """(nodes, 3); None where they are not known."""
        where = self.data["coordinates"]
        return None if where is None else np.array(where, np.float64)

    def at(self, tau: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of one lag, under their names without it: `sts`, `node_synergy`, ...

        Raises:
            KeyError: it was not decomposed at this lag.
        """
        if tau not in self.lags:
            raise KeyError(f"tau = {tau!r}; there are {', '.join(map(str, self.lags))}")
        return of_lag(tau, self.arrays)

    def facts(self, tau: int, kind: str = DECOMPOSING) -> Facts:
        """Return what result.json says of a step at a lag; empty where there is none."""
        found: Facts = self.description["stages"].get(Step(kind, tau).name, {})
        return found

    def atoms(self, tau: int) -> tuple[str, ...]:
        """Return the atoms that are kept."""
        return tuple(atom for atom in ATOMS if f"tau{tau}_{atom}" in self.arrays)

    def to_xarray(self) -> xarray.Dataset:
        """Return the result labelled: lags, nodes, groups, coordinates, subjects; units in attrs.

        Raises:
            ImportError: xarray is not installed.
        """
        return labelled(self.description, {tau: self.at(tau) for tau in self.lags}, self.unit)

    def summary(self) -> list[str]:
        """Return in lines for a terminal what has been found."""
        lines = [*self.description["summary"], ""]
        for tau in self.lags:
            lines += self._lines(tau)
        return lines

    def _lines(self, tau: int) -> list[str]:
        facts, unit = self.facts(tau), self.unit
        lines = [f"lag {tau}: mean over pairs, {unit}{' (95 %)' if facts['drawn'] else ''}"]
        shown = {n: facts["means"][n] for n in ("synergy", "redundancy", RANKINGS[0])}
        excess = self.facts(tau, EXCESS)
        if excess:
            shown["excess of synergy"] = excess["mean"]
        lines += [f"  {name.replace('_', ' '):18} {told(mean)}" for name, mean in shown.items()]
        if excess and excess["unrelated"] is not None:
            lines.append(f"  {'... if unrelated':18} {number(excess['unrelated'], 4, signed=True)}")
        for atom, test in self.facts(tau, NULL).get("atoms", {}).items():
            lines.append(
                f"  {atom} differs from null {self.facts(tau, NULL)['null']} in "
                f"{percent(test['share_q'])} of the pairs at a false-discovery rate of 0.05 "
                f"(p <= 0.05: {percent(test['share_p'])})"
            )
        lines.append(f"  most synergistic by mean difference: {', '.join(self.top(tau))}")
        return lines

    def top(self, tau: int, count: int = 5) -> list[str]:
        """Return the names of the nodes that come first by mean difference."""
        score = self.at(tau)[f"node_{RANKINGS[0]}"]
        order = np.argsort(-np.where(np.isfinite(score), score, -np.inf), kind="stable")
        return [self.node_names[k] for k in order[:count] if np.isfinite(score[k])]


def told(mean: Mapping[str, Any], decimals: int = 4) -> str:
    """Return a mean with its interval, where there is one, as a terminal and a page write it."""
    if mean["value"] is None:
        return "undefined"
    text = number(mean["value"], decimals, signed=True)
    ends = mean["interval"]
    if ends is None or None in ends:
        return text
    return f"{text} {interval((ends[0], ends[1]), decimals)}"
