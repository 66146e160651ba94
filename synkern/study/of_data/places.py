"""Where the nodes are: on the glass brain of nilearn, or on the head, by MNE."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from synkern._figures import STYLE
from synkern.analysis.scores import RANKINGS
from synkern.study.of_data.result import Decomposition
from synkern.study.report.drawing import Floats

STRONGEST = 60
"""Pairs that are drawn as lines."""

_NEEDS = {"mni": ("nilearn", "brain"), "scanner": ("nilearn", "brain"), "head": ("mne", "mne")}


def absent(found: Decomposition) -> str | None:
    """Why there is no view of where the nodes are; None if there can be one."""
    space = found.data["space"]
    if found.coordinates is None:
        return "where the nodes are is not known"
    if space == "scanner":
        return (
            "the coordinates of the nodes are in the space of the scanner, which no template shows"
        )
    package, extra = _NEEDS[space]
    if importlib.util.find_spec(package) is None:
        return (
            f"the view of where the nodes are needs the package {package!r}: "
            f'pip install "synkern[{extra}]"'
        )
    return None


def view(found: Decomposition, tau: int, title: str) -> Figure:
    """Nodes on a glass brain with the strongest pairs, or sensors on a head."""
    return (_head if found.data["space"] == "head" else _brain)(found, tau, title)


def strongest(found: Decomposition, tau: int) -> tuple[Floats, str]:
    """(nodes, nodes) 0 but for the pairs with the largest values, and what these are."""
    arrays = found.at(tau)
    name = "excess_sts" if "excess_sts" in arrays else "sts"
    values = np.triu(np.where(np.isfinite(arrays[name]), arrays[name], -np.inf), 1)
    rows, columns = np.triu_indices(len(values), 1)
    first = np.argsort(-values[rows, columns], kind="stable")[:STRONGEST]
    kept = np.zeros(values.shape)
    for k in first:
        if np.isfinite(values[rows[k], columns[k]]):
            kept[rows[k], columns[k]] = kept[columns[k], rows[k]] = values[rows[k], columns[k]]
    return kept, name


def _brain(found: Decomposition, tau: int, title: str) -> Figure:
    plotting = importlib.import_module("nilearn.plotting")
    where, score = _placed(found), found.at(tau)[f"node_{RANKINGS[0]}"]
    known = np.isfinite(score)
    edges, _ = strongest(found, tau)
    top = float(np.abs(edges).max()) or 1.0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.8), dpi=120)
        figure.suptitle(title, fontweight="bold")
        plotting.plot_markers(
            score[known],
            where[known],
            node_size=28,
            node_cmap="viridis",
            figure=figure,
            axes=(0.02, 0.50, 0.94, 0.42),
        )
        plotting.plot_connectome(
            edges,
            where,
            node_size=8,
            node_color="black",
            edge_cmap="YlOrRd",
            edge_vmin=0.0,
            edge_vmax=top,
            colorbar=True,
            figure=figure,
            axes=(0.02, 0.03, 0.94, 0.42),
        )
    return figure


def _placed(found: Decomposition) -> Floats:
    where = found.coordinates
    if where is None:
        raise ValueError("the coordinates of the nodes are not known")
    return where


def _head(found: Decomposition, tau: int, title: str) -> Figure:
    mne: Any = importlib.import_module("mne")
    where, arrays = _placed(found), found.at(tau)
    names = list(found.node_names)
    info = mne.create_info(names, 1.0, "eeg")
    positions = dict(zip(names, np.asarray(where), strict=True))
    montage = mne.channels.make_dig_montage(ch_pos=positions, coord_frame="head")
    info.set_montage(montage)
    panels = [("synergy", "Synergy"), ("redundancy", "Redundancy"), (RANKINGS[0], "Difference")]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.7), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        for axes, (key, name) in zip(figure.subplots(1, 3), panels, strict=True):
            values = arrays[f"node_{key}"]
            known = np.isfinite(values)
            image, _ = mne.viz.plot_topomap(
                values[known],
                mne.pick_info(info, np.flatnonzero(known)),
                axes=axes,
                show=False,
                contours=0,
                sensors=True,
                cmap="viridis",
                vlim=(values[known].min(), values[known].max()),
            )
            axes.set_title(name)
            figure.colorbar(image, ax=axes, label=found.unit, shrink=0.7)
    return figure
