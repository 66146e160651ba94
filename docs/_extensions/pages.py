"""Pages that come from elsewhere in the repository.

A page that holds nothing but a heading and one link to a Markdown file outside this folder stands
for that file: on the site it is that file, with its links made to work from here, and links to that
file from other pages lead to it. In the repository it is a link.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
STANDS_FOR = re.compile(r"# [^\n]+\n\n\[[^\]\n]+\]\(((?:\.\./)+[\w./-]+\.md)\)\n")
LINK = re.compile(r"(\]\()([\w./-]+)((?:#[\w-]+)?\))")


def standing() -> dict[Path, Path]:
    """By file outside, the page that stands for it."""
    found = {}
    for page in sorted(DOCS.glob("*.md")):
        if match := STANDS_FOR.fullmatch(page.read_text("utf-8")):
            found[(page.parent / match[1]).resolve()] = page
    return found


def relinked(text: str, of: Path, page: Path, pages: dict[Path, Path]) -> str:
    """A text whose links are as from another place.

    Args:
        text: Markdown.
        of: the file that it was written for.
        page: the page that it is to stand in.
        pages: see `standing`.
    """

    def replaced(match: re.Match[str]) -> str:
        target = (of.parent / match[2]).resolve()
        target = pages.get(target, target)
        return f"{match[1]}{os.path.relpath(target, page.parent)}{match[3]}"

    return LINK.sub(replaced, text)


def _on_read(app: Sphinx, docname: str, source: list[str]) -> None:
    pages = standing()
    page = Path(app.env.doc2path(docname))
    for file, stand in pages.items():
        if stand == page:
            app.env.note_dependency(str(file), docname=docname)
            head = source[0].partition("\n")[0]
            text = file.read_text("utf-8")
            titled = text if re.search(r"^# ", text, re.MULTILINE) else f"{head}\n\n{text}"
            source[0] = relinked(titled, file, page, pages)
            return
    if page.suffix == ".md":
        source[0] = relinked(source[0], page, page, pages)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register what this module has."""
    app.connect("source-read", _on_read)
    return {"version": "1", "parallel_read_safe": True}
