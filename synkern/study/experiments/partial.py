"""What an experiment has done so far, in the folder of its study: an interruption costs no more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synkern.study.provenance import digest

_BEGINNING = ".partial-"
_DIGITS = 16


def partial_file(folder: Path, experiment: str, key: Mapping[str, Any]) -> Path:
    """Return the file that an experiment may write to while it goes on, and begin with.

    Args:
        folder: of the study.
        experiment: its name.
        key: all that its results depend on. What was begun with another one is not found, but stays
            until the experiment is finished: the user may go back to it.
    """
    return folder / f"{_BEGINNING}{experiment}-{digest(dict(key))[:_DIGITS]}"


def remove_partial_files(folder: Path, experiment: str) -> None:
    """Remove all that an experiment has begun with, files and folders."""
    for path in folder.glob(f"{_BEGINNING}{experiment}-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
