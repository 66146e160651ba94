"""The file of a stage: a line of JSON for whatever happens, on the disk as soon as it has.

| line                                          | written by | when                              |
|-----------------------------------------------|------------|-----------------------------------|
| {"plan": [names]}                             | the stage  | before anything else              |
| {"start": name}                               | the stage  | before an item                    |
| {"item": name, "seconds": s, "result": {...}} | the stage  | after it                          |
| {"item": name, "seconds": s, "error": text}   | the stage  | it raised                         |
| {"item": name, "seconds": s, "not run": why}  | the stage  | it cannot run here                |
| {"item": name, "lost": why}                   | the check  | its process died or was ended     |
| {"cut": name}                                 | the check  | time ended while it ran           |

Processes that share a stage append to one file: a line is one write. Needs nothing but Python.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ATTEMPTS = 2
"""Starts of an item that did not end; then it counts as lost."""


class NotRunError(Exception):
    """An item cannot run here, and why."""


def append(path: Path, line: dict[str, Any]) -> None:
    """Write a line, at once and whole, after one that may have been cut short."""
    content = (json.dumps(line) + "\n").encode()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            content = b"\n" + content
        if os.write(file, content) != len(content):
            raise OSError(f"{path}: a line was not written whole; is the disk full?")
    finally:
        os.close(file)


@dataclass
class Journal:
    """What is known of a stage.

    Attributes:
        plan: names of its items, in order; None before it began.
        ended: line of each item that is not to be run again.
        not_run: reasons of items that could not run here, which are tried again.
        starts: how often each item was started.
        running: items that were started and of which nothing more is known, oldest first.
    """

    plan: list[str] | None = None
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """Items that are still to be run."""
        return [name for name in self.plan or () if name not in self.ended]

    def share(self, part: int, of: int) -> list[str]:
        """Items of one of several processes."""
        return (self.plan or [])[part::of]


def read(path: Path) -> Journal:
    """A stage's file; of a stage that never began, or whose last line was cut short, too."""
    found = Journal()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # The machine stopped within it; its item counts as started.
        if "plan" in row:
            found.plan = row["plan"]
            found.not_run.clear()
        elif "start" in row:
            found.starts[row["start"]] = found.starts.get(row["start"], 0) + 1
            found.running.append(row["start"])
        else:
            name = row.get("item", row.get("cut"))
            found.running = [other for other in found.running if other != name]
            if "not run" in row:
                found.not_run[name] = row["not run"]
                found.starts.pop(name, None)
            elif "item" in row:
                found.ended[name] = row
                found.not_run.pop(name, None)
    for name in found.left:
        if found.starts.get(name, 0) >= ATTEMPTS and name not in found.running:
            found.ended[name] = {"item": name, "lost": f"not ended in {ATTEMPTS} attempts"}
    return found


def merged(found: Journal) -> dict[str, Any]:
    """One result of all items of a stage.

    Dictionaries of items become one, lists are joined, and it has passed if all have. Beside them
    stand the errors, what was lost, could not run, and was not reached.
    """
    result: dict[str, Any] = {}
    seconds, bad = 0.0, {}
    for name, row in found.ended.items():
        seconds += row.get("seconds", 0.0)
        if "result" in row:
            _into(result, row["result"])
        else:
            bad[name] = row.get("error") or f"lost: {row['lost']}"
    if bad:
        result["errors"] = bad
        result["passed"] = False
    if found.not_run:
        result["not run"] = "; ".join(dict.fromkeys(found.not_run.values()))
    missed = [name for name in found.left if name not in found.not_run]
    result["left out"] = len(missed)
    if missed:
        result["not reached"] = missed
    return result | {"seconds": seconds}


def _into(result: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if key == "passed":
            result[key] = result.get(key, True) and value
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            _into(result[key], value)
        elif isinstance(value, list) and isinstance(result.get(key), list):
            result[key] = result[key] + value
        else:
            result[key] = value
