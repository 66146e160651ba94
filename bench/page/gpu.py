"""Rows of the page about what `bench.gpu.check` found on a GPU, from `bench.gpu.condense`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Passes = Sequence[dict[str, Any]]


def machine(run: Any) -> str:
    """A line on what a check ran on."""
    m, v = run.machine, run.versions
    of = ", ".join(
        f"{name} {v[name]}" for name in ("torch", "triton", "cupy", "numpy") if name in v
    )
    commits = {c: None for p in run.tables["gpu check"] for c in p["commit"].split(" or ")}
    return (
        f"{m['gpu']} (at most {m['highest clock']}, driver {m['driver']}), {of}, "
        f"commits {' and '.join(commits)}, "
        f"{run.date}"
    )


def _stages(passes: Passes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for each in passes:
        for name, stage in each["stages"].items():
            yield name, each["commit"], stage


def correctness_rows(passes: Passes) -> list[list[str]]:
    """Head, then by backend and pass: rows that ran, failed, were left out; the worst; sizes."""
    table = [
        [
            "stage",
            "backend",
            "rows",
            "failed",
            "left out",
            "worst / allowed",
            "trials x samples x nodes: rows",
        ]
    ]
    for name, commit, stage in _stages(passes):
        if "correctness" not in name:
            continue
        if "groups" not in stage:
            errors = stage.get("errors", {"": stage.get("error", stage.get("not run", "-"))})
            why = next(iter(errors.values())).split(":")[0]
            table.append([f"{name}, {commit}", "-", "0", "-", "all", why, "-"])
            continue
        for backend in dict.fromkeys(group.split()[0] for group in stage["groups"]):
            groups = [g for key, g in stage["groups"].items() if key.split()[0] == backend]
            sizes: dict[str, int] = {}
            for key, rows in stage["rows by series and size (trials x samples x nodes)"].items():
                of, _, size = key.split(", ")
                if of == backend:
                    sizes[size] = sizes.get(size, 0) + rows
            table.append(
                [
                    f"{name}, {commit}",
                    backend,
                    str(sum(g["rows"] for g in groups)),
                    str(sum(g["failed"] for g in groups)),
                    f"{stage['left out']:,} of the stage",
                    f"{max(g['worst over allowed'] for g in groups):.2g}",
                    "; ".join(f"{size}: {rows}" for size, rows in sizes.items()),
                ]
            )
    return table


def other_rows(passes: Passes) -> list[list[str]]:
    """Head, then the stages that say whether they passed, in words."""
    table = [["stage", "found"]]
    for name, commit, stage in _stages(passes):
        if "passed" not in stage or "groups" in stage:
            continue
        said = [
            f"{key}: {_short(value)}"
            for key, value in stage.items()
            if isinstance(value, bool | str | list) and key != "passed"
        ]
        table.append(
            [f"{name}, {commit}", "; ".join([f"passed: {_short(stage['passed'])}", *said])]
        )
    return table


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    line = value[-1] if isinstance(value, list) else value
    return str(line).replace("=", "").strip().split(": operand")[0].capitalize()


def time_rows(passes: Passes) -> list[list[str]]:
    """Head, then milliseconds: of the device, and of whole calls from the second on."""
    table = [["stage", "what", "ms"]]
    for name, _, stage in _stages(passes):
        for key, factor in _TIMES.items():
            for what, value in stage.get(key, {}).items():
                label = f"{what}, whole call" if factor != 1 else what
                ms = factor * value
                table.append([name, label, f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}"])
    return table


_TIMES = {"device ms": 1, "device ms of a kernel": 1, "seconds of phiid": 1e3}
"""Names of tables of times in a stage, and what makes milliseconds of them."""


def sweep_rows(passes: Passes) -> list[list[str]]:
    """Head, then by kernel that was swept: the frozen configuration of then, and the best."""
    table = [["kernel", "tried", "frozen then, ms", "best, ms", "best"]]
    for _, _, stage in _stages(passes):
        for kernel, found in stage.items():
            if isinstance(found, dict) and "best_ms" in found:
                best = min(
                    (t for t in found["times"].items() if isinstance(t[1], float)),
                    key=lambda t: t[1],
                )
                frozen, ms = found["frozen_ms"], found["best_ms"]
                table.append(
                    [kernel, str(len(found["times"])), f"{frozen:.3g}", f"{ms:.3g}", f"`{best[0]}`"]
                )
    return table
