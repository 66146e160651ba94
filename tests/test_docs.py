"""The pages for whoever works on synkern point to files that are there, and fit on a screen."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "kernels/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_point_to_files(page):
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), ROOT / "kernels" / "README.md"])
def test_a_page_is_a_screen(page):
    text = page.read_text(encoding="utf-8")
    shown = re.sub(r"^```\{toctree.*?^```\n", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len(shown.splitlines()) <= 70
