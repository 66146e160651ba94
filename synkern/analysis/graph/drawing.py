"""A drawing of a network: its strongest edges between nodes coloured by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.libraries import library
from synkern.analysis.graph.weights import WeightedGraph, layers_checked, strongest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

_FAINTEST, _BOLDEST = 0.05, 0.9
"""Opacity of the weakest and the strongest edge that is drawn."""

_OUTSIDE = 1.1
"""Radius of the ring of nodes without a drawn edge; the others lie within 1."""


def plot_network(
    matrix: Any,
    layers: Any,
    *,
    density: float = 0.1,
    title: str = "",
    unit: str = "nats",
) -> Figure:
    """Draw the strongest edges of a graph, nodes coloured by layer.

    Springs along the drawn edges pull together what is connected (Fruchterman and Reingold 1991);
    then the nodes are spread evenly over the disc, in the order of their distance from its centre.
    So near means connected, and central connected to much; distances mean nothing. The size of a
    node is its strength. Nodes without a drawn edge are
    counted in the caption and drawn as small rings.
    Published of one model (arXiv:2601.06851, figure 3b) with the strongest 10 %.

    Args:
        matrix: (nodes, nodes), as for `WeightedGraph.of`.
        layers: (nodes,) whole numbers.
        density: share of the pairs whose edges are drawn, strongest first.
        title: above the drawing.
        unit: of the matrix.

    Returns:
        A figure of its own: no window, no global state.

    Raises:
        ValueError: what `WeightedGraph.of` raises; a density that is not above 0 and up to 1;
            layers that do not fit.
        MissingExtraError: matplotlib, scipy or scikit-network is not installed.
    """
    figures = library("matplotlib.figure", "plot_network")
    graph = WeightedGraph.of(matrix)
    layer = layers_checked(layers, graph.nodes)
    places = network_places(graph, density)
    figure: Figure = figures.Figure(figsize=(6, 5.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    mapped, said = draw_network(axes, graph, layer, places, density=density, unit=unit)
    if title:
        axes.set_title(title, parse_math=False, fontweight="bold", fontsize=10)
    figure.colorbar(mapped, ax=axes, label="layer", shrink=0.7)
    figure.supxlabel(said, fontsize=8, parse_math=False)
    return figure


def draw_network(
    axes: Axes,
    graph: WeightedGraph,
    layers: NDArray[np.int64],
    places: NDArray[np.float64],
    *,
    density: float,
    unit: str = "nats",
) -> tuple[ScalarMappable, str]:
    """Draw a graph on axes, see `plot_network`; needs no more than matplotlib.

    Args:
        axes: of a figure.
        graph: to be drawn.
        layers: (nodes,).
        places: (nodes, 2), as `network_places` gives them for this graph and density.
        density: share of the pairs whose edges are drawn.
        unit: of the weights.

    Returns:
        What colours mean, for a colour bar, and a caption.
    """
    colours = library("matplotlib.cm", "plot_network")
    norms = library("matplotlib.colors", "plot_network")
    lines = library("matplotlib.collections", "plot_network").LineCollection
    kept = strongest(graph.weights, density)
    linked = kept.sum(1) > 0
    rows, columns = np.nonzero(np.triu(kept))
    weight = kept[rows, columns]
    order = np.argsort(weight)  # the strongest on top
    share = (weight[order] - weight.min()) / (weight.max() - weight.min() or 1.0)
    mapped = colours.ScalarMappable(norms.Normalize(layers.min(), layers.max()), "viridis")
    # An edge has the colour of the layer half way.
    edge_colours = mapped.to_rgba((layers[rows] + layers[columns])[order] / 2)
    edge_colours[:, 3] = _FAINTEST + (_BOLDEST - _FAINTEST) * share
    axes.add_collection(
        lines(
            np.stack([places[rows], places[columns]], 1)[order],
            colors=edge_colours,
            linewidths=0.3 + 0.9 * share,
            zorder=1,
        )
    )
    strength = graph.strengths / graph.strengths.max()
    face = mapped.to_rgba(layers)
    axes.scatter(
        places[linked, 0],
        places[linked, 1],
        s=6 + 54 * strength[linked],
        c=face[linked],
        zorder=2,
        lw=0,
    )
    axes.scatter(
        places[~linked, 0],
        places[~linked, 1],
        s=6,
        facecolors="none",
        edgecolors=face[~linked],
        zorder=2,
    )
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.margins(0.04)
    alone = f"; {int((~linked).sum())} nodes have none (rings)" if not linked.all() else ""
    return mapped, (
        f"strongest {density:.0%} of the pairs: {len(weight):,} edges of {weight.min():.3g} to "
        f"{weight.max():.3g} {unit}{alone}"
    )


def network_places(graph: WeightedGraph, density: float) -> NDArray[np.float64]:
    """Where to draw each node, (nodes, 2): the linked ones by springs, the others on a ring.

    Args:
        graph: to be drawn.
        density: share of the pairs whose edges are drawn, above 0 up to 1.

    Raises:
        ValueError: another density, or one that is less than one of the pairs.
        MissingExtraError: scipy or scikit-network is not installed.
    """
    kept = strongest(graph.weights, density)
    linked = kept.sum(1) > 0
    place = np.empty((len(kept), 2))
    embedding = library("sknetwork.embedding", "plot_network").Spring
    sparse = library("scipy.sparse", "plot_network")
    some = kept[np.ix_(linked, linked)]
    # From a circle in the order of the nodes, so that the drawing is the same every time.
    start = _circle(len(some))
    pulls = sparse.csr_matrix(some / some.max())
    found = embedding(n_iter=200).fit(pulls, position_init=start).embedding_
    found = found - np.median(found, axis=0)
    radius = np.hypot(*found.T)
    # Springs heap up in the middle what is linked to all: spread evenly, in the same order.
    even = np.sqrt((np.argsort(np.argsort(radius, kind="stable")) + 1) / len(found))
    place[linked] = found * (even / np.where(radius > 0, radius, 1.0))[:, None]
    place[~linked] = _OUTSIDE * _circle(int((~linked).sum()))
    return place


def _circle(count: int) -> NDArray[np.float64]:
    angle = 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.cos(angle), np.sin(angle)], 1)
