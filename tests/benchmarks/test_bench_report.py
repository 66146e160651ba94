"""The committed page is what the committed results render to."""

import re
from pathlib import Path

import pytest

from bench.page import numbers, report

RESULTS = report.load()


def test_page_is_what_the_results_render_to():
    assert report.PAGE.read_text(encoding="utf-8") == report.page(RESULTS)


@pytest.mark.parametrize(
    ("path", "quoting"),
    [(report.README, report.readme), (report.NUMBERS, report.quoted_table)],
    ids=["README", "numbers"],
)
def test_what_is_quoted_is_of_the_results(path, quoting):
    text = path.read_text(encoding="utf-8")
    assert text == quoting(RESULTS, text)


def test_figures_of_the_page_are_there():
    shown = re.findall(r"\]\((figures/[\w.]+)\)", report.page(RESULTS))
    assert sorted(shown) == sorted(f"figures/{f.name}" for f in report.FIGURES.iterdir())


def test_links_of_the_page_point_to_files():
    links = re.findall(r"\]\(([\w./-]+)\)", report.page(RESULTS))
    assert links
    assert not [link for link in links if not (report.HERE / link).exists()]


def test_a_page_without_results_says_how_to_get_them():
    text = report.page(report.Results({}, {}))
    for command in ("make accuracy", "make bench", "make bench-scaling", "make bench-study"):
        assert f"Not measured: `{command}`" in text


def test_markers_must_be_there():
    with pytest.raises(ValueError, match="markers"):
        report.readme(RESULTS, "no markers")
    with pytest.raises(ValueError, match="markers"):
        report.quoted_table(RESULTS, "no markers")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1.44e-3, "1.44 ms"),
        (20.9e-9, "20.9 ns"),
        (317e-9, "317 ns"),
        (12, "12.0 s"),
        (9.999e-7, "1,000 ns"),
    ],
)
def test_durations(seconds, said):
    assert numbers.duration(seconds) == said


def test_quoted_table_names_the_command_of_its_figures():
    text = report.NUMBERS.read_text(encoding="utf-8")
    block = text[text.index("<!-- bench:begin") : text.index("<!-- bench:end")]
    for target in re.findall(r"make (bench[\w-]*)", block):
        assert f"\n{target}: " in (Path(report.ROOT) / "Makefile").read_text(encoding="utf-8")
