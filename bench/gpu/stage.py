"""One stage of `bench.gpu.check` in a process of its own, which `check` starts:

    python -m bench.gpu.stage MODULE:FUNCTION FOLDER NAME PART OF

The function takes the folder and returns the items of the stage: pairs of a name and a call without
arguments that returns its result, in the order in which they are worth having. What is slow or may
fail belongs into the calls. Of them this process runs every OF-th from PART on that has not ended.

It writes FOLDER/NAME.jsonl; see `journal`. An item that raises loses itself alone, unless the
device no longer answers afterwards: then the process ends, and another takes the rest.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.gpu.journal import NotRunError, append, read

Items = Iterable[tuple[str, Callable[[], dict[str, Any]]]]
"""Of a stage."""

BROKEN = 3
"""Exit status of a process whose device no longer answers."""

PLAN = "the plan"
"""Name of what a stage does before its items."""


def main(function: str, folder: Path, name: str, part: int, of: int) -> int:
    """Run what is left of a share; returns the exit status."""
    path = folder / f"{name}.jsonl"
    module, _, attribute = function.partition(":")
    try:
        items = list(getattr(importlib.import_module(module), attribute)(folder))
    except Exception as error:
        kind = "not run" if isinstance(error, NotRunError) else "error"
        append(path, {"plan": [PLAN]})
        append(path, {"item": PLAN, "seconds": 0.0, kind: _why(error)})
        return 0
    plan = [item for item, _ in items]
    if len(set(plan)) != len(plan):
        raise ValueError(f"stage {name} has two items of one name; each needs its own")
    if read(path).plan != plan:
        append(path, {"plan": plan})
    known = read(path)
    share = set(known.share(part, of)) - known.ended.keys()
    return BROKEN if any(_broken(path, *item) for item in items if item[0] in share) else 0


def _broken(path: Path, item: str, call: Callable[[], dict[str, Any]]) -> bool:
    """Run an item, and say whether the device is lost."""
    append(path, {"start": item})
    start, raised = time.monotonic(), False
    try:
        outcome: dict[str, Any] = {"result": call()}
    except NotRunError as reason:
        outcome = {"not run": _why(reason)}
    except Exception as error:
        outcome, raised = {"error": _why(error)}, True
    append(path, {"item": item, "seconds": time.monotonic() - start} | outcome)
    return raised and not _device_answers()


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, NotRunError) else traceback.format_exc()


def _device_answers() -> bool:
    """An error such as an illegal address is that of every later call in this process."""
    for library, synchronize in (
        ("torch", lambda torch: torch.cuda.is_initialized() and torch.cuda.synchronize()),
        ("cupy", lambda cupy: cupy.cuda.runtime.deviceSynchronize()),
    ):
        if library in sys.modules:
            try:
                synchronize(sys.modules[library])
            except Exception:
                return False
    return True


def _end_with_parent() -> None:
    """The pipe from the parent closes with it; nothing is to keep the device after that."""
    os.read(0, 1)  # Not by sys.stdin, which is locked while it waits, also when Python ends.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:6])))
