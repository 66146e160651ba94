"""What ends a run of blocks, and the packages that it needs."""

from __future__ import annotations

from typing import Any

from synkern import _faces


class BlocksError(RuntimeError):
    """A run ended before its last block; those that are finished are in the store."""


class StoreInUseError(RuntimeError):
    """Another run writes into the store."""


def needed(package: str, who: str) -> Any:
    """Import a package of the extra `scale`.

    Raises:
        MissingExtraError: it is not installed.
    """
    return _faces.needed(package, who, "scale")
