"""What ends a run of blocks, and the packages that it needs."""

from __future__ import annotations

import importlib
from typing import Any

from synkern._faces import MissingExtraError


class BlocksError(RuntimeError):
    """A run ended before its last block; those that are finished are in the store."""


class StoreInUseError(RuntimeError):
    """Another run writes into the store."""


def needed(package: str, who: str) -> Any:
    """Import a package of the extra `scale`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".", maxsplit=1)[0]:
            raise
        said = f"{who} needs {package}, which is not installed: pip install 'synkern[scale]'"
        raise MissingExtraError(said, name=package) from error
