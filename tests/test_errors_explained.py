"""The messages that the pages under docs/errors explain are those of the source, word for word."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "errors").glob("*.md"))


def reader():
    """The reading of messages that the site uses; a part of its configuration, no package."""
    path = ROOT / "docs" / "_extensions" / "messages.py"
    spec = importlib.util.spec_from_file_location("messages_of_the_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pytest.importorskip("sphinx", reason="the pages are built with Sphinx: pip install 'synkern[docs]'")
SITE = reader()
IN_SOURCE = [message.text for part in ("synkern", "kernels") for message in SITE.of_part(part)]


def explained(page: Path) -> list[str]:
    """Messages that a page explains: terms of its definition lists, but those of a whole class."""
    text = page.read_text("utf-8")
    return re.findall(r"^`([^`\n]+)`\n: ", text, re.MULTILINE)


def of_source(text: str, known: list[str]) -> bool:
    """Whether a message begins, continues or ends as on the page, gaps standing for anything."""
    parts = [re.escape(part) for part in re.split(rf"{SITE.GAP}+", text)]
    pattern = re.compile(".*".join(parts))
    return any(pattern.search(message) for message in known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_explained_is_said(page):
    assert [text for text in explained(page) if not of_source(text, IN_SOURCE)] == []


def test_many_are_explained_and_a_wrong_one_is_found():
    assert sum(len(explained(page)) for page in PAGES) > 50
    assert not of_source("series must be (nodes, time); got shape …", IN_SOURCE)


def test_all_messages_are_listed_somewhere():
    """Every part of the source that raises is named in a directive of some page."""
    listed = set()
    for page in PAGES:
        for parts in re.findall(r"```\{messages\} ([^\n]+)", page.read_text("utf-8")):
            for part in parts.split():
                listed |= {(message.path, message.text) for message in SITE.of_part(part)}
    inner = ("synkern/_warnings.py", "synkern/_faces.py", "synkern/cli.py")
    missing = {
        (message.path, message.text)
        for part in ("synkern", "kernels")
        for message in SITE.of_part(part)
        if not message.path.startswith(inner)
    } - listed
    assert missing == set()
