"""Numbers of results as the page writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.harness import compare
from bench.harness.records import Run


def duration(seconds: float | None) -> str:
    """Three digits and a unit."""
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{digits(seconds / scale)} {unit}"
    return f"{digits(seconds * 1e9)} ns"


def digits(value: float, count: int = 3) -> str:
    """So many significant digits, without an exponent."""
    rounded = float(f"{value:.{count}g}")
    decimals = max(0, count - 1 - math.floor(math.log10(rounded))) if rounded > 0 else 0
    return f"{rounded:,.{decimals}f}"


def ratio(found: compare.Ratio | None) -> str:
    """Two digits, and its interval; "?" where a single sweep tells of none."""
    if found is None:
        return "-"
    if not math.isfinite(found.high):  # of one sweep
        return f"{digits(found.value, 2)} [?]"
    return f"{digits(found.value, 2)} [{digits(found.low, 2)}, {digits(found.high, 2)}]"


def scientific(value: float | None) -> str:
    """One digit; "none" where there is no value."""
    return "none" if value is None else f"{value:.0e}"


def size(value: float | None) -> str:
    """Bytes in a unit."""
    if value is None:
        return "-"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{digits(value / scale)} {unit}"
    return f"{value:.0f} B"


def overhead(found: Mapping[str, Any]) -> str:
    """What something costs beside something else, in percent, with its interval."""
    low, high = (f"{100 * end:+.1f}" for end in found["interval"])
    return f"{100 * found['overhead']:+.1f} % [{low}, {high}]"


def right(rows: Sequence[Mapping[str, Any]]) -> str:
    """The share of all tasks that a model has right."""
    return f"{100 * sum(row['right'] for row in rows) / sum(row['tasks'] for row in rows):.0f} %"


def machine(run: Run) -> str:
    """A line on what a run ran on."""
    m, v = run.machine, run.versions
    cores = f"{m['cores']} core" + "s" * (m["cores"] != 1)
    what = f"{m['gpu']}, " if "gpu" in m else ""
    return (
        f"{what}{cores} of {m['processor']} ({m['capability']}), "
        f"Python {v['python']}, NumPy {v['numpy']}, torch {v['torch']}, "
        f"commit {run.commit}, {run.date[:10]}"
    )
