"""The page of a decomposition: one HTML file with its figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from synkern.analysis.scores import RANKINGS
from synkern.study import explorer
from synkern.study.numerals import number, p_value, percent, significant
from synkern.study.of_data import figures, places
from synkern.study.of_data.decomposing import pooled_said
from synkern.study.of_data.findings import (
    FEW_UNITS,
    PREPARED,
    as_plain,
    called_units,
    length_of,
    name_of,
)
from synkern.study.of_data.folder import NETCDF, PAGE, PARQUET, ZARR, DataFolder
from synkern.study.of_data.options import EXCESS, NULL
from synkern.study.of_data.result import Decomposition, told
from synkern.study.of_data.tables import MOST_PAIRS, pairs_at, rows_of, strongest_of
from synkern.study.report import called
from synkern.study.report.pages import rendered, write_figure
from synkern.study.stages.null import FALSE_POSITIVES
from synkern.study.stages.statistics import FALSE_DISCOVERIES

LISTED = 20
"""Pairs and nodes that a table of the page has."""


class Drawn(NamedTuple):
    """A figure, its file without `.png`, and the macro that goes under it."""

    name: str
    figure: Figure
    topic: str


def write_page(folder: DataFolder, found: Decomposition) -> None:
    """Draw the figures and write `report.html`, in the place of an earlier report.

    Args:
        folder: that they go to.
        found: the results, with their summary.
    """
    folder.remove_report(["*"])
    sections = [
        {
            "tau": tau,
            "lag": length_of(found, tau),
            "figures": [_written(folder, drawn) for drawn in _drawn(found, tau)],
            "facts": found.facts(tau),
            "excess": found.facts(tau, EXCESS),
            "null": found.facts(tau, NULL),
            "rows": _rows(found, tau),
            "pairs": _pairs(found, tau),
            "nodes": _nodes(found, tau),
            "groups": _groups(found, tau),
        }
        for tau in found.lags
    ]
    lags = []
    if len(found.lags) > 1:
        figure = figures.over_lags(found, f"{name_of(found)}: by lag")
        lags.append(_written(folder, Drawn("lags", figure, "lags")))
    page = rendered(
        "synkern.study.of_data",
        "decomposition.html.jinja",
        name=name_of(found),
        explorer=explorer.FILE,
        found=found,
        data=found.data,
        parameters=found.description["parameters"],
        description=found.description,
        sections=sections,
        lags=lags,
        units=called_units(found),
        few_units=FEW_UNITS,
        prepared=PREPARED,
        pooled=pooled_said,
        called=called,
        rankings=RANKINGS,
        place_absent=places.absent(found),
        strongest=places.STRONGEST,
        false_positives=FALSE_POSITIVES,
        threshold=FALSE_DISCOVERIES,
        most_pairs=MOST_PAIRS,
        files=[n for n in (PARQUET, NETCDF, ZARR) if (folder.path / n).exists()],
        number=number,
        p_value=p_value,
        percent=percent,
        significant=significant,
        told=told,
        as_plain=as_plain,
    )
    folder.write(PAGE, page)


def _drawn(found: Decomposition, tau: int) -> Iterator[Drawn]:
    said, suffix = f"{name_of(found)}, lag {tau}", f"_lag{tau}"
    yield Drawn(f"pairs{suffix}", figures.matrices(found, tau, f"{said}: all pairs"), "pairs")
    if found.groups is not None and len(set(found.groups)) > 1:
        title = f"{said}: means within and between groups"
        yield Drawn(f"groups{suffix}", figures.groups_by_groups(found, tau, title), "groups")
    yield Drawn(f"nodes{suffix}", figures.node_ranks(found, tau, f"{said}: nodes"), "nodes")
    if found.facts(tau, EXCESS) or found.facts(tau, NULL):
        title = f"{said}: under the controls"
        yield Drawn(f"controls{suffix}", figures.controls(found, tau, title), "controls")
    title = f"{said}: rank correlation of nodes with their own persistence"
    yield Drawn(f"persistence{suffix}", figures.persistence(found, tau, title), "persistence")
    if places.absent(found) is None:
        title = f"{said}: where the nodes are"
        topic = "head" if found.data["space"] == "head" else "brain"
        yield Drawn(f"places{suffix}", places.view(found, tau, title), topic)


def _written(folder: DataFolder, drawn: Drawn) -> dict[str, str]:
    """Write a figure; what the page needs of it."""
    file = f"{drawn.name}.png"
    return {"file": file, "data": write_figure(folder, file, drawn.figure), "topic": drawn.topic}


def _rows(found: Decomposition, tau: int) -> list[dict[str, str]]:
    """Means over pairs, and what they are beside."""
    facts, excess = found.facts(tau), found.facts(tau, EXCESS)
    tests = found.facts(tau, NULL).get("atoms", {})
    rows = []
    for name, atom in (("synergy", "sts"), ("redundancy", "rtr"), (RANKINGS[0], "")):
        test = tests.get(atom, {})
        share = test.get("share_q")
        rows.append(
            {
                "name": name.replace("_", " "),
                "mean": told(facts["means"][name]),
                "above": "" if share is None else percent(test["share_q_above"]),
                "below": "" if share is None else percent(test["share_q_below"]),
                "p": "" if share is None else percent(test["share_p"]),
                "z": ""
                if share is None or test["median_z"] is None
                else number(test["median_z"], 2, signed=True),
            }
        )
    if excess:
        rows.append({"name": "synergy beyond persistence", "mean": told(excess["mean"])})
        if excess["unrelated"] is not None:
            mean = number(excess["unrelated"], 4, signed=True)
            rows.append({"name": "… of unrelated nodes", "mean": mean})
    return rows


def _pairs(found: Decomposition, tau: int) -> list[dict[str, Any]]:
    """The pairs with the most synergy, in words."""
    rows = []
    for row in rows_of(strongest_of(pairs_at(found, tau), LISTED)):
        told_row = {name: row[name] for name in ("x", "y", "group_x", "group_y") if name in row}
        for name in ("sts", "rtr", "excess_sts"):
            if name in row:
                told_row[name] = number(float(row[name]), 4, signed=True)
        if "null_sts_q" in row:
            told_row["q"] = p_value(float(row["null_sts_q"]))
        rows.append(told_row)
    return rows


def _nodes(found: Decomposition, tau: int) -> list[dict[str, Any]]:
    """The nodes that come first by mean difference, in words."""
    arrays = found.at(tau)
    score = arrays[f"node_{RANKINGS[0]}"]
    order = [int(k) for k in np.argsort(-score, kind="stable") if np.isfinite(score[k])]
    rows = []
    for k in order[:LISTED]:
        row = {"node": found.node_names[k], "group": (found.groups or {k: ""})[k]}
        for name in ("synergy", "redundancy", *RANKINGS, "persistence", "excess"):
            values = arrays.get(f"node_{name}")
            decimals = 1 if name == RANKINGS[1] else 4
            signed = name not in (RANKINGS[2], "persistence")
            if values is not None:
                row[name] = number(float(values[k]), decimals, signed=signed)
        rows.append(row)
    return rows


def _groups(found: Decomposition, tau: int) -> list[dict[str, str]]:
    """What the nodes of each group have on average, in words."""
    excess = {g["group"]: g["excess"] for g in found.facts(tau, EXCESS).get("groups", ())}
    rows = []
    for group in found.facts(tau)["groups"]:
        row = {"group": group["group"] or "no group", "nodes": str(group["nodes"])}
        for name in ("synergy", "redundancy", RANKINGS[0], "persistence"):
            row[name] = told(group[name])
        if group["group"] in excess:
            row["excess"] = told(excess[group["group"]])
        rows.append(row)
    return rows
