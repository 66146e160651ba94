"""The suite of sizes as tables and lines of the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.page.numbers import digits, duration
from bench.suites.sizes import NEIGHBOURS, WORKS, Row, each

ALLOWED = 1.2
"""How many times longer than beside it a pair of a bad size may take."""


def measured(rows: Sequence[Row], work: str, asked: int) -> list[Row]:
    """Rows with times, of a work and a number of trials asked for, by nodes."""
    of = [r for r in rows if (r["work"], r["asked"]) == (work, asked) and "absent" not in r]
    return sorted(of, key=lambda row: int(row["nodes"]))


def trials(rows: Sequence[Row]) -> list[int]:
    """All numbers of trials that were asked for."""
    return sorted({row["asked"] for row in rows})


def ends(rows: Sequence[Row]) -> list[int]:
    """Those that were asked of every size: the fewest and the most."""
    return sorted({min(trials(rows)), max(trials(rows))})


def trial_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Head, then by size and work: time by number of trials, and over writing once."""
    counts = trials(rows)
    sizes = sorted({r["nodes"] for r in rows if r["asked"] not in ends(rows)})
    sizes = sizes or sorted({r["nodes"] for r in rows})[-1:]
    table = [["nodes", "work", *(f"{n} trial" + "s" * (n > 1) for n in counts)]]
    for nodes in sizes:
        for work in WORKS:
            of = {n: [r for r in measured(rows, work, n) if r["nodes"] == nodes] for n in counts}
            table.append([f"{nodes:,}", work, *(_cell(n, found) for n, found in of.items())])
    return table


def _cell(asked: int, found: Sequence[Row]) -> str:
    if not found:
        return "-"
    row = found[0]
    fewer = "" if row["trials"] == asked else f", of {row['trials']}"
    times = each(row) / each(row, "write")
    return f"{duration(each(row))}, {digits(times, 2)} x{fewer}"


def cliffs(rows: Sequence[Row]) -> list[str]:
    """What the sizes that caches may make slow take, over the mean of their neighbours."""
    lines = []
    for nodes, near in NEIGHBOURS.items():
        cells = []
        for work in WORKS:
            for asked in ends(rows):
                of = {r["nodes"]: each(r) for r in measured(rows, work, asked)}
                if nodes in of and all(size in of for size in near):
                    ratio = of[nodes] / np.mean([of[size] for size in near])
                    high = f" (more than {ALLOWED:g})" if ratio > ALLOWED else ""
                    cells.append(f"{work} of {asked}: {ratio:.2f}{high}")
        if cells:
            beside = " and ".join(f"{size:,}" for size in near)
            lines.append(f"{nodes:,} nodes over {beside}: {', '.join(cells)}")
    return lines


def absent(rows: Sequence[Row]) -> list[str]:
    """What has no time, and why."""
    return [
        f"{r['nodes']:,} nodes, {r['asked']} trials, {r['work']}: {r['absent']}"
        for r in rows
        if "absent" in r
    ]
