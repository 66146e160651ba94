"""The plots and controls of a page to explore, as models of Bokeh, empty: the page fills them.

All numbers come from the data of the page (`synkern.study.explorer.payload`), which its scripts
(`page/*.js`) put into the sources named here. What a control does is one call of these scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bokeh import models as bk
from bokeh.events import Tap
from bokeh.models.annotations import ColorBar, Span
from bokeh.models.ui import UIElement
from bokeh.models.widgets import AutocompleteInput, RadioButtonGroup, Select
from bokeh.palettes import Cividis256
from bokeh.plotting import figure

from synkern.study.explorer.explored import Explored

_FOLDER = Path(__file__).with_name("page")
_THEMES = ("as the system", "light", "dark")
_MOST_PARTNERS = 15


def controls_of(explored: Explored) -> dict[str, UIElement]:
    """Return the controls by the name of what they decide; each is there only where it decides."""
    one = explored
    names = [ranking.name for ranking in one.rankings]
    found: dict[str, UIElement] = {
        "ranking": _buttons("ranking", "Ranking", names),
        "theme": _buttons("theme", "Colours of the page", list(_THEMES)),
        "colour": _select(
            "colour", "Colour shows", ["score by the ranking", *(v.name for v in one.values)]
        ),
        "find": _find(one),
    }
    if len(one.conditions) > 1:
        found["condition"] = _buttons("condition", one.condition.capitalize(), list(one.conditions))
    if len(one.views) > 1:
        found["view"] = _select("view", "View", [view.name for view in one.views])
    if one.pairs:
        found["pairs"] = _select("pairs", "Pairs show", [pair.name for pair in one.pairs])
        orders = [f"by {one.group}" if one.group else "as given", "by rank"]
        found["order"] = _buttons("order", "Order of the matrix", orders)
    if one.profiles:
        found["profile"] = _select("profile", "Profile", [chart.name for chart in one.profiles])
    if one.charts:
        found["chart"] = _select("chart", "Chart shows", [chart.name for chart in one.charts])
    if any(line.published for chart in (*one.profiles, *one.charts) for line in chart.lines):
        found["published"] = _buttons("published", "Published numbers", ["hidden", "shown"], 1)
    return found


def plots_of(explored: Explored) -> dict[str, Any]:
    """Return the plots by name: `map`, and `matrix`, `partners`, `profile`, `chart` where used."""
    found = {"map": _map(explored)}
    if explored.pairs:
        found |= {"matrix": _matrix(explored), "partners": _partners(explored)}
    if explored.profiles:
        found["profile"] = _lines("profile", f"Profile over the {explored.groups}")
    if explored.charts:
        found["chart"] = _lines("chart", explored.charts_title)
    return found


def _call(what: str, value: str) -> bk.CustomJS:
    return bk.CustomJS(code=f"explorer.set({what!r}, {value})")


def _widget(title: str, role: str = "group") -> dict[str, Any]:
    """What all controls have in common."""
    return {
        "stylesheets": [bk.InlineStyleSheet(css=(_FOLDER / "widgets.css").read_text("utf-8"))],
        "html_attributes": {"aria-label": title, "role": role},
    }


def _buttons(name: str, title: str, labels: list[str], active: int = 0) -> RadioButtonGroup:
    group = RadioButtonGroup(name=f"{name}-control", labels=labels, active=active, **_widget(title))
    group.js_on_change("active", _call(name, "cb_obj.active"))
    return group


def _select(name: str, title: str, options: list[str]) -> Select:
    numbered: list[str | tuple[Any, str]] = [(str(k), label) for k, label in enumerate(options)]
    select = Select(
        name=f"{name}-control",
        title=title,
        value="0",
        options=numbered,
        sizing_mode="stretch_width",
        **_widget(title),
    )
    select.js_on_change("value", _call(name, "Number(cb_obj.value)"))
    return select


def _find(explored: Explored) -> AutocompleteInput:
    find = AutocompleteInput(
        name="find-control",
        title=f"Find a {explored.node}",
        completions=list(explored.labels),
        placeholder=str(explored.labels[0]),
        case_sensitive=False,
        restrict=False,
        max_completions=12,
        width=150,
        **_widget(f"Find a {explored.node}"),
    )
    find.js_on_change("value", bk.CustomJS(code="explorer.find(cb_obj.value)"))
    return find


def _figure(name: str, label: str, height: int, tools: str = "", **options: Any) -> Any:
    plot = figure(
        name=name,
        height=height,
        sizing_mode="stretch_width",
        tools=tools or "pan,box_zoom,wheel_zoom,reset,save",
        toolbar_location="above",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_alpha=0,
        html_attributes={"role": "img", "aria-label": label},
        **options,
    )
    plot.toolbar.logo = None
    for tool in plot.tools:
        if isinstance(tool, bk.WheelZoomTool):
            # Where a page is scrolled past a plot it would zoom at every turn of the wheel.
            tool.modifiers = {"ctrl": True}
            plot.toolbar.active_scroll = tool
    plot.grid.grid_line_alpha = 0.25
    return plot


def _source(called: str, **columns: Any) -> bk.ColumnDataSource:
    return bk.ColumnDataSource(name=called, data=columns)


def _bar(name: str) -> tuple[bk.LinearColorMapper, ColorBar]:
    mapper = bk.LinearColorMapper(name=f"{name}-colours", palette=Cividis256, low=0, high=1)
    mapper.nan_color = "#8884"
    bar = ColorBar(
        name=f"{name}-bar", color_mapper=mapper, background_fill_alpha=0, width=12, padding=4
    )
    return mapper, bar


def _map(explored: Explored) -> Any:
    label = f"Map of the {explored.nodes}; arrow keys move the chosen one"
    plot = _figure("map", label, 430, x_range=bk.Range1d(), y_range=bk.Range1d())
    mapper, bar = _bar("map")
    said = [ranking.name for ranking in explored.rankings] + [v.name for v in explored.values]
    source = _source(
        "nodes", x=[], y=[], shown=[], label=[], group=[], **{f"v{i}": [] for i in range(len(said))}
    )
    fill: dict[str, Any] = {"field": "shown", "transform": mapper}
    look: dict[str, Any] = {"source": source, "fill_color": fill, "nonselection_fill_alpha": 1.0}
    cells = plot.rect("x", "y", 0.94, 0.94, line_color=None, name="cells", **look)
    dots = plot.scatter("x", "y", size=11, line_color="#8888", name="dots", **look)
    # Light letters on something dark, which any colour of a cell leaves readable.
    written: dict[str, Any] = {"text_align": "center", "text_baseline": "middle", "padding": 2}
    written |= {"text_color": "white", "text_font_size": "11px"}
    written |= {"background_fill_color": "#1e2329", "background_fill_alpha": 0.65}
    plot.text("x", "y", text="label", name="names", source=source, **written)
    rings: dict[str, Mapping[str, Any]] = {
        "partner": {"line_width": 1.4, "line_dash": "dotted"},
        "chosen": {"line_width": 3.0},
    }
    for name, line in rings.items():
        ring = _source(name, x=[], y=[])
        style = {**line, "line_color": "black", "fill_color": None, "source": ring}
        plot.rect("x", "y", 1, 1, name=f"{name}-cells", **style)
        plot.scatter("x", "y", size=17, name=f"{name}-dots", **style)
    rows = [(explored.node, "@label")]
    rows += [(explored.group, "@group")] if explored.group else []
    rows += [(name, f"@v{place}") for place, name in enumerate(said)]
    plot.add_tools(bk.HoverTool(renderers=[cells, dots], tooltips=rows, name="map-hover"))
    plot.js_on_event(Tap, bk.CustomJS(code="explorer.tapMap(cb_obj.x, cb_obj.y)"))
    plot.add_layout(bar, "right")
    plot.grid.grid_line_color = None
    return plot


def _matrix(explored: Explored) -> Any:
    label = f"Matrix of all pairs of {explored.nodes}"
    ranges: dict[str, Any] = {"x_range": bk.Range1d(), "y_range": bk.Range1d()}
    plot = _figure("matrix", label, 560, aspect_ratio=1.15, **ranges)
    mapper, bar = _bar("matrix")
    # The page makes larger ones of the same class.
    first = np.zeros((1, 1), np.float32)
    source = _source("matrix-image", image=[first], x=[0], y=[0], dw=[1], dh=[1])
    image = plot.image("image", "x", "y", "dw", "dh", color_mapper=mapper, source=source)
    plot.segment(
        "x0",
        "y0",
        "x1",
        "y1",
        source=_source("matrix-borders", x0=[], y0=[], x1=[], y1=[]),
        line_color="#888888",
        line_width=0.5,
        line_alpha=0.6,
    )
    cross = _source("matrix-chosen", x=[], y=[], width=[], height=[])
    plot.rect(
        *("x", "y", "width", "height"),
        source=cross,
        fill_color=None,
        line_color="#D55E00",
        line_width=2,
    )
    said = bk.CustomJSHover(code="return explorer.pairSaid(special_vars, format)")
    plot.add_tools(
        bk.HoverTool(
            renderers=[image],
            tooltips=[("pair", "$x{pair}"), ("value", "$x{value}")],
            formatters={"$x": said},
            point_policy="follow_mouse",
            name="matrix-hover",
        )
    )
    plot.js_on_event(Tap, bk.CustomJS(code="explorer.tapMatrix(cb_obj.x, cb_obj.y)"))
    plot.add_layout(bar, "right")
    for axis in plot.axis:
        axis.ticker = bk.FixedTicker(ticks=[], minor_ticks=[])
        axis.axis_label = explored.node
    plot.grid.visible = False
    return plot


def _partners(explored: Explored) -> Any:
    label = f"The strongest pairs of the chosen {explored.node}"
    ranges: dict[str, Any] = {"x_range": bk.Range1d(), "y_range": bk.FactorRange()}
    plot = _figure("partners", label, 400, tools="save", **ranges)
    source = _source("partner-values", label=[], value=[], said=[])
    bars = plot.hbar("label", right="value", height=0.75, source=source, fill_color="#0072B2")
    bars.glyph.line_color = None
    bars.name = "bars"
    rows = [(explored.node, "@label"), ("value", "@said")]
    plot.add_tools(bk.HoverTool(renderers=[bars], tooltips=rows))
    plot.js_on_event(Tap, bk.CustomJS(code="explorer.tapPartner(cb_obj.y)"))
    plot.grid.grid_line_color = None
    return plot


def _lines(name: str, label: str) -> Any:
    plot = _figure(name, label, 400, x_range=bk.Range1d(), y_range=bk.Range1d())
    bands = _source(f"{name}-bands", xs=[], ys=[], colour=[], alpha=[])
    plot.patches("xs", "ys", fill_color="colour", fill_alpha="alpha", line_color=None, source=bands)
    lines = _source(f"{name}-lines", xs=[], ys=[], colour=[], alpha=[], dash=[], width=[], name=[])
    plot.multi_line(
        "xs",
        "ys",
        line_color="colour",
        line_alpha="alpha",
        line_dash="dash",
        line_width="width",
        source=lines,
    )
    points = _source(
        f"{name}-points", x=[], y=[], colour=[], alpha=[], marker=[], name=[], at=[], said=[]
    )
    dots = plot.scatter(
        "x",
        "y",
        size=7,
        marker="marker",
        fill_color="colour",
        line_color="colour",
        fill_alpha="alpha",
        line_alpha="alpha",
        source=points,
    )
    rows = [("", "@name"), ("at", "@at"), ("value", "@said")]
    plot.add_tools(bk.HoverTool(renderers=[dots], tooltips=rows))
    plot.add_layout(Span(name=f"{name}-group", dimension="height", location=0, visible=False))
    return plot
