"""Names of files, as users give them."""

from __future__ import annotations

import os
from pathlib import Path

from synkern.data.errors import DataError


def path_of(name: str | os.PathLike[str]) -> Path:
    """The path of a name, with `~` replaced by the home it stands for.

    Raises:
        DataError: there is no such home.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise DataError(f"{name}: {error}; write the path without ~") from None


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder.

    Raises:
        DataError: no file can be called so, or it cannot be looked at.
    """
    try:
        return path.exists()
    except OSError as error:
        name = str(path)
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        raise DataError(f"{shown} cannot be looked at: {error.strerror}") from None


def is_file(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a file; a text that can be no name of one is not.

    Raises:
        DataError: there is no such home as `~` stands for.
    """
    try:
        return path_of(name).is_file()
    except OSError:
        return False
