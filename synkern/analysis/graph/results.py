"""What the networks of a study are found to be, measure by measure, beside their nulls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.weights import WeightedGraph

Floats = NDArray[np.float64]

MEASURES = ("efficiency", "path_length", "clustering", "modularity")
"""Names of the measures that are compared with nulls, see `synkern.analysis.graph.measures`.
`modularity` is the mean over runs of Louvain: the best grows with their number."""


_ROUNDING = 1e-12
"""What differs by less does by rounding alone: relative, or of a modularity, which is a difference
of numbers up to 1, as it is."""


def slack_of(measure: str, values: Floats) -> Floats:
    """By how much a measure may differ from each of these by rounding alone."""
    return _ROUNDING * (np.ones_like(values) if measure == "modularity" else np.abs(values))


def ratio_to_null(measure: str, values: Floats, null: Floats) -> Floats:
    """A measure divided by that of null graphs; NaN where that is 0, as far as can be told.

    A null whose best division is no division has the modularity 0 up to rounding, of either sign.
    """
    there = np.abs(null) > (_ROUNDING if measure == "modularity" else 0)
    return np.where(there, values / np.where(there, null, 1.0), np.nan)


class AgainstNull(NamedTuple):
    """A measure beside the same of null graphs; one number for each density.

    Attributes:
        observed: of the graph itself.
        null_mean, null_sd: mean and standard deviation over the null graphs.
        ratio: observed / null_mean, what "normalised" means here; see `ratio_to_null`.
        z: (observed - null_mean) / null_sd; NaN where the nulls differ by rounding alone.
        p: two-sided, min(1, 2 (1 + the smaller number of nulls at or beyond it) / (draws + 1)).
    """

    observed: Floats
    null_mean: Floats
    null_sd: Floats
    ratio: Floats
    z: Floats
    p: Floats


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """The graph of one atom, measured.

    Attributes:
        graph: its weights, and which pairs have no value or are negative.
        densities: (densities,) float64, shares of the pairs that are kept, strongest first; 1 is
            the graph as it is, without threshold, as published.
        measured: by name in `MEASURES`, (densities,): efficiency in the unit of the atom,
            path_length in 1 / that, clustering and modularity without unit.
        area: by the same names, mean over the densities below 1 (area under the curve by
            trapezoids, divided by their range); NaN for fewer than two of them.
        null_densities: (null densities,) float64, those at which nulls were measured.
        nulls: by null and measure, (draws, null densities).
        run_modularity: (runs,) of each run of Louvain on the graph as it is.
        partition: (nodes,) int64, the community of each node in the best run.
        consensus: (nodes,) int64, in what the runs have in common, see `communities.consensus`.
        participation: (nodes,) how evenly a node's weights go to the communities of `consensus`.
        resolutions: (resolutions,) float64 that the communities were looked for at, 1 among them.
        swept_modularity: (resolutions,) best modularity, at that resolution.
        swept_communities: (resolutions,) int64 number of communities in the best run.
        swept_agreement: (resolutions,) adjusted Rand index of the best run with the layers.
        layer_modularity: modularity of the partition into layers, at resolution 1.
        layer_agreement: adjusted Rand index of `consensus` with the layers.
        run_agreement: mean adjusted Rand index of the runs with the best one.
    """

    graph: WeightedGraph
    densities: Floats
    measured: Mapping[str, Floats]
    area: Mapping[str, float]
    null_densities: Floats
    nulls: Mapping[str, Mapping[str, Floats]]
    run_modularity: Floats
    partition: NDArray[np.int64]
    consensus: NDArray[np.int64]
    participation: Floats
    resolutions: Floats
    swept_modularity: Floats
    swept_communities: NDArray[np.int64]
    swept_agreement: Floats
    layer_modularity: float
    layer_agreement: float
    run_agreement: float

    def __repr__(self) -> str:
        """One line: size, efficiency, modularity."""
        return (
            f"Network({self.graph.nodes} nodes, efficiency {self.whole('efficiency'):.4g}, "
            f"modularity {self.whole('modularity'):.4g} over {len(self.run_modularity)} runs)"
        )

    def whole(self, measure: str) -> float:
        """A measure of the graph without threshold."""
        return float(self.measured[measure][self.densities == 1][0])

    @property
    def published(self) -> dict[str, float]:
        """Efficiency and modularity as published: raw weights, no threshold, no null."""
        return {name: self.whole(name) for name in ("efficiency", "modularity")}

    @property
    def efficiency_per_weight(self) -> float:
        """Efficiency by mean weight: 1 where no detour is shorter than the edge it spares."""
        return self.whole("efficiency") / self.graph.mean_weight

    @property
    def small_world(self) -> float:
        """Clustering by path length, both by those of shuffled weights; NaN without that null.

        Humphries and Gurney 2008, PLoS ONE 3, e2051: above 1 for a small world.
        """
        if "weights" not in self.nulls:
            return float("nan")
        ratio = {
            name: self.against("weights", name).ratio[self.null_densities == 1][0]
            for name in ("clustering", "path_length")
        }
        return float(ratio["clustering"] / ratio["path_length"])

    def against(self, null: str, measure: str) -> AgainstNull:
        """A measure beside that of one kind of null graph, at `null_densities`.

        Raises:
            KeyError: no such null was drawn, or no such measure.
        """
        drawn = self.nulls[null][measure]
        observed = self.measured[measure][np.searchsorted(self.densities, self.null_densities)]
        mean, sd = drawn.mean(0), drawn.std(0, ddof=1)
        slack = slack_of(measure, observed)
        beyond = np.minimum((drawn >= observed - slack).sum(0), (drawn <= observed + slack).sum(0))
        vary = sd > slack_of(measure, mean)
        return AgainstNull(
            observed=observed,
            null_mean=mean,
            null_sd=sd,
            ratio=ratio_to_null(measure, observed, mean),
            z=np.where(vary, (observed - mean) / np.where(vary, sd, 1.0), np.nan),
            p=np.minimum(1, 2 * (1 + beyond) / (len(drawn) + 1)),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Networks:
    """The graphs of synergy (sts) and of redundancy (rtr) of the same nodes.

    Attributes:
        synergy, redundancy: measured each.
        layers: (nodes,) int64.
        spearman, pearson: correlation over the nodes of mean synergy and mean redundancy over a
            node's pairs. Reported of brains: about -0.4; of language models: positive.
        runs: of Louvain on a graph as it is.
        runs_aside: on each thresholded graph, and at each resolution other than 1.
        null_runs: on each null graph.
        draws: null graphs of each kind.
        dropped: densities of the default that so few nodes have too few edges for, see
            `weights.densities_of`.
        negative: what was done to negative weights, in words.
        seed: of everything that is drawn.
    """

    synergy: Network
    redundancy: Network
    layers: NDArray[np.int64]
    spearman: float
    pearson: float
    runs: int
    runs_aside: int
    null_runs: int
    draws: int
    dropped: tuple[float, ...]
    negative: str
    seed: int

    def __repr__(self) -> str:
        """Two networks in a line."""
        return f"Networks(synergy={self.synergy!r}, redundancy={self.redundancy!r})"
