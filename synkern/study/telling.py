"""What a study tells while it works: lines and bars on standard error."""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import Any


def say(message: str, progress: bool = True) -> None:
    """Write a line, where progress is to be shown."""
    if progress and sys.stderr is not None:  # print would take standard output instead
        # A study goes on without a reader, or with a log on a full disk.
        with suppress(OSError, ValueError):
            # Above the bars that are shown, each of which stays one line.
            importlib.import_module("tqdm").tqdm.write(message, file=sys.stderr)
            sys.stderr.flush()


def bar(label: str, total: int, unit: str, progress: bool = True) -> Any:
    """Return a progress bar: a context manager with `update(count)`."""
    tqdm = importlib.import_module("tqdm")
    # None: no bar where standard error is not a terminal, such as the log of a batch job.
    disable = None if progress else True
    return tqdm.tqdm(total=total, desc=label, unit=unit, disable=disable)
