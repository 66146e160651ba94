"""Atoms averaged over trials with any weights: what a bootstrap over trials draws from.

A draw takes trial t as often as its weight w_t says. How trials combine decides what that means:

- the mean over trials of each trial's atoms is sum w_t v_t x_t / sum w_t v_t, v_t being 1 where
  trial t has a value x_t for the pair and 0 elsewhere. All trials' atoms are kept, pairs i < j
  only, and a chunk of draws is one matrix product (`TrialAverages`);
- pooled trials (moments, or one long series) are decomposed once, so a draw has to be decomposed
  anew, from the series in which its trials are repeated (`PooledAverages`);
- of very many nodes only the means over each node's pairs are there, by trial. A node's average is
  then that over all of its (trial, pair) with a value: sum w_t n_t m_t / sum w_t n_t, m_t being the
  mean of its n_t pairs in trial t (`NodeAverages`). Where every pair has a value in every trial it
  is the same as the mean over a row of `TrialAverages`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synkern._arrays import to_numpy
from synkern.analysis.scores import (
    OF_MEANS,
    mean_over_pairs,
    score_of_means,
    scores_from_matrices,
)
from synkern.decomposition.labels import numbered
from synkern.decomposition.node_means import NodeMeans

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Averages(ABC):
    """Symmetric atoms, of all pairs or by node, averaged over trials with weights to be chosen.

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

        NaN on the diagonal and for a pair that has a value in no trial of the draw. Of
        `NodeAverages` they are (draws, nodes), NaN for a node without any such pair.
        """

    @abstractmethod
    def of_subjects(self, subjects: Any) -> Averages:
        """Averages in which the subjects are what the trials are here, each by its own mean.

        A draw is then one of subjects, and every subject counts the same, however many trials it
        has; `trials` is their number, in the order in which they first come.

        Args:
            subjects: a label for each trial, whose it is.

        Raises:
            ValueError: not a label for each trial; pooled trials.
            TypeError: no labels.
        """

    @property
    def numbers(self) -> int:
        """How many numbers an atom has in one draw."""
        return self.nodes * self.nodes

    def by_node(self, atom: Floats) -> Floats:
        """Means over the pairs of each node, (draws, nodes), of an atom as `weighted` gives it."""
        return np.asarray(mean_over_pairs(atom), np.float64)

    def scored(self, atoms: Mapping[str, Floats], ranking: str) -> Floats:
        """Scores by a ranking, (draws, nodes), of atoms as `weighted` gives them.

        Raises:
            ValueError: the ranking is made of single pairs, which are not there.
        """
        return np.asarray(scores_from_matrices(atoms["sts"], atoms["rtr"], ranking), np.float64)

    def mean(self) -> dict[str, Floats]:
        """Atoms by name, (nodes, nodes) or (nodes,), every trial once."""
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
            raise ValueError(_no_pair(nodes, f"any of the {len(valid)} trials"))
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

    def of_subjects(self, subjects: Any) -> TrialAverages:
        """Mean of each pair over the trials of a subject; see `Averages.of_subjects`."""
        own = _own_trials(subjects, self.trials)
        count = own.sum(1, keepdims=True) if self.valid is None else own @ self.valid
        entries = len(own) * next(iter(self.atoms.values())).shape[1]
        valid = None if self.valid is None else (count > 0).astype(np.float64)
        return replace(
            self,
            trials=len(own),
            entries=entries,
            missing=0 if valid is None else entries - int(valid.sum()),
            atoms={name: own @ atom / np.maximum(count, 1) for name, atom in self.atoms.items()},
            valid=valid,
        )


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
            raise ValueError(_no_pair(nodes, f"the {trials} pooled trials"))
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

    def of_subjects(self, subjects: Any) -> PooledAverages:
        """Refuse: pooled trials have no means of their own."""
        raise ValueError(
            "subjects: trials that are pooled have no atoms of their own, and none of a subject to "
            "average; decompose them with average='trials' (TrialAverages)"
        )

    def _drawn(self, trials: NDArray[np.int64]) -> dict[str, Floats]:
        atoms = self.decompose(self.series[trials]).items()
        drawn = {name: np.array(to_numpy(atom), np.float64) for name, atom in atoms}
        valid = np.logical_and.reduce([np.isfinite(atom) for atom in drawn.values()])
        for atom in drawn.values():
            atom[~valid] = np.nan
        return drawn


@dataclass(frozen=True, eq=False)
class NodeAverages(Averages):
    """Means over the pairs of each node in single trials, averaged over these.

    Attributes:
        atoms: by name, (trials, nodes) float64, mean over a node's pairs; 0 where it has none.
        pairs: (trials, nodes) float64, how many of its pairs have a value.
    """

    batched = True

    atoms: Mapping[str, Floats]
    pairs: Floats

    @classmethod
    def of(cls, chunks: Iterable[NodeMeans]) -> NodeAverages:
        """Take in trials, chunk by chunk.

        Args:
            chunks: of consecutive trials, with the same atoms in every chunk: what `phiid_nodes`
                gives with average=None.

        Raises:
            ValueError: means that were averaged over trials already, or no valid pair at all.
        """
        parts: dict[str, list[Floats]] = {}
        counts: list[Floats] = []
        for chunk in chunks:
            if chunk.average is not None:
                raise ValueError(
                    f"means averaged over trials (average={chunk.average!r}) have no trials left "
                    "to be drawn; give those of phiid_nodes with average=None"
                )
            counts.append(np.asarray(to_numpy(chunk.pairs), np.float64))
            for name, atom in chunk.items():
                parts.setdefault(name, []).append(np.asarray(to_numpy(atom), np.float64))
        pairs = np.concatenate(counts)
        trials, nodes = pairs.shape
        if not pairs.any():
            raise ValueError(_no_pair(nodes, f"any of the {trials} trials"))
        entries = trials * (nodes * (nodes - 1) // 2)
        return cls(
            trials=trials,
            nodes=nodes,
            entries=entries,
            # Every pair is one of two nodes.
            missing=entries - int(pairs.sum()) // 2,
            atoms={
                name: np.where(pairs > 0, np.concatenate(part), 0.0) for name, part in parts.items()
            },
            pairs=pairs,
        )

    @property
    def numbers(self) -> int:
        """How many numbers an atom has in one draw."""
        return self.nodes

    def weighted(self, weights: Floats) -> dict[str, Floats]:
        """Average the means of single trials, (draws, nodes); see `Averages.weighted`."""
        total = weights @ self.pairs
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                name: np.asarray(weights @ (self.pairs * atom) / total)
                for name, atom in self.atoms.items()
            }

    def of_subjects(self, subjects: Any) -> NodeAverages:
        """Mean of each node over the pairs and trials of a subject; see `Averages.of_subjects`.

        A subject counts with its mean number of pairs by trial.
        """
        own = _own_trials(subjects, self.trials)
        total, count = own @ self.pairs, own.sum(1, keepdims=True)
        entries = len(own) * (self.nodes * (self.nodes - 1) // 2)
        return replace(
            self,
            trials=len(own),
            entries=entries,
            missing=entries - round((total / count).sum() / 2),
            atoms={
                name: own @ (self.pairs * atom) / np.maximum(total, 1)
                for name, atom in self.atoms.items()
            },
            pairs=total / count,
        )

    def by_node(self, atom: Floats) -> Floats:
        """Return the atom, whose means these are already."""
        return atom

    def scored(self, atoms: Mapping[str, Floats], ranking: str) -> Floats:
        """Scores by a ranking of means; see `Averages.scored`."""
        if ranking not in OF_MEANS:
            raise ValueError(
                f"ranking {ranking!r} is made of the averages of single pairs, and only means by "
                f"node are there; use {' or '.join(map(repr, OF_MEANS))}"
            )
        return np.asarray(score_of_means(atoms["sts"], atoms["rtr"], ranking), np.float64)


def _own_trials(subjects: Any, trials: int) -> Floats:
    """(subjects, trials), 1 where a trial is a subject's and 0 elsewhere."""
    owner = numbered(subjects, trials, argument="subjects", what="trial")
    own: Floats = (owner == np.arange(owner.max() + 1)[:, None]).astype(np.float64)
    return own


def _no_pair(nodes: int, where: str) -> str:
    return (
        f"no pair of the {nodes} nodes is valid in {where}; series that are constant, duplicated "
        "or deterministic give none"
    )


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
