"""What reading raises where a file of data cannot be used."""

from __future__ import annotations

import importlib
from typing import Any

from synkern._faces import MissingExtraError


class DataError(ValueError):
    """A file of data cannot be used; the message says which, what and where, and what helps."""


def needed(module: str, extra: str, what: str) -> Any:
    """Import a module that an extra brings.

    Args:
        module: its name; the part before the first dot is that of its package.
        extra: of synkern's extras, the one that brings it.
        what: what needs it, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        said = f"{what} needs {package}, which is not installed: pip install 'synkern[{extra}]'"
        raise MissingExtraError(said, name=package) from error
