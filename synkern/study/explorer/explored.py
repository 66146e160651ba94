"""What a page to explore shows: one plain contract, which any study fills, of a model or of data.

Nodes have a label, a group and a place on a plane; scores by ranking, other values, matrices of all
pairs, profiles and curves stand beside. Nothing here knows models, layers or brains: of a language
model the groups are its layers, and nodes lie by layer and index; of brain data they are networks,
or hemispheres, and nodes lie where their coordinates are. `synkern.study.explorer.of_study` fills
it from the results of a study, `synkern.study.of_data.exploring` from those of data, in one file
each; whatever else has results of nodes and pairs does the same, and gives it to
`synkern.study.explorer.explorer_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIFFERENCE, SHARE = "difference", "share"
"""What a page can compute of matrices a and b: a - b, and a / (a + b) where that sum is above
`LEAST_SUM`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One way in which the nodes lie on a plane.

    Attributes:
        name: what a switch between several views calls it, such as "from above".
        x, y: (nodes,) where each node lies; NaN: nowhere.
        x_label, y_label: what the axes are, with their unit; "": the axis says nothing, and is not
            shown.
        cells: whether nodes are cells of a grid, each at whole numbers of its own, and not dots.
        named: whether labels stand in the cells, which have to be wide enough.
        equal: whether a unit is as long on one axis as on the other, as of places in space.
        y_names: by where it stands on the axis of y, what is written there in the place of
            numbers; empty: numbers are.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    x_label: str
    y_label: str
    cells: bool = False
    named: bool = False
    equal: bool = False
    y_names: Mapping[float, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeValues:
    """One number for every node, such as its score by a ranking, or how often it was routed.

    Attributes:
        name: for readers.
        unit: of the numbers; "" where they have none.
        values: (nodes,) by condition; NaN where a node has none. A condition may be left out.
        diverging: whether 0 is a middle from which numbers go both ways, for the colours.
    """

    name: str
    unit: str
    values: Mapping[str, NDArray[Any]]
    diverging: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class PairValues:
    """One number for every pair of nodes; or the rule by which the page has it from two others.

    Attributes:
        name: for readers.
        unit: of the numbers; "" where they have none.
        values: (nodes, nodes) by condition, symmetric, NaN where a pair has none, as on the
            diagonal. A condition may be left out. The page has them as float32.
        diverging: whether 0 is a middle from which numbers go both ways, for the colours.
        rule: `DIFFERENCE` or `SHARE` of the two in `of`, which the page computes; "" where `values`
            are given.
        of: the names of the two that the rule takes.
    """

    name: str
    unit: str
    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    diverging: bool = False
    rule: str = ""
    of: tuple[str, str] = ("", "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """One line of a chart, with a band where there is one.

    Attributes:
        name: for its legend.
        x, y: (points,); NaN breaks the line.
        lower, upper: (points,), ends of the band; None without one.
        style: "solid", "dashed", "dotted", or "dots" for points that no line joins.
        condition: whose it is, of the conditions; "" of none: it is never faint.
        published: whether it is somebody's published numbers, which can be hidden.
        source: where those are from.
    """

    name: str
    x: NDArray[Any]
    y: NDArray[Any]
    lower: NDArray[Any] | None = None
    upper: NDArray[Any] | None = None
    style: str = "solid"
    condition: str = ""
    published: bool = False
    source: str = ""

    @classmethod
    def of_draws(cls, name: str, x: NDArray[Any], draws: NDArray[Any], **others: Any) -> Line:
        """Return the mean of several draws, with the range of all of them as its band.

        Args:
            name: for its legend; where there are several draws, their number is added.
            x: (points,).
            draws: (draws, points).
            others: further attributes.
        """
        if len(draws) == 1:
            return cls(name=name, x=x, y=draws[0], **others)
        ends = {"lower": draws.min(0), "upper": draws.max(0)}
        called = f"{name} ({len(draws)} draws)"
        return cls(name=called, x=x, y=draws.mean(0), **ends, **others)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chart:
    """Some lines on common axes.

    Attributes:
        name: what a choice among charts calls it.
        x_label, y_label: what the axes are, with their units.
        lines: in the order of their legend. Lines of one colour follow each other with the same
            name before " · ", such as "trained weights" and "trained weights · parabola".
        note: what is to be known of it; "" if nothing.
        ranking: the name of the ranking whose profile it is; "" of none.
        groups: (groups,) by `Explored.group_names`, where each group lies on the axis of x, so that
            the page can mark that of the chosen node; None where groups have no place there.
    """

    name: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    note: str = ""
    ranking: str = ""
    groups: NDArray[Any] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Explored:
    """All that a page to explore shows.

    Attributes:
        title: what the page is about, such as the name of a model.
        subtitle: estimator, kind of nodes, lag and what else a reader has to know of every number,
            in a line.
        findings: sentences on what was found, the most important first.
        about: how it came about, by what it is called: estimator, ranking, kind of nodes, lag,
            numbers of trials and samples, software.
        notes: what is to be known of what is shown, such as what was left out.
        node, nodes: "head" and "heads".
        group, groups: "layer" and "layers"; both "" where nodes are in no groups, and then there is
            one name of a group, which is not shown.
        labels: (nodes,), all different.
        group_names: of the groups, in their order.
        group_of: (nodes,) int, the place of each node's group in `group_names`.
        views: ways in which nodes lie on a plane, at least one.
        condition: what a condition is, such as "weights" or "lag".
        conditions: what was studied beside each other, such as "trained weights" and "random
            weights"; at least one, the first is shown first. Everything else names its condition
            so.
        rankings: scores of the nodes; at least one, the first is shown first.
        values: other numbers of nodes, such as mean synergy and redundancy.
        pairs: numbers of pairs; none where pairs were not kept.
        profiles: charts over the groups, those of rankings first; none where groups have no order.
        charts: other charts, such as what interventions did.
        charts_title: what stands above these.
        report: the file beside the page that holds the report of the same; "" if none.

    Raises:
        ValueError: something does not fit; the message names it.
    """

    title: str
    subtitle: str
    findings: Sequence[str] = ()
    about: Mapping[str, str]
    notes: Sequence[str] = ()
    node: str
    nodes: str
    group: str
    groups: str
    labels: Sequence[str]
    group_names: Sequence[str]
    group_of: NDArray[Any]
    views: Sequence[View]
    condition: str
    conditions: Sequence[str]
    rankings: Sequence[NodeValues]
    values: Sequence[NodeValues] = ()
    pairs: Sequence[PairValues] = ()
    profiles: Sequence[Chart] = ()
    charts: Sequence[Chart] = ()
    charts_title: str = "What experiments on it did"
    report: str = ""

    def __post_init__(self) -> None:
        """Find what does not fit before a reader's browser does."""
        n = len(self.labels)
        for name in ("labels", "views", "conditions", "rankings", "group_names"):
            if not len(getattr(self, name)):
                raise ValueError(f"{name} is empty; give at least one")
        if len({*self.labels}) < n:
            raise ValueError(
                f"labels: {n} nodes have {len({*self.labels})} labels; each needs its own"
            )
        for name in ("rankings", "values", "pairs", "views"):
            _check_names(name, [one.name for one in getattr(self, name)])
        _check_names("profiles and charts", [one.name for one in (*self.profiles, *self.charts)])
        _check_shape("group_of", self.group_of, (n,))
        if not ((self.group_of >= 0) & (self.group_of < len(self.group_names))).all():
            raise ValueError(
                f"group_of goes from {self.group_of.min()} to {self.group_of.max()} for "
                f"{len(self.group_names)} group_names; give places among these, from 0"
            )
        if not self.group and len(self.group_names) > 1:
            raise ValueError(
                f"group is '' but there are {len(self.group_names)} group_names; say what "
                "a group is"
            )
        for view in self.views:
            _check_shape(f"x of view {view.name!r}", view.x, (n,))
            _check_shape(f"y of view {view.name!r}", view.y, (n,))
        for kind, shape in (("rankings", (n,)), ("values", (n,)), ("pairs", (n, n))):
            for one in getattr(self, kind):
                for condition, values in one.values.items():
                    self._check_condition(f"{kind} {one.name!r}", condition)
                    _check_shape(f"{kind} {one.name!r} of {condition!r}", values, shape)
        for pair in self.pairs:
            self._check_rule(pair)
        for chart in (*self.profiles, *self.charts):
            self._check_chart(chart)

    def _check_condition(self, what: str, condition: str) -> None:
        if condition not in self.conditions:
            raise ValueError(
                f"{what}: {condition!r} is none of the conditions {', '.join(self.conditions)}"
            )

    def _check_rule(self, pair: PairValues) -> None:
        if pair.rule not in ("", DIFFERENCE, SHARE):
            raise ValueError(
                f"pairs {pair.name!r}: rule = {pair.rule!r}; give {DIFFERENCE!r}, {SHARE!r}, or "
                "values"
            )
        given = [one.name for one in self.pairs if not one.rule]
        if pair.rule and not {*pair.of} <= {*given}:
            raise ValueError(
                f"pairs {pair.name!r}: of = {pair.of!r}; name two that have values: "
                f"{', '.join(given) or 'there are none'}"
            )

    def _check_chart(self, chart: Chart) -> None:
        if chart.ranking and chart.ranking not in [one.name for one in self.rankings]:
            raise ValueError(f"chart {chart.name!r}: there is no ranking {chart.ranking!r}")
        if chart.groups is not None:
            _check_shape(f"groups of chart {chart.name!r}", chart.groups, (len(self.group_names),))
        for line in chart.lines:
            what = f"line {line.name!r} of chart {chart.name!r}"
            if line.condition:
                self._check_condition(what, line.condition)
            for name in ("x", "y", "lower", "upper"):
                values = getattr(line, name)
                if values is not None:
                    _check_shape(f"{name} of {what}", values, (len(line.x),))


def _check_names(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{what}: {twice[0]!r} is there twice; give each a name of its own")


def _check_shape(what: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if np.shape(values) != shape:
        raise ValueError(f"{what} has shape {np.shape(values)}; give {shape}")
