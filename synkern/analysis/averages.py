"""Atoms averaged over trials with any weights: what a bootstrap over trials draws from.

A draw takes trial t as often as its weight w_t says. How trials combine decides what that means:

- the mean over trials of each trial's atoms is sum w_t v_t x_t / sum w_t v_t, v_t being 1 where
  trial t has a value x_t for the pair and 0 elsewhere. All trials' atoms are kept, pairs i < j
  only, and a chunk of draws is one matrix product (`TrialAverages`);
- pooled trials (moments, or one long series) are decomposed once, so a draw has to be decomposed
  anew, from the series in which its trials are repeated (`PooledAverages`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synkern._arrays import to_numpy

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Averages(ABC):
    """Symmetric atoms of all pairs, averaged over trials with weights to be chosen.

    Attributes:
        trials: number of trials.
        nodes: number of nodes.
        entries: number of (trial, pair), or of pairs where trials are pooled.
        missing: how many of these have no value and enter no average.
    """

    batched: ClassVar[bool]
    """Whether several draws at once cost less than one after the other."""

    trials: int
    nodes: int
    entries: int
    missing: int

    @abstractmethod
    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Atoms by name, (draws, nodes, nodes), averaged with weights (draws, trials).

        NaN on the diagonal and for a pair that has a value in no trial of the draw.
        """

    def mean(self) -> dict[str, Floats]:
        """Atoms by name, (nodes, nodes), every trial once."""
        return {name: rows[0] for name, rows in self.weighted(np.ones((1, self.trials))).items()}


@dataclass(frozen=True, eq=False)
class TrialAverages(Averages):
    """Means of the atoms of single trials, over the trials in which a pair has all of its atoms.

    Attributes:
        atoms: by name, (trials, pairs) float64, pairs i < j by row; 0 where there is no value.
        valid: the same shape, 1 where all atoms are finite and 0 elsewhere; None if all are.
    """

    batched = True

    atoms: Mapping[str, Floats]
    valid: Floats | None

    @classmethod
    def of(cls, chunks: Iterable[Mapping[str, Any]]) -> TrialAverages:
        """Take in trials, chunk by chunk, so that whole matrices of few trials exist at a time.

        Args:
            chunks: of consecutive trials: atoms by name, the same in every chunk, as symmetric
                arrays (trials, nodes, nodes) of any kind, such as a result of `phiid` with
                average=None holds. The diagonal is ignored.

        Raises:
            ValueError: shapes that do not fit, or no valid pair at all.
        """
        parts: dict[str, list[Floats]] = {}
        nodes = 0
        for chunk in chunks:
            nodes = _nodes(chunk)
            rows, columns = np.triu_indices(nodes, 1)
            for name, atom in chunk.items():
                pairs = to_numpy(atom)[:, rows, columns]
                parts.setdefault(name, []).append(np.asarray(pairs, np.float64))
        atoms = {name: np.concatenate(part) for name, part in parts.items()}
        valid = np.logical_and.reduce([np.isfinite(atom) for atom in atoms.values()])
        if not valid.any():
            raise ValueError(
                f"no pair of the {nodes} nodes is valid in any of the {len(valid)} trials; series "
                "that are constant, duplicated or deterministic give none"
            )
        missing = valid.size - int(valid.sum())
        if missing:
            atoms = {name: np.where(valid, atom, 0.0) for name, atom in atoms.items()}
        return cls(
            trials=len(valid),
            nodes=nodes,
            entries=valid.size,
            missing=missing,
            atoms=atoms,
            # Where nothing is left out, the product that counts valid trials is not needed.
            valid=valid.astype(np.float64) if missing else None,
        )

    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Average the atoms of single trials; see `Averages.weighted`."""
        total = weights.sum(1, keepdims=True) if self.valid is None else weights @ self.valid
        rows, columns = np.triu_indices(self.nodes, 1)
        out = {}
        for name, atom in self.atoms.items():
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = weights @ atom
                mean /= total  # 0 / 0 is the NaN that a pair without a valid trial should be
            out[name] = np.full((len(weights), self.nodes, self.nodes), np.nan)
            out[name][:, rows, columns] = mean
            out[name][:, columns, rows] = mean
        return out


@dataclass(frozen=True, eq=False)
class PooledAverages(Averages):
    """Atoms of trials that are pooled and decomposed once: anew for every draw.

    Attributes:
        series: (trials, time, nodes).
        decompose: atoms by name, (nodes, nodes), of such a series of any number of trials.
    """

    batched = False

    series: Any
    decompose: Callable[[Any], Mapping[str, Any]]

    @classmethod
    def of(cls, series: Any, decompose: Callable[[Any], Mapping[str, Any]]) -> PooledAverages:
        """Decompose all trials, to see which pairs have a value.

        Raises:
            ValueError: none has.
        """
        trials, _, nodes = series.shape
        rows, columns = np.triu_indices(nodes, 1)
        atoms = [to_numpy(atom)[rows, columns] for atom in decompose(series).values()]
        valid = np.logical_and.reduce([np.isfinite(atom) for atom in atoms])
        if not valid.any():
            raise ValueError(
                f"no pair of the {nodes} nodes is valid in the {trials} pooled trials; series that "
                "are constant, duplicated or deterministic give none"
            )
        return cls(
            trials=trials,
            nodes=nodes,
            entries=valid.size,
            missing=valid.size - int(valid.sum()),
            series=series,
            decompose=decompose,
        )

    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Decompose the trials of each draw anew; see `Averages.weighted`.

        Raises:
            ValueError: weights that are not whole numbers: a trial cannot be repeated by parts.
        """
        times = weights.astype(np.int64)
        if not np.array_equal(times, weights):
            raise ValueError("weights of pooled trials must be whole: how often each counts")
        draws = [self._drawn(np.repeat(np.arange(self.trials), row)) for row in times]
        return {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}

    def _drawn(self, trials: NDArray[np.int64]) -> dict[str, Floats]:
        atoms = self.decompose(self.series[trials]).items()
        drawn = {name: np.array(to_numpy(atom), np.float64) for name, atom in atoms}
        valid = np.logical_and.reduce([np.isfinite(atom) for atom in drawn.values()])
        for atom in drawn.values():
            atom[~valid] = np.nan
        return drawn


def _nodes(chunk: Mapping[str, Any]) -> int:
    """How many nodes the atoms of a chunk have."""
    shapes = {name: tuple(atom.shape) for name, atom in chunk.items()}
    for name, shape in shapes.items():
        if len(shape) != 3 or shape[1] != shape[2]:
            raise ValueError(
                f"{name} has shape {shape}; give (trials, nodes, nodes), one matrix per trial "
                "(phiid with average=None)"
            )
    if len(set(shapes.values())) > 1:
        said = " and ".join(f"{name} has shape {shape}" for name, shape in shapes.items())
        raise ValueError(f"{said}; give all atoms from one result")
    return int(next(iter(shapes.values()))[1])
