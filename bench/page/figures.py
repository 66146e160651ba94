"""The figures of the page, drawn on `matplotlib.figure.Figure` alone: no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bench.harness.records import Record, Run
from bench.page import sizes as paging
from bench.suites.sizes import NEIGHBOURS, WORKS, each

# Okabe and Ito's colours, told apart by every kind of colour vision; the markers differ too.
_STYLES: dict[str, tuple[str, str]] = {
    "cpu": ("#0072B2", "o"),
    "numpy": ("#D55E00", "s"),
    "torch": ("#009E73", "^"),
    "triton": ("#CC79A7", "D"),
    "cuda": ("#E69F00", "v"),
    "numba": ("#56B4E9", "P"),
    "torch.compile": ("#E69F00", "X"),
    "joblib over phyid": ("#000000", "d"),
    "synkern.calc_PhiID": ("#0072B2", "p"),
    "NumPy loop": ("#999999", "<"),
    "hoi": ("#CC79A7", ">"),
    "omegaid": ("#F0E442", "h"),
}
_OTHER = ("#555555", "*")
_TEXT: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def speedup(run: Run | None) -> Figure:
    """How many times faster than phyid, by shape: every way for MMI, and every work."""
    assert run is not None
    records = [r for r in run.records if r.sweeps]
    phyid = {(r.work, r.shape["name"]): r for r in records if r.way == "phyid"}
    names = list(dict.fromkeys(r.shape["name"] for r in records))
    nodes = {r.shape["name"]: r.shape["nodes"] for r in records}
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 4.8), dpi=130, layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        ways = list(dict.fromkeys(r.way for r in records if r.way != "phyid"))
        for k, way in enumerate(ways):
            of = [r for r in records if (r.way, r.work) == (way, "MMI rtr+sts")]
            of = [r for r in of if r.dtype == "float64" or r.peer]
            _dots(
                left,
                of,
                phyid,
                names,
                _style(way),
                f"{way}{' (peer)' if of and of[0].peer else ''}",
                (k - len(ways) / 2 + 0.5) * 0.07,
            )
        works = list(dict.fromkeys(r.work for r in records))
        for k, work in enumerate(works):
            of = [r for r in records if r.work == work and not r.peer and r.dtype == "float64"]
            best = [
                min((r for r in of if r.shape["name"] == name), key=lambda r: r.per_decomposition)
                for name in names
                if any(r.shape["name"] == name for r in of)
            ]
            style = list(_STYLES.values())[k % 5]
            _dots(right, best, phyid, names, style, work, (k - len(works) / 2 + 0.5) * 0.07)
        left.set(title="MMI, rtr and sts, float64", ylabel="times faster than phyid")
        right.set(title="The fastest backend of synkern, by work")
        for axes in (left, right):
            axes.set_yscale("log")
            axes.axhline(1, color="#555555", linewidth=0.8)
            axes.set_xticks(
                range(len(names)),
                [f"{name}\n{nodes[name]:,}" for name in names],
                rotation=30,
                ha="right",
                rotation_mode="anchor",
            )
            axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.yaxis.set_major_locator(LogLocator(10))
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
            )
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(labelleft=True)
        for axes in (left, right):
            handles, labels = axes.get_legend_handles_labels()
            axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=3)
    return figure


def _dots(
    axes: Any,
    records: Sequence[Record],
    phyid: Mapping[tuple[str, str], Record],
    names: Sequence[str],
    style: tuple[str, str],
    label: str,
    shift: float,
) -> None:
    where, height = [], []
    for record in records:
        work = "MMI rtr+sts" if record.work.startswith("MMI reduce") else record.work
        beside = phyid.get((work, record.shape["name"]))
        if beside is not None:
            where.append(names.index(record.shape["name"]) + shift)
            height.append(beside.per_decomposition / record.per_decomposition)
    if where:
        axes.plot(where, height, style[1], color=style[0], markersize=5.5, label=label)


def roofline(runs: Mapping[str, Run]) -> Figure:
    """Operations a second over operations a byte, under the measured roofs."""
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 4.8), dpi=130, layout="constrained")
        panels = figure.subplots(1, len(runs), squeeze=False)[0]
        for axes, run in zip(panels, runs.values(), strict=True):
            of = [r for r in run.records if r.sweeps and not r.peer and r.dtype == "float64"]
            intensity = np.array([r.operations / r.bytes for r in of])  # type: ignore[operator]
            _roofs(axes, run.roofline, intensity)
            _under_roofs(axes, run, of)
    return figure


def _roofs(axes: Axes, roof: Mapping[str, float], intensity: np.ndarray) -> None:
    """Lines over what the records need, and what they are."""
    x = np.geomspace(min(intensity.min() / 2, 0.5), intensity.max() * 2, 100)
    paper = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.plot(x, np.minimum(x * roof["copy"], roof["float64"]) / 1e9, color="black", linewidth=1.5)
    axes.axhline(roof["float32"] / 1e9, color="#999999", linewidth=1, linestyle=":")
    axes.text(
        x[-1],
        roof["float64"] / 1e9 * 1.07,
        f"float64 products {roof['float64'] / 1e9:,.0f} GFLOP/s",
        ha="right",
        va="bottom",
        bbox=paper,
    )
    axes.text(
        x[-1],
        roof["float32"] / 1e9 * 1.07,
        f"float32 products {roof['float32'] / 1e9:,.0f} GFLOP/s",
        ha="right",
        va="bottom",
        bbox=paper,
        color="#777777",
    )
    bend = roof["float64"] / roof["copy"]
    at = np.sqrt(x[0] * min(bend, x[-1]))
    axes.text(
        at,
        at * roof["copy"] / 1e9 * 1.2,
        f"copy {roof['copy'] / 1e9:,.0f} GB/s",
        rotation=32,
        ha="center",
        va="bottom",
    )


def _under_roofs(axes: Axes, run: Run, of: Sequence[Record]) -> None:
    """A point a record."""
    works = list(dict.fromkeys(r.work for r in of))
    for way in dict.fromkeys(r.way for r in of):
        for k, work in enumerate(works):
            mine = [r for r in of if (r.way, r.work) == (way, work)]
            axes.plot(
                [r.operations / r.bytes for r in mine],  # type: ignore[operator]
                [r.operations / r.seconds / 1e9 for r in mine],  # type: ignore[operator]
                "oXs^D"[k % 5],
                color=_style(way)[0],
                markersize=5,
                alpha=0.8,
            )
    for way in dict.fromkeys(r.way for r in of):
        axes.plot([], [], "o", color=_style(way)[0], label=way)
    for k, work in enumerate(works):
        axes.plot([], [], "oXs^D"[k % 5], color="#555555", fillstyle="none", label=work)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="operations a byte, by the model",
        ylabel="10⁹ operations a second",
        title=run.machine.get("gpu")
        or "{cores} cores of {processor} ({capability})".format_map(run.machine),
    )
    axes.grid(color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def scaling(curves: Sequence[dict[str, Any]]) -> Figure:
    """Time and peak memory against size, one panel a question."""
    panels = [
        ("MMI rtr+sts", "nodes", "seconds"),
        ("MMI rtr+sts", "time", "seconds"),
        ("MMI rtr+sts", "trials", "seconds"),
        ("MMI rtr+sts", "nodes", "bytes"),
        ('MMI reduce="nodes"', "nodes", "bytes"),
        ("CCS", "nodes", "seconds"),
    ]
    words = {"nodes": "nodes", "time": "samples", "trials": "trials"}
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 6.2), dpi=130, layout="constrained")
        for axes, (work, axis, what) in zip(figure.subplots(2, 3).flat, panels, strict=True):
            of = [c for c in curves if (c["work"], c["axis"]) == (work, axis)]
            for curve in of:
                colour, marker = _style(curve["backend"])
                points = [(p["size"], p[what]) for p in curve["points"] if p[what]]
                if not points:
                    continue
                slope = curve["exponents"][what]
                label = curve["backend"] + ("" if slope is None else f", slope {slope:.2f}")
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1.2,
                    label=label,
                )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(LogLocator(2, numticks=5))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.set(
                yscale="log",
                xlabel=words[axis],
                ylabel="seconds" if what == "seconds" else "peak memory, bytes",
                title=work,
            )
            axes.grid(color="#EEEEEE", linewidth=0.6)
            if axes.lines:
                axes.legend(fontsize=8)
    return figure


def sizes(rows: Sequence[dict[str, Any]]) -> Figure:
    """Nanoseconds of a (trial, pair) against nodes, a panel for each work, beside writing once."""
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 4.8), dpi=130, layout="constrained")
        for axes, work in zip(figure.subplots(1, 2, sharey=True), WORKS, strict=True):
            for nodes in NEIGHBOURS:
                axes.axvline(nodes, color="#DDDDDD", linewidth=1)
            for asked, style in zip(paging.ends(rows), ("torch", "cpu"), strict=False):
                found = paging.measured(rows, work, asked)
                colour, marker = _style(style)
                said = f"{asked} trial" + "s" * (asked > 1)
                for what, line, name in (
                    ("seconds", "-", said),
                    ("write", ":", f"{said}, outputs written once"),
                ):
                    axes.plot(
                        [row["nodes"] for row in found],
                        [1e9 * each(row, what) for row in found],
                        line,
                        color=colour,
                        marker=marker if what == "seconds" else None,
                        markersize=3.5,
                        linewidth=1.2,
                        label=name,
                    )
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(LogLocator(2, numticks=8))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.set(yscale="log", xlabel="nodes", title=work)
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.tick_params(labelleft=True)
            axes.grid(axis="y", color="#EEEEEE", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.legend(fontsize=8)
        figure.axes[0].set_ylabel("ns of a (trial, pair)")
    return figure


def accuracy(rows: Sequence[dict[str, Any]]) -> Figure:
    """Worst error of all atoms, by kind of series, backend and dtype."""
    kinds = list(dict.fromkeys(r["kind"] for r in rows))
    with mpl.rc_context(_TEXT | {"axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(10, 4.6), dpi=130, layout="constrained")
        redundancies = list(dict.fromkeys(r["redundancy"] for r in rows))
        widths = [
            len({(r["backend"], r["dtype"]) for r in rows if r["redundancy"] == x})
            for x in redundancies
        ]
        panels = figure.subplots(1, len(redundancies), squeeze=False, width_ratios=widths)[0]
        image = None
        for axes, redundancy in zip(panels, redundancies, strict=True):
            of = {
                (r["kind"], r["backend"], r["dtype"]): r
                for r in rows
                if r["redundancy"] == redundancy
            }
            columns = [
                (b, d) for d in ("float64", "float32") for b in dict.fromkeys(key[1] for key in of)
            ]
            worst = np.array(
                [
                    [
                        max(row["worst"])
                        if (row := of.get((kind, *c))) and row["worst"]
                        else np.nan
                        for c in columns
                    ]
                    for kind in kinds
                ]
            )
            image = axes.imshow(worst, cmap="cividis_r", norm=LogNorm(1e-16, 1e-5), aspect="auto")
            for (i, j), value in np.ndenumerate(worst):
                if np.isfinite(value):
                    dark = np.log10(max(value, 1e-16)) > -9.5
                    axes.text(
                        j,
                        i,
                        f"{np.log10(max(value, 1e-16)):.0f}",
                        ha="center",
                        va="center",
                        color="white" if dark else "black",
                    )
            axes.set_xticks(
                range(len(columns)),
                [b for b, _ in columns],
                rotation=45,
                ha="right",
                rotation_mode="anchor",
            )
            half = len(columns) // 2
            axes.axvline(half - 0.5, color="white", linewidth=2)
            for start, dtype in ((0, "float64"), (half, "float32")):
                axes.text(start + half / 2 - 0.5, -0.62, dtype, ha="center", va="bottom")
            axes.set_yticks(range(len(kinds)), kinds if axes is panels[0] else [])
            axes.tick_params(length=0)
            axes.set_title(redundancy, pad=18)
        figure.colorbar(
            image, ax=list(panels), label="worst error of any atom, nats", extend="both"
        )
        figure.suptitle("Power of ten of the worst error, against exact arithmetic", fontsize=9)
    return figure


def _style(way: str) -> tuple[str, str]:
    return _STYLES.get(way, _OTHER)
