"""The data of a page to explore: what `Explored` holds, as JSON and text that its scripts read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from synkern.analysis.scores import shares
from synkern.study.explorer.blocks import Blocks, blocks_for
from synkern.study.explorer.explored import (
    DIFFERENCE,
    Chart,
    Explored,
    Line,
    NodeValues,
    PairValues,
)
from synkern.study.explorer.packing import Triangle, packed, packed_triangle


def payload_of(
    explored: Explored, blocks: Blocks | None = None
) -> tuple[dict[str, Any], dict[str, Triangle]]:
    """Return the data of a page.

    Args:
        explored: what the page shows.
        blocks: in which nodes are taken together in matrices; None: pair by pair.

    Returns:
        JSON, in which numbers are packed (`synkern.study.explorer.packing`), and the matrices by
        the names that it has for them.
    """
    triangles: dict[str, Triangle] = {}
    pairs = []
    for place, pair in enumerate(explored.pairs):
        texts = {}
        # Of blocks the page has means alone, and a mean of shares is not the share of means.
        own = pair if blocks is None or not pair.rule else _by_pair(explored, pair)
        for condition, values in own.values.items():
            name = f"matrix-{place}-{explored.conditions.index(condition)}"
            triangles[name] = packed_triangle(values if blocks is None else blocks.mean(values))
            texts[condition] = name
        pairs.append(
            {
                "name": pair.name,
                "unit": pair.unit,
                "diverging": pair.diverging,
                "rule": own.rule,
                "of": [_place_of(explored, name) for name in own.of if name],
                "values": texts,
            }
        )
    data = {
        "title": explored.title,
        "node": explored.node,
        "nodes": explored.nodes,
        "group": explored.group,
        "groups": explored.groups,
        "labels": list(explored.labels),
        "group_names": list(explored.group_names),
        "group_of": packed(explored.group_of),
        "conditions": list(explored.conditions),
        "views": [
            {
                "name": view.name,
                "x": packed(np.asarray(view.x, np.float64)),
                "y": packed(np.asarray(view.y, np.float64)),
                "x_label": view.x_label,
                "y_label": view.y_label,
                "cells": view.cells,
                "named": view.named,
                "equal": view.equal,
                "y_names": [[float(at), name] for at, name in view.y_names.items()],
            }
            for view in explored.views
        ],
        "rankings": [_of_nodes(one) for one in explored.rankings],
        "values": [_of_nodes(one) for one in explored.values],
        "pairs": pairs,
        "block_of": None if blocks is None else packed(blocks.of),
        "profiles": [_of_chart(chart) for chart in explored.profiles],
        "charts": [_of_chart(chart) for chart in explored.charts],
    }
    return data, triangles


def blocks_of(explored: Explored) -> Blocks | None:
    """Return the blocks that the matrices of a page need; None where pairs can be shown singly."""
    matrices = sum(len(pair.values) for pair in explored.pairs)
    return blocks_for(explored.group_of, matrices) if matrices else None


def _by_pair(explored: Explored, pair: PairValues) -> PairValues:
    """Compute what a rule gives pair by pair, for every condition that both have."""
    first, second = (explored.pairs[_place_of(explored, name)].values for name in pair.of)
    values = {}
    for condition in explored.conditions:
        if condition in first and condition in second:
            a, b = (np.asarray(each[condition], np.float64) for each in (first, second))
            values[condition] = a - b if pair.rule == DIFFERENCE else shares(a, b)
    return replace(pair, values=values, rule="", of=("", ""))


def _place_of(explored: Explored, name: str) -> int:
    return [pair.name for pair in explored.pairs].index(name)


def _of_nodes(one: NodeValues) -> dict[str, Any]:
    values = {name: packed(np.asarray(each, np.float64)) for name, each in one.values.items()}
    return {"name": one.name, "unit": one.unit, "diverging": one.diverging, "values": values}


def _of_chart(chart: Chart) -> dict[str, Any]:
    return {
        "name": chart.name,
        "x_label": chart.x_label,
        "y_label": chart.y_label,
        "note": chart.note,
        "ranking": chart.ranking,
        "groups": _optional(chart.groups),
        "lines": [_of_line(line) for line in chart.lines],
    }


def _of_line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "style": line.style,
        "condition": line.condition,
        "published": line.published,
        "source": line.source,
        **{name: _optional(getattr(line, name)) for name in ("x", "y", "lower", "upper")},
    }


def _optional(values: Sequence[float] | Any) -> dict[str, Any] | None:
    return None if values is None else packed(np.asarray(values, np.float64))
