"""`explore.html`: one file with plots, data and scripts, opened from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.palettes import Cividis256, interp_palette
from bokeh.resources import Resources

from synkern.study.explorer.explored import Explored
from synkern.study.explorer.figures import controls_of, plots_of
from synkern.study.explorer.payload import blocks_of, payload_of
from synkern.study.numerals import size

FILE = "explore.html"
"""The name of the page, beside `report.html`."""

_FOLDER = Path(__file__).with_name("page")
_SCRIPTS = ("packing", "values", "colours", "map", "pairs", "lines", "keys", "start")
"""In the order in which they are loaded: each uses what stands before."""

_COLOURS = {
    "sequential": [*Cividis256],
    # Blue to orange, the two hues that no common colour blindness confuses.
    "diverging": [
        *interp_palette(("#08306b", "#2f7fbf", "#f4f4f4", "#f08a24", "#7f2704"), 256),
    ],
}


def explorer_page(explored: Explored) -> str:
    """Return the page to explore, which needs no other file and no network.

    Matrices of more nodes than a page can carry are means over blocks of neighbouring nodes, and
    the page says so; see `synkern.study.explorer.blocks`.

    Args:
        explored: what it shows.
    """
    blocks = blocks_of(explored)
    data, triangles = payload_of(explored, blocks)
    items = {
        **{f"{name}-control": model for name, model in controls_of(explored).items()},
        **{f"{name}-plot": model for name, model in plots_of(explored).items()},
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=jinja2.select_autoescape(default=True, default_for_string=True),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = "\n".join((_FOLDER / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)
    carried = sum(len(triangle.text) for triangle in triangles.values())
    return environment.get_template("explore.html.jinja").render(
        explored=explored,
        blocks=blocks,
        items=[*items],
        bokeh=Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js(),
        style=(_FOLDER / "style.css").read_text("utf-8"),
        scripts=f'"use strict";\nconst PALETTES = {_json(_COLOURS)};\n{scripts}',
        plots=_json({name: json_item(model, ID(name)) for name, model in items.items()}),
        data=_json(data),
        triangles=triangles,
        carried=size(carried),
    )


def _json(value: Any) -> str:
    """Return JSON that no name of a node can end the script in which it stands."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")
