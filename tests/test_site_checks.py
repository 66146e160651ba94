"""What the build of the site refuses: links that lead nowhere, and pages that ask the network."""

import importlib.util
import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("sphinx", reason="the pages are built with Sphinx: pip install 'synkern[docs]'")


def extension(name):
    path = ROOT / "docs" / "_extensions" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_of_the_site", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "link",
    [
        '<a href="b.html#there">',
        '<a href="#here">',
        '<a href="https://example.org/a">',
        '<img src="drawn.png">',
        '<a href="search.html?q=atom">',
    ],
)
def test_links_that_lead_somewhere(link, tmp_path):
    assert dead_in(tmp_path, link) == []


@pytest.mark.parametrize(
    "link",
    [
        '<a href="b.html#gone">',
        '<a href="#gone">',
        '<a href="c.html">',
        '<img src="gone.png">',
        '<a href="http://example.org">',
        '<a href="https://example">',
        '<a href="drawn.png#there">',
        '<link href="gone.css">',
    ],
)
def test_links_that_lead_nowhere(link, tmp_path):
    (one,) = dead_in(tmp_path, link)
    assert one == "a.html: " + link.split('"')[1]


def dead_in(folder, link):
    (folder / "a.html").write_text(f'<h1 id="here">A</h1>{link}', "utf-8")
    (folder / "b.html").write_text('<h1 id="there">B</h1>', "utf-8")
    (folder / "search.html").write_text('<a href="gone.html">', "utf-8")
    (folder / "drawn.png").write_bytes(b"")
    return extension("dead_links").dead(folder)


def test_pages_that_would_fetch_are_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="https://example.org">a link is none</a>', "utf-8")
    assert extension("self_contained").fetched(tmp_path) == []
    (tmp_path / "a.html").write_text('<script src="https://example.org/m.js"></script>', "utf-8")
    (tmp_path / "b.css").write_text("@font-face { src: url(//example.org/f.woff) }", "utf-8")
    found = extension("self_contained").fetched(tmp_path)
    assert [one.split(":")[0] for one in found] == ["a.html", "b.css"]


def anchors(page):
    """Of each heading, the name that GitHub and the site give it."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_into_a_page_name_a_heading_of_it():
    found = []
    inner = [ROOT.glob(f"{folder}/**/*.md") for folder in ("docs", "bench", "kernels")]
    for page in (*ROOT.glob("*.md"), *chain(*inner)):
        if "_build" in page.parts:
            continue
        for link, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text("utf-8")):
            target = (page.parent / link).resolve() if link else page
            found.append((page.name, link, anchor, anchor in anchors(target)))
    assert len(found) > 5
    assert [one for one in found if not one[-1]] == []
