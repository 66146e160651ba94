"""The page: what is committed in results/ rendered into README.md, figures, and what others quote.

`page.md.j2` is the page, with its hand-written parts. The main README quotes a headline, and
docs/numbers.md what `quoted.md.j2` makes, each between its markers. Numbers are formatted here and
nowhere else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from bench.cases import shapes
from bench.cases.workloads import WORKLOADS
from bench.harness.records import RESULTS, ROOT, Run
from bench.page import figures, gpu, numbers, rows, sizes
from synkern import ATOMS

TEMPLATES = Path(__file__).resolve().parent
HERE = TEMPLATES.parent
PAGE = HERE / "README.md"
README = ROOT / "README.md"
NUMBERS = ROOT / "docs" / "numbers.md"
FIGURES = HERE / "figures"

_HEADLINE = re.compile(r"(<!-- bench:headline -->).*?(<!-- /bench:headline -->)", re.DOTALL)
_MARKED = re.compile(r"(<!-- bench:begin[^\n]*-->\n).*?(<!-- bench:end -->)", re.DOTALL)


@dataclass(frozen=True)
class Results:
    """What is committed.

    Attributes:
        speed: runs with records of speed, by the name of their file, CPU first.
        tables: other results by name, with the run that they are of.
    """

    speed: dict[str, Run]
    tables: dict[str, tuple[Run, Any]]


def load(folder: Path = RESULTS) -> Results:
    """Read all results of a folder."""
    runs = {path.stem: Run.load(path) for path in sorted(folder.glob("*.json"))}
    speed = {name: run for name, run in runs.items() if run.records}
    tables = {table: (run, value) for run in runs.values() for table, value in run.tables.items()}
    ordered = sorted(speed, key=lambda name: (speed[name].machine["device"] != "cpu", name))
    return Results({name: speed[name] for name in ordered}, tables)


def write(results: Results, figures: bool = True) -> list[Path]:
    """Write page, what others quote of it, and figures; the paths that were written."""
    PAGE.write_text(page(results), encoding="utf-8")
    for path, quoting in ((README, readme), (NUMBERS, quoted_table)):
        path.write_text(quoting(results, path.read_text(encoding="utf-8")), encoding="utf-8")
    return [PAGE, README, NUMBERS, *(draw(results) if figures else [])]


def draw(results: Results, folder: Path = FIGURES) -> list[Path]:
    """Write the figures that there are results for."""
    folder.mkdir(exist_ok=True)
    drawn = {}
    if results.speed:
        drawn["speedup"] = figures.speedup(_first(results))
        drawn["roofline"] = figures.roofline(results.speed)
    if "scaling" in results.tables:
        drawn["scaling"] = figures.scaling(results.tables["scaling"][1])
    if "sizes" in results.tables:
        drawn["sizes"] = figures.sizes(results.tables["sizes"][1])
    if "accuracy" in results.tables:
        drawn["accuracy"] = figures.accuracy(results.tables["accuracy"][1])
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], metadata={"Software": None})
    return paths


def page(results: Results) -> str:
    """The text of bench/README.md."""
    return _environment().get_template("page.md.j2").render(results=results, **_helpers(results))


def readme(results: Results, text: str) -> str:
    """The main README with its headline made anew.

    Raises:
        ValueError: the markers are missing.
    """
    return _between(_HEADLINE, headline(results), text, "README.md", "bench:headline")


def quoted_table(results: Results, text: str) -> str:
    """The page of the documentation on numbers, with the table between its markers made anew.

    Raises:
        ValueError: the markers are missing.
    """
    template = _environment().get_template("quoted.md.j2")
    block = template.render(results=results, **_helpers(results)) + "\n"
    return _between(_MARKED, block, text, "docs/numbers.md", "bench:begin and bench:end")


def _between(markers: re.Pattern[str], block: str, text: str, page: str, names: str) -> str:
    replaced, count = markers.subn(lambda found: found[1] + block + found[2], text)
    if count != 1:
        raise ValueError(f"{page} must have the markers {names}, once")
    return replaced


def headline(results: Results) -> str:
    """How many times faster than phyid the default is, for the first shape, in words."""
    run = _first(results)
    found = rows.quoted(run, shapes.SHAPES[0].name) if run else []
    if run is None or len(found) < 2:
        return "many times faster"
    cores = run.machine["cores"]
    return f"{found[-1][2].split()[0]} times faster on {cores} CPU core{'s' * (cores != 1)}"


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _helpers(results: Results) -> dict[str, Any]:
    return {
        "WORKLOADS": WORKLOADS,
        "gpu": gpu,
        "ATOMS": ATOMS,
        "SHAPES": shapes.SHAPES,
        "first": _first(results),
        "duration": numbers.duration,
        "ratio": numbers.ratio,
        "scientific": numbers.scientific,
        "size": numbers.size,
        "speed_rows": rows.speed_rows,
        "peer_rows": rows.peer_rows,
        "record_rows": rows.record_rows,
        "accuracy_rows": rows.accuracy_rows,
        "atom_rows": rows.atom_rows,
        "scaling_rows": rows.scaling_rows,
        "takeovers": rows.takeovers,
        "sizes": sizes,
        "quoted": rows.quoted,
        "machine": numbers.machine,
        "overhead": numbers.overhead,
        "right": numbers.right,
        "backends": rows.backends,
    }


def _first(results: Results) -> Run | None:
    return next(iter(results.speed.values()), None)
