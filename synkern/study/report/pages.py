"""What all pages have in common: one HTML file that carries its figures along."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

from synkern.study.folder import StudyFolder
from synkern.study.report.drawing import STYLE

_OWN = "synkern.study.report"


def rendered(package: str, template: str, /, **words: Any) -> str:
    """Return a page.

    Args:
        package: that has the template in its folder `templates`; those of the report are found,
            too.
        template: its name.
        words: what it may use, by name; to use another one is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in (package, _OWN)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(words)


def write_figure(folder: StudyFolder, file: str, figure: Figure) -> str:
    """Write a figure as a PNG file, and return it as a page carries it, in base64."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):  # ticks and their labels come about here
        figure.savefig(buffer, format="png")
    folder.write(file, buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_numbers(folder: StudyFolder, file: str, numbers: Mapping[str, Any]) -> None:
    """Write numbers as JSON, which has none that is infinite or missing."""
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    folder.write(file, f"{text}\n")
