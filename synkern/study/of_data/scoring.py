"""Scores of nodes from the atoms of their pairs, how surely, and what the nodes have in common.

Units, that is subjects, or trials where there are no subjects, are drawn with replacement for
intervals; each counts once, however many trials it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis import Averages
from synkern.analysis.scores import RANKINGS
from synkern.study.numerals import rounded
from synkern.study.of_data.options import DecomposeOptions
from synkern.study.of_data.preparing import Floats, Prepared
from synkern.study.stages.statistics import rank_correlation

CONFIDENCE = 0.95
PERSISTENCE = "persistence"

# Of a chunk of draws, in bytes, and how many matrices a draw has at once.
_DRAW_BYTES = 256 * 2**20
_MATRICES_PER_DRAW = 6


@dataclass(frozen=True, eq=False)
class Scored:
    """What nodes have, by name: as it is, and in every bootstrap draw.

    Attributes:
        values: (nodes,) by name.
        draws: (draws, nodes) by the same names; None where there is one unit only.
        pairs: (nodes,) number of pairs of each node that have a value.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats] | None
    pairs: NDArray[np.int64]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the values as `node_NAME` and their intervals, (nodes, 2), as `interval_NAME`."""
        out: dict[str, NDArray[Any]] = {f"node_{n}": v for n, v in self.values.items()}
        for name, rows in (self.draws or {}).items():
            out[f"interval_{name}"] = np.stack(ends_of(rows), -1)
        return out

    def mean(self, name: str, among: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Return a mean and its interval, as JSON holds it.

        Args:
            name: of what nodes have.
            among: None: over all pairs, of what is a mean over the pairs of a node, and over all
                nodes of what is not. Some nodes: over these.
        """
        weights = np.ones(len(self.pairs)) if among is None else among.astype(np.float64)
        if among is None and name != PERSISTENCE:
            weights = self.pairs.astype(np.float64)
        value = _mean(self.values[name], weights)
        found: dict[str, Any] = {"value": rounded(value), "interval": None}
        if self.draws is not None:
            means = _mean(self.draws[name], weights)
            found["interval"] = [rounded(end) for end in ends_of(means)]
        return found

    def correlation(self, one: str, other: str) -> dict[str, Any]:
        """Return the rank correlation over nodes of two of them, and its interval."""
        value = rank_correlation(self.values[one], self.values[other])
        found: dict[str, Any] = {"value": value, "interval": None}
        if self.draws is not None and value is not None:
            pairs = zip(self.draws[one], self.draws[other], strict=True)
            drawn = [rank_correlation(a, b) for a, b in pairs]
            known = np.array([np.nan if r is None else r for r in drawn])
            found["interval"] = [rounded(end) for end in ends_of(known)]
        return found

    def stability(self, name: str) -> float | None:
        """Return the median rank correlation over nodes of what they have with that in a draw."""
        if self.draws is None:
            return None
        drawn = [rank_correlation(self.values[name], row) for row in self.draws[name]]
        known = [r for r in drawn if r is not None]
        return rounded(np.median(known)) if known else None


def scored(
    options: DecomposeOptions, averages: Averages, persistence: Floats, pairs: Any, label: str
) -> Scored:
    """Score the nodes by every ranking, and again in every bootstrap draw of the units.

    Args:
        options: how many draws, and their seed.
        averages: of `sts` and `rtr`.
        persistence: (units, nodes), each node's own correlation at the lag; NaN where undefined.
        pairs: as in `Scored`.
        label: of the progress bar.
    """
    values = _of(averages, np.ones((1, averages.trials)), persistence)
    draws = drawn(options, averages, persistence, label) if averages.trials > 1 else None
    return Scored({name: rows[0] for name, rows in values.items()}, draws, pairs)


def drawn(
    options: DecomposeOptions, averages: Averages, persistence: Floats | None, label: str
) -> dict[str, Floats]:
    """Return (draws, nodes) by name; see `scored`."""
    units, total = averages.trials, options.bootstrap
    rng = np.random.default_rng((options.seed, 1))
    weights = rng.multinomial(units, np.full(units, 1 / units), size=total).astype(float)
    depth = max(1, _DRAW_BYTES // (8 * _MATRICES_PER_DRAW * averages.numbers))
    parts: dict[str, list[Floats]] = {}
    with options.bar(label, total, "draw") as bar:
        for start in range(0, total, depth):
            some = weights[start : start + depth]
            for name, rows in _of(averages, some, persistence).items():
                parts.setdefault(name, []).append(rows)
            bar.update(len(some))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _of(averages: Averages, weights: Floats, persistence: Floats | None) -> dict[str, Floats]:
    atoms = averages.weighted(weights)
    if persistence is None:
        return {name: averages.by_node(matrix) for name, matrix in atoms.items()}
    out = {
        "synergy": averages.by_node(atoms["sts"]),
        "redundancy": averages.by_node(atoms["rtr"]),
        **{ranking: averages.scored(atoms, ranking) for ranking in RANKINGS},
    }
    known = np.isfinite(persistence)
    with np.errstate(invalid="ignore", divide="ignore"):
        out[PERSISTENCE] = weights @ np.where(known, persistence, 0.0) / (weights @ known)
    return out


def by_group(found: Prepared, result: Scored, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what the nodes of each group have on average, in the order of the nodes."""
    if found.data.groups is None:
        return []
    labels = np.array(found.data.groups)
    return [
        {
            "group": group,
            "nodes": int((labels == group).sum()),
            **{name: result.mean(name, labels == group) for name in names},
        }
        for group in dict.fromkeys(labels.tolist())
    ]


def ends_of(draws: NDArray[np.floating[Any]]) -> tuple[Any, Any]:
    """Return both ends of the interval over the first axis; NaN where a draw has no value."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, (tail, 1 - tail), axis=0)
    return low, high


def _mean(values: Floats, weights: Floats) -> Any:
    """Weighted mean of (..., nodes) over the nodes with a value; NaN where there is none."""
    known = np.where(np.isfinite(values), weights, 0.0)
    with np.errstate(invalid="ignore"):
        return (np.where(known > 0, values, 0.0) * known).sum(-1) / known.sum(-1)
