"""What a decomposition of data shows on its page to explore: lags are its conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.scores import RANKINGS
from synkern.study.explorer import Chart, Explored, Line, NodeValues, PairValues, View
from synkern.study.explorer.explored import DIFFERENCE, SHARE
from synkern.study.numerals import significant
from synkern.study.of_data.decomposing import MAIN, pooled_said
from synkern.study.of_data.findings import PREPARED, called_units, name_of
from synkern.study.of_data.folder import PAGE
from synkern.study.of_data.options import EXCESS, NULL
from synkern.study.of_data.result import Decomposition
from synkern.study.settings import NONE

SYNERGY, REDUNDANCY = "synergy (sts)", "redundancy (rtr)"
_BEYOND = "synergy beyond persistence"
_UNGROUPED = "no group"
_WIDEST = 40
"""Nodes that stand beside each other where they lie by group."""

_LETTERS = 75
"""Of all labels beside each other, up to which they can be read in their cells."""

_MILLIMETRES = {"mni": 1.0, "scanner": 1.0, "head": 1000.0}
_PLANES = (("from above", 0, 1), ("from the right", 1, 2), ("from behind", 0, 2))
_AXES = ("x, mm (to the right)", "y, mm (to the front)", "z, mm (upwards)")
_SPACES = {
    "mni": "MNI coordinates",
    "scanner": "coordinates of the scanner",
    "head": "coordinates of the head",
}


def explored_data(found: Decomposition) -> Explored:
    """Return what the page to explore of a decomposition shows.

    Args:
        found: the results, with their summary.
    """
    labels, (named, group_of) = _distinct(found.node_names), _grouped(found)
    grouped = len(named) > 1
    several = len(found.lags) > 1
    about = _about(found)
    return Explored(
        title=name_of(found),
        subtitle=f"{about['estimator']}; {about['trials']}.",
        findings=found.description["summary"],
        about=about,
        notes=list(_notes(found)),
        node="node",
        nodes="nodes",
        group="group" if grouped else "",
        groups="groups" if grouped else "",
        labels=labels,
        group_names=named,
        group_of=group_of,
        views=[*_in_space(found), _in_order(labels, named, group_of)],
        condition="lag",
        conditions=[_lag(found, tau) for tau in found.lags],
        rankings=list(_rankings(found)),
        values=list(_values(found)),
        pairs=list(_pairs(found)),
        charts=list(_by_lag(found)) if several else [],
        charts_title="By lag",
        report=PAGE,
    )


def _lag(found: Decomposition, tau: int) -> str:
    """What a lag is called, the same wherever the page names it."""
    step = found.data["step"]
    return f"lag {tau}" + ("" if step is None else f" ({tau * step:g} s)")


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which several are alike get their number among these."""
    count, seen = Counter(names), Counter[str]()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(f"{name} ({seen[name]})" if count[name] > 1 else name)
    return labels


def _grouped(found: Decomposition) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the groups in the order of the nodes, and the place of each node's among them."""
    groups = found.groups or ("",) * len(found.node_names)
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return [group or _UNGROUPED for group in order], np.array([order[group] for group in groups])


def _about(found: Decomposition) -> dict[str, str]:
    """How the results came about, by what it is called."""
    data, parameters = found.data, found.description["parameters"]
    kind = "Gaussian" if parameters["kind"] == "gaussian" else parameters["kind"]
    low, high = data["samples"]
    samples = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    trials = f"{data['trials']:,} trial{'' if data['trials'] == 1 else 's'}"
    whose = f" of {data['subjects']:,} subjects" if data["subjects"] else ""
    facts, null = found.facts(found.lags[0]), found.description["null"]
    about = {
        "data": ", ".join(data["sources"]) or name_of(found),
        "nodes": f"{data['nodes']:,}, {data['pairs']:,} pairs",
        "estimator": f"{kind}, {parameters['redundancy']} redundancy, in {found.unit}",
        "lags": ", ".join(_lag(found, tau).removeprefix("lag ") for tau in found.lags)
        + ("" if data["step"] is not None else " samples"),
        "trials": f"{trials}{whose} of {samples} valid samples",
        "combined": pooled_said(parameters["average"]),
        "preparation": PREPARED.get(parameters["detrend"], "none"),
        "rankings": "mean difference: mean of sts − rtr over a node's pairs; rank difference: rank "
        "of mean synergy less rank of mean redundancy; balance: mean of sts / (sts + rtr)",
        "persistence": "a node's own correlation over the lag",
    }
    if data["space"] is not None:
        about["places"] = _SPACES[data["space"]]
    if null["name"] != NONE:
        draws = found.facts(found.lags[0], NULL)["draws"]
        about["null"] = f"{null['name']}, {draws:,} surrogates: {null['why']}"
    if facts["drawn"]:
        about["intervals"] = (
            f"95 % of {parameters['bootstrap']:,} bootstrap draws of the {called_units(found)}"
        )
    return about | {"software": f"synkern {found.description['environment']['synkern']}"}


def _notes(found: Decomposition) -> Iterator[str]:
    absent, null = found.description["excess_absent"], found.description["null"]
    if absent is not None:
        yield f"No {_BEYOND}: {absent}."
    unrelated = {tau: found.facts(tau, EXCESS).get("unrelated") for tau in found.lags}
    told = [
        f"{significant(value)} {found.unit} at {_lag(found, tau)}"
        for tau, value in unrelated.items()
        if value is not None
    ]
    if told:
        yield (
            f"Where there is nothing, {_BEYOND} is not zero but that of unrelated nodes, "
            f"{', '.join(told)}: compare with that."
        )
    if null["name"] == NONE:
        yield f"There is no null: {null['why']}."
    further = [atom for atom in found.atoms(found.lags[0]) if atom not in MAIN]
    if further:
        yield f"Further atoms are in result.npz: {', '.join(further)}."


def _in_space(found: Decomposition) -> Iterator[View]:
    """Nodes at their coordinates, seen from three sides."""
    if found.coordinates is None:
        return
    where = found.coordinates * _MILLIMETRES[found.data["space"]]
    for name, along, up in _PLANES:
        plane: Any = {"x_label": _AXES[along], "y_label": _AXES[up], "equal": True}
        yield View(name=name, x=where[:, along], y=where[:, up], **plane)


def _in_order(labels: Sequence[str], named: Sequence[str], group_of: NDArray[np.int64]) -> View:
    """Nodes as cells in rows of their group, from the left and from above in the order given."""
    square = int(np.ceil(np.sqrt(2 * len(group_of))))
    widest = square if len(named) == 1 else max(_WIDEST, square)
    columns = min(int(np.bincount(group_of).max()), widest)
    x, y = np.zeros(len(group_of)), np.zeros(len(group_of))
    y_names, begin = {}, 0
    for group, name in enumerate(named):
        own = np.flatnonzero(group_of == group)
        row, x[own] = np.divmod(np.arange(len(own)), columns)
        y[own] = -(begin + row)
        y_names[-(begin + float(row[-1]) / 2)] = name
        begin += int(row[-1]) + 1
    look: Any = {"cells": True, "named": columns * max(map(len, labels)) <= _LETTERS, "x_label": ""}
    if len(named) == 1:
        return View(name="in order", x=x, y=y, y_label="", **look)
    return View(name="by group", x=x, y=y, y_label="group", y_names=y_names, **look)


def _by_condition(found: Decomposition, array: str) -> dict[str, NDArray[Any]]:
    """The arrays of one name, by what their lag is called; without those that there are not."""
    by_lag = {tau: found.at(tau).get(array) for tau in found.lags}
    return {_lag(found, tau): values for tau, values in by_lag.items() if values is not None}


def _rankings(found: Decomposition) -> Iterator[NodeValues]:
    units = {"rank_difference": "ranks", "balance": "share"}
    for ranking in RANKINGS:
        values = _by_condition(found, f"node_{ranking}")
        yield NodeValues(
            name=ranking.replace("_", " "),
            unit=units.get(ranking, found.unit),
            values=values,
            # Of one sign, numbers would leave half of the colours to none.
            diverging=any((of_lag < 0).any() for of_lag in values.values()),
        )


def _values(found: Decomposition) -> Iterator[NodeValues]:
    shown = (
        (f"mean {SYNERGY}", found.unit, "synergy", False),
        (f"mean {REDUNDANCY}", found.unit, "redundancy", False),
        (f"mean {_BEYOND}", found.unit, "excess", True),
        ("persistence", "correlation", "persistence", False),
    )
    for name, unit, array, diverging in shown:
        values = _by_condition(found, f"node_{array}")
        if values:
            yield NodeValues(name=name, unit=unit, values=values, diverging=diverging)


def _pairs(found: Decomposition) -> Iterator[PairValues]:
    unit: str = found.unit
    yield PairValues(name=SYNERGY, unit=unit, values=_by_condition(found, "sts"))
    yield PairValues(name=REDUNDANCY, unit=unit, values=_by_condition(found, "rtr"))
    both: Any = {"of": (SYNERGY, REDUNDANCY)}
    yield PairValues(name="sts − rtr", unit=unit, rule=DIFFERENCE, diverging=True, **both)
    yield PairValues(name="balance, sts / (sts + rtr)", unit="share", rule=SHARE, **both)
    null = found.description["null"]["name"]
    signed = (
        (_BEYOND, unit, "excess_sts"),
        (f"{SYNERGY}, against null {null}", "z", "null_sts_z"),
        (f"{REDUNDANCY}, against null {null}", "z", "null_rtr_z"),
    )
    for name, of, array in signed:
        values = _by_condition(found, array)
        if values:
            yield PairValues(name=name, unit=of, values=values, diverging=True)


def _by_lag(found: Decomposition) -> Iterator[Chart]:
    """Means over nodes at each lag, with their intervals where there are any."""
    lags = sorted(found.lags)

    def line(name: str, told: Callable[[int], Mapping[str, Any]], **looks: Any) -> Line:
        means = [told(tau) for tau in lags]
        ends = [mean["interval"] or (None, None) for mean in means]
        band = all(None not in end for end in ends)
        return Line(
            name=name,
            x=np.array(lags, np.float64),
            y=_numbers([mean["value"] for mean in means]),
            lower=_numbers([low for low, _ in ends]) if band else None,
            upper=_numbers([high for _, high in ends]) if band else None,
            **looks,
        )

    axes: Any = {"x_label": "lag, samples", "y_label": f"{found.unit}, mean"}
    yield Chart(
        name="synergy and redundancy",
        lines=[
            line(name, lambda tau, name=name: found.facts(tau)["means"][name])  # type: ignore[misc]
            for name in ("synergy", "redundancy")
        ],
        **axes,
    )
    if all(found.facts(tau, EXCESS) for tau in lags):
        of_nodes = line(_BEYOND, lambda tau: found.facts(tau, EXCESS)["mean"])
        unrelated = [found.facts(tau, EXCESS)["unrelated"] for tau in lags]
        name, x = "if unrelated", np.array(lags, np.float64)
        absent = Line(name=name, x=x, y=_numbers(unrelated), style="dotted")
        known = any(value is not None for value in unrelated)
        yield Chart(name=_BEYOND, lines=[of_nodes, *([absent] if known else [])], **axes)


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
