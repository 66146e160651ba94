"""No link of the site leads to nothing: the build fails where a file or a place in it is missing.

Links to other sites are not followed, as nothing asks the network; only their form is looked at.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}
MADE = ("genindex.html", "py-modindex.html", "search.html")
"""What scripts of the theme fill, or Sphinx lists by itself."""


class Page(HTMLParser):
    """Links of a page, and the places in it that links can name."""

    def __init__(self, text: str) -> None:
        """Read it."""
        super().__init__()
        self.links: set[str] = set()
        self.places: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, and its name."""
        given = dict(attrs)
        self.places |= {name for key in ("id", "name") if (name := given.get(key))}
        if link := given.get(LINKS.get(tag, "")):
            self.links.add(link)


def dead(folder: Path) -> list[str]:
    """Links of the pages below a folder that lead nowhere, each with its page."""
    folder = folder.resolve()
    pages = {path: Page(path.read_text("utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in sorted(page.links):
            if path.name not in MADE and not _leads(link, path, pages):
                found.append(f"{path.relative_to(folder)}: {link}")
    return found


def _leads(link: str, path: Path, pages: dict[Path, Page]) -> bool:
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    if parts.scheme in ("data", "mailto"):
        return True
    if parts.scheme or parts.netloc:
        return parts.scheme == "https" and "." in parts.netloc and " " not in link
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target in pages:
        return unquote(parts.fragment) in pages[target].places
    return target.is_file() and not parts.fragment


def _on_finished(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html" and (found := dead(Path(app.outdir))):
        raise ExtensionError("links lead nowhere: " + "; ".join(found[:20]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.connect("build-finished", _on_finished, priority=900)
    return {"version": "1", "parallel_read_safe": True}
