"""Counts and model as lines of text, and as a page: `python -m bench counts`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.counts import build
from bench.counts import rows as kernels
from bench.counts.kinds import GPUS
from bench.counts.rows import Row
from bench.harness.records import RESULTS, Run, commit

BACKENDS = {"cupy": "NVRTC", "triton": "Triton"}


def _cell(number: float) -> str:
    return "-" if number == 0 else f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _time(row: Row) -> str:
    if row.modelled is None:
        return "-"
    besides = row.measured.besides if row.measured else 0
    return f"{row.modelled.ms:.2f}" + (f" + {besides:.2f}" if besides else "")


def ratio(row: Row) -> float | None:
    """The measured time over the model's; None without either."""
    if row.modelled is None or row.measured is None:
        return None
    return row.measured.ms / (row.modelled.ms + row.measured.besides)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "kernel": lambda row: row.name,
    "tile, warps": lambda row: f"{row.known['tile'] or '-'}, {row.known['threads'] // 32}",
    "registers": lambda row: str(row.known["registers"]),
    "spills": lambda row: _cell(row.known["spills"]),
    "shared": lambda row: f"{row.known['shared']:,}",
    "blocks": lambda row: str(row.at_once),
    "all": lambda row: _cell(row.number("all")),
    "FP64": lambda row: _cell(row.number("FP64")),
    "FP32": lambda row: _cell(row.number("FP32")),
    "DMMA": lambda row: _cell(row.number("DMMA")),
    "LDS, STS": lambda row: _cell(row.number("LDS", "STS")),
    "LDG, STG": lambda row: _cell(row.number("LDG", "STG")),
    "LDL, STL": lambda row: _cell(row.number("LDL", "STL")),
    "integer": lambda row: _cell(row.number("integer", "IMAD", "compare")),
    "POPC": lambda row: _cell(row.number("POPC")),
    "barrier": lambda row: _cell(row.number("barrier")),
    "busiest unit": lambda row: (
        f"{row.modelled.unit} {row.modelled.clocks:,.0f}" if row.modelled else "-"
    ),
    "phases": lambda row: f"{row.modelled.phases:,.0f}" if row.modelled else "-",
    "model, ms": _time,
    "H100, ms": lambda row: f"{row.measured.ms:.3g}" if row.measured else "-",
}

LEGEND = """\
Instructions of a thread for each pair and trial (of kernels without tiles: of a thread). `spills`:
bytes of a thread, stored and loaded, by the compiler; `shared`: bytes of a block; `blocks` that a
multiprocessor holds. `integer` has comparisons and selections. `busiest unit` with its clocks for
a tile and trial; `phases`: clocks if loops followed each other, each bound by its own busiest
unit. `model` is a model: phases that follow each other where a multiprocessor holds one block,
else the longer of those and of the busiest unit; whole waves; the data sheet's clock; no latency,
no bank conflicts, no cache of level 2. Behind a plus sign what the measured time has in it
besides, by measured rates: for moments the library's products and what they write, for Triton's
series the copy of past and future. `H100` is the committed measurement, of the kernels of its
commits."""


WHY = """\
Where the model is wrong, as far as the machine code tells; nothing of it was profiled. It is a
floor almost everywhere, and shares of its units are no forecast of a time:

- Kernels of Gaussian MMI from the series: one or two blocks of few warps a multiprocessor. Loads
  from the cache of level 2, which all tiles of a row read again, and barriers between short phases
  are waits that the model hides; spilled registers wait besides.
- Through moments: the rate of the library's products is that of large square matrices, and its
  products here have 99 samples as their inner side; parts of the trials follow each other.
- Float32: timed on random walks, where a pair that float32 does not trust has its trials computed
  again in float64; the model counts none of that.
- CCS: phases of one block, of which the second keeps FP64 busy; what it waits for at the head of
  each chain of dependent instructions is not in the model.
- Discrete CCS: an array with changing indices in local memory, and look-ups that wait for it.
- Discrete MMI: the model is above the measurement. Look-ups touch fewer lines of the cache than the
  table has, as neighbouring lanes look up similar counts."""


def table(found: Sequence[Row], *, page: bool = False) -> str:
    """Rows under a head, aligned; or as Markdown."""
    cells = [list(COLUMNS)] + [[column(row) for column in COLUMNS.values()] for row in found]
    return _aligned(cells, page)


def _aligned(cells: Sequence[Sequence[str]], page: bool) -> str:
    if page:
        lines = ("| " + " | ".join(row) + " |" for row in cells)
        head, *rest = (line.replace("<", "&lt;") for line in lines)  # else they are tags
        return "\n".join([head, "|---" * len(cells[0]) + "|", *rest])
    wide = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(wide[0]), *(c.rjust(w) for c, w in zip(row[1:], wide[1:], strict=True))]
        )
        for row in cells
    )


def changes(before: Sequence[Row], after: Sequence[Row], *, page: bool = False) -> str:
    """Both rows of each kernel that differs, and kernels that are new or gone."""
    old, new = ({row.name: row for row in side} for side in (before, after))
    cells = [["", *COLUMNS]]
    for name in dict.fromkeys([*old, *new]):
        pair = [("before", old.get(name)), ("after", new.get(name))]
        shown = [(when, [c(r) for c in COLUMNS.values()]) for when, r in pair if r is not None]
        if not _differ(*(row for _, row in pair)):
            continue
        for when, row in shown:
            only = "" if len(shown) == 2 else "gone" if when == "before" else "new"
            cells.append([only or when, *row])
    same = len(old.keys() & new.keys()) - sum(row[0] == "after" for row in cells)
    said = f"{same} kernels are as they were."
    return said if len(cells) == 1 else f"{_aligned(cells, page)}\n\n{said}"


def _differ(before: Row | None, after: Row | None) -> bool:
    """Whether a kernel is new, gone, or shows other numbers, its times left aside."""
    if before is None or after is None:
        return True
    return any(column(before) != column(after) for column in list(COLUMNS.values())[:-2])


def unmeasured(before: Sequence[Row], after: Sequence[Row]) -> list[Row]:
    """Rows of after, those that changed without the time, which was of the kernels before."""
    old = {row.name: row for row in before}
    return [
        replace(row, measured=None) if _differ(old.get(row.name), row) else row for row in after
    ]


def against_measured(found: Sequence[Row], *, page: bool = False) -> str:
    """What the model says of kernels that were timed, and how far off it is."""
    cells = [["kernel", "by", "busiest unit", "model, ms", "H100, ms", "H100 / model"]]
    timed = [(row, by) for row in found if (by := ratio(row)) is not None]
    for row, by in sorted(timed, key=lambda pair: -pair[1]):
        shown = [COLUMNS[column](row) for column in ("busiest unit", "model, ms", "H100, ms")]
        cells.append([row.name, BACKENDS[row.known["backend"]], *shown, f"{by:.2f}"])
    return _aligned(cells, page)


def unknown(found: Sequence[Row]) -> list[str]:
    """What could not be counted as it should be, by kernel."""
    return [f"{row.name}: {what}" for row in found for what in row.counted.unknown]


def main(
    backends: Sequence[str], target: str, against: str | None, only: str, write: Path | None
) -> int:
    """Print tables, and write the page if there is a place for it.

    Args:
        backends: "cupy", "triton".
        target: architecture.
        against: another commit, to be compared with.
        only: regular expression in the names of the kernels.
        write: file for the page.

    Returns:
        1 if something could not be counted, else 0.
    """
    parts, troubles = [], []
    for backend in backends:
        version, after = kernels.rows(backend, target, only)
        before = None
        if against is not None:
            with kernels.checkout(against) as tree:
                _, before = kernels.rows(backend, target, only, tree)
            after = unmeasured(before, after)
        title = f"{BACKENDS[backend]} {version}"
        parts.append((title, before, after))
        troubles += unknown([*(before or []), *after])
        print(f"{title}, {target}\n{table(after)}\n")
        if before is not None:
            print(f"against {against}\n{changes(before, after)}\n")
        print(f"model and H100\n{against_measured(before or after)}\n")
    print(LEGEND)
    for line in troubles:
        print(f"NOT COUNTED AS IT SHOULD BE: {line}")
    if write is not None:
        write.write_text(page(parts, target, against), encoding="utf-8")
        print(write)
    return int(bool(troubles))


def page(
    parts: Sequence[tuple[str, Sequence[Row] | None, Sequence[Row]]],
    target: str,
    against: str | None,
) -> str:
    """The page: see `PAGE`."""
    gpu = GPUS[target]
    run = Run.load(RESULTS / "h100.json")
    titles = " and ".join(title for title, _, _ in parts)
    option = f" --against {against}" if against else ""
    lines = [
        f"<!-- Made by `python -m bench counts --architecture {target}{option} --write FILE`. -->",
        "# Instructions of the GPU kernels",
        "",
        f"Compiled for {target} by {titles}, commit {commit()}, and counted in the machine code; "
        f"the model is of one {gpu.name} ({gpu.multiprocessors} multiprocessors, {gpu.clock} GHz). "
        f"All pairs of {build.NODES} nodes, {build.TRIALS} trials, {build.SAMPLES} pairs of "
        "samples.",
        "",
        LEGEND,
    ]
    for title, _, after in parts:
        lines += ["", f"## {title}", "", table(after, page=True)]
    for title, before, after in parts:
        if before is not None:
            lines += ["", f"## {title}: against {against}", "", changes(before, after, page=True)]
    if target == "sm_90":
        of = f" Kernels of {against}, which were measured." if against else ""
        lines += ["", "## The model against an H100", "", _said(parts, run) + of, ""]
        lines.append(against_measured([r for _, b, a in parts for r in b or a], page=True))
        lines += ["", WHY]
    return "\n".join(lines) + "\n"


def _said(parts: Sequence[tuple[str, Sequence[Row] | None, Sequence[Row]]], run: Run) -> str:
    every = [by for _, b, a in parts for row in b or a if (by := ratio(row)) is not None]
    named = [c for p in run.tables["gpu check"] for c in p["commit"].split(" or ")]
    commits = " and ".join(dict.fromkeys(named))
    if not every:
        return "None of these was timed."
    middle = sorted(every)[len(every) // 2]
    return (
        f"{run.machine['gpu']}, commits {commits}, {run.date}. Of {len(every)} kernels it took "
        f"{min(every):.2f} to {max(every):.2f} times what the model says, {middle:.2f} in the "
        f"middle."
    )
