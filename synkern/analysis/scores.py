"""Scores of nodes: atoms of pairs become one synergy, redundancy and rank per node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import like, to_numpy
from synkern._labelled import FrameLibrary, frame, imported, labels
from synkern.analysis.options import RANKING_NAMES
from synkern.decomposition.node_means import NodeMeans
from synkern.decomposition.result import PhiIDResult
from synkern.kernels import LEAST_SUM

if TYPE_CHECKING:
    import xarray

Floats = npt.NDArray[np.floating[Any]]

RANKINGS = RANKING_NAMES
"""Three ways in use to say how synergistic a node is; they differ (Spearman 0.25 between two of
them), so a result names the one it used.

`mean_difference`: mean over its pairs of sts - rtr, nats. First, and the default: the text of
arXiv:2601.06851 tells of the next one, but its code and its figures are of this one. The ranks that
can be read off its map of heads agree with those of a replication's recordings of the same model
with rank correlation 0.81 by this ranking and 0.48 by the next.
`rank_difference`: tied rank of the node's mean synergy minus that of its mean redundancy, as in
Luppi et al., Nat. Neurosci. 2022, and the text of the former.
`balance`: mean over its pairs of sts / (sts + rtr), pairs left out where the sum is not positive,
or is rounding, below 1e-12; a replication of it.
"""

OF_MEANS = RANKINGS[:2]
"""The rankings that are made of each node's mean synergy and mean redundancy alone."""

PUBLISHED = RANKINGS[0]
"""The ranking that the published figures of arXiv:2601.06851 show: what "as published" is here."""


@dataclass(frozen=True, eq=False, repr=False)
class NodeScores:
    """Scores of every node, arrays (..., nodes) of the kind that the result holds.

    Attributes:
        ranking: how `score` is defined, one of `RANKINGS`.
        synergy: mean sts over the node's pairs with a value, in the unit of the result.
        redundancy: mean rtr, likewise.
        score: the ranking variable: ranks, nats or a share, by `ranking`.
        rank: tied rank of the score, 1 (most redundant) to nodes (most synergistic).
        pairs: number of pairs of the node that have a value.
        node_names: a name for each node, as the result has them; None if it has none.
    """

    ranking: str
    synergy: Any
    redundancy: Any
    score: Any
    rank: Any
    pairs: Any
    node_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        """One line: ranking and shape."""
        shape = " x ".join(map(str, self.score.shape))
        return f"NodeScores({self.ranking!r} of {shape} nodes)"

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """A table with a row for each node, after the trials where they are kept apart.

        Columns: `trial` where they are, `node` (names, or numbers), synergy, redundancy, score,
        rank and pairs.

        Args:
            library: that of the table, "pandas", "polars" or "pyarrow".

        Raises:
            MissingExtraError: it is not installed.
            ValueError: an unknown library.
        """
        *trials, nodes = self.score.shape
        columns = {"node": np.tile(labels(self.node_names, nodes), trials[0] if trials else 1)}
        if trials:
            columns = {"trial": np.repeat(np.arange(trials[0]), nodes), **columns}
        columns |= {name: value.reshape(-1) for name, value in self._values().items()}
        return frame(columns, library, "to_frame")

    def to_xarray(self) -> xarray.Dataset:
        """The columns of `to_frame` as variables over `node` (and `trial`).

        Raises:
            MissingExtraError: xarray is not installed.
        """
        *trials, nodes = self.score.shape
        dims = (*(["trial"] if trials else []), "node")
        made: xarray.Dataset = imported("xarray", "to_xarray").Dataset(
            {name: (dims, value) for name, value in self._values().items()},
            coords={"node": labels(self.node_names, nodes)},
            attrs={"ranking": self.ranking},
        )
        return made

    def _values(self) -> dict[str, Floats]:
        names = ("synergy", "redundancy", "score", "rank", "pairs")
        return {name: to_numpy(getattr(self, name)) for name in names}


def node_scores(result: PhiIDResult | NodeMeans, ranking: str = PUBLISHED) -> NodeScores:
    """Mean synergy and redundancy of each node, and its place between the two.

    Pairs without a value are left out of every mean; a node without any gets NaN.

    Args:
        result: holds `sts` and `rtr`; all pairs, or their means by node.
        ranking: one of `RANKINGS`; by default that of the published figures, `mean_difference`.

    Raises:
        KeyError: the result lacks `sts` or `rtr`.
        ValueError: unknown ranking; a result of chosen pairs.
    """
    if isinstance(result, NodeMeans):
        check.choice("ranking", ranking, RANKINGS)
        synergy, redundancy, balance, pairs = (
            to_numpy(v) for v in (result["sts"], result["rtr"], result.balance, result.pairs)
        )
        means_decide = ranking in OF_MEANS
        score = score_of_means(synergy, redundancy, ranking) if means_decide else balance
    else:
        if result.pairs is not None:
            raise ValueError(
                "result is of chosen pairs, and the mean of a node is over all its pairs; "
                "decompose without pairs"
            )
        sts, rtr = to_numpy(result["sts"]), to_numpy(result["rtr"])
        score = scores_from_matrices(sts, rtr, ranking)
        synergy, redundancy, pairs = (
            mean_over_pairs(sts),
            mean_over_pairs(rtr),
            np.isfinite(sts).sum(-1),
        )
    per_node = {
        "synergy": synergy,
        "redundancy": redundancy,
        "score": score,
        "rank": tied_rank(score),
        "pairs": pairs,
    }
    arrays = {name: like(value, result["sts"]) for name, value in per_node.items()}
    return NodeScores(ranking, **arrays, node_names=result.node_names)


def scores_from_matrices(sts: Floats, rtr: Floats, ranking: str) -> Floats:
    """The score of each node by one of `RANKINGS`, from (..., nodes, nodes) NumPy matrices.

    Returns:
        (..., nodes): differences of ranks, nats, or shares between 0 and 1.
    """
    check.choice("ranking", ranking, RANKINGS)
    if ranking == "balance":
        return mean_over_pairs(shares(sts, rtr))
    return score_of_means(mean_over_pairs(sts), mean_over_pairs(rtr), ranking)


def shares(sts: Floats, rtr: Floats) -> Floats:
    """Each pair's sts / (sts + rtr); NaN where the sum is not above `synkern.kernels.LEAST_SUM`."""
    total = sts + rtr
    return np.divide(sts, total, out=np.full_like(total, np.nan), where=total > LEAST_SUM)


def score_of_means(synergy: Floats, redundancy: Floats, ranking: str) -> Floats:
    """The score of each node by one of `OF_MEANS`, from means over its pairs, (..., nodes)."""
    if ranking == "rank_difference":
        return tied_rank(synergy) - tied_rank(redundancy)
    return synergy - redundancy


def mean_over_pairs(matrix: Floats) -> Floats:
    """Return each node's mean over its pairs with a value: (..., nodes, nodes) to (..., nodes)."""
    valid = np.isfinite(matrix)
    with np.errstate(invalid="ignore"):
        means: Floats = np.where(valid, matrix, 0).sum(-1) / valid.sum(-1)
    return means


def tied_rank(values: Floats) -> Floats:
    """Ranks from 1 along the last axis; equal values share their mean rank, NaN stays NaN."""

    def ranks(row: Floats) -> Floats:
        ordered = np.sort(row[np.isfinite(row)])
        below = np.searchsorted(ordered, row, "left")
        up_to = np.searchsorted(ordered, row, "right")
        return np.where(np.isfinite(row), (below + up_to + 1) / 2, np.nan)

    return np.apply_along_axis(ranks, -1, values)
