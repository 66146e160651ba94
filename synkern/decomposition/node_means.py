"""`NodeMeans`: atoms averaged over the pairs of each node, where matrices would be too large."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synkern._labelled import FrameLibrary
from synkern.decomposition.decomposed import Decomposed
from synkern.decomposition.labelled import nodes_dataset, nodes_frame
from synkern.decomposition.saving import require, require_shape

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False, repr=False)
class NodeMeans(Decomposed):
    """Mean of every atom over the pairs of each node that have a value.

    A mapping: `means["sts"]` is an array (nodes,), or (trials, nodes) with average=None, the node
    being x of the pair; NaN where none of its pairs has a value. `node_scores` ranks the nodes.

    Attributes:
        arrays: by atom name.
        balance: mean of sts / (sts + rtr) over the pairs where the sum is positive (above 2^-40,
            about 1e-12, below which it is rounding); NaN where there are none, None where rtr or
            sts was not asked for.
        pairs: number of pairs of the node that have a value.
        tau: lag in samples.
        kind: estimator.
        redundancy: redundancy function.
        average: how trials were combined.
        unit: of the atoms.
        dtype: of the arithmetic; sums and means are float64.
        backend: name of the one that ran.
        shape: (trials, time, nodes) of the series.
        constant: (trials, nodes) bool NumPy array: the node does not vary.
        degenerate: number of (trial, pair) by kind of degeneracy, as in `PhiIDResult`.
        rescued: number of (trial, pair) recomputed from the data by a stable factorisation.
        node_names: a name for each node; None where the series had none and none were given.
        trial_names: a name for each trial of the series; None where it had none.
    """

    balance: Any
    pairs: Any
    degenerate: Mapping[str, int]

    verb = "phiid_nodes"

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """A table with a row for each node, after the trials where they are kept apart.

        Columns: `trial` with average=None, `node` (names, or numbers), the atoms, `balance` where
        there is one, and `pairs`.

        Args:
            library: that of the table, "pandas", "polars" or "pyarrow".

        Raises:
            MissingExtraError: it is not installed.
            ValueError: an unknown library.
        """
        return nodes_frame(self, self._further(), library)

    def to_xarray(self) -> xarray.Dataset:
        """The columns of `to_frame` as variables over `node` (and `trial`).

        Raises:
            MissingExtraError: xarray is not installed.
        """
        return nodes_dataset(self, self._further())

    def _further(self) -> dict[str, Any]:
        balance = {} if self.balance is None else {"balance": self.balance}
        return {**balance, "pairs": self.pairs}

    @classmethod
    def _plain_fields(cls) -> tuple[str, ...]:
        return ("degenerate",)

    def _check_loaded(self) -> None:
        super()._check_loaded()
        trials, _, nodes = self.shape
        shape = (trials, nodes) if self.average is None else (nodes,)
        require_shape(self.pairs, "pairs", "iu", shape)
        for name, value in self.arrays.items():
            require_shape(value, name, "f", shape)
        if self.balance is not None:
            require_shape(self.balance, "balance", "f", shape)
        counts = isinstance(self.degenerate, Mapping) and all(
            isinstance(kind, str) and type(count) is int and count >= 0
            for kind, count in self.degenerate.items()
        )
        require(counts, "degenerate does not count")
