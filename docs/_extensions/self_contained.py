"""A page of the site loads nothing from elsewhere: the build fails where one would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*\brel\s*=\s*["']?(?:canonical|next|prev|search|index))[^>]*\bhref\s*=\s*["']?(?:https?:)?//[^"'\s>]+"""
    r"""|\burl\(\s*["']?(?:https?:)?//[^)]+\)|@import\s+["'](?:https?:)?//[^"']+""",
    re.IGNORECASE,
)
"""What makes a browser fetch from another place, in HTML and in style sheets; links do not."""


def fetched(folder: Path) -> list[str]:
    """What the pages and style sheets of a folder would fetch, each with its file."""
    return [
        f"{path.relative_to(folder)}: {match[0][:120]}"
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".html", ".css", ".svg")
        for match in LOADED.finditer(path.read_text("utf-8"))
    ]


def _on_finished(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html" and (found := fetched(Path(app.outdir))):
        raise ExtensionError("pages would fetch from the network: " + "; ".join(found[:10]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.connect("build-finished", _on_finished, priority=900)
    return {"version": "1", "parallel_read_safe": True}
