"""What reading raises where a file of data cannot be used."""

from __future__ import annotations

from typing import Any

from synkern import _faces


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
    return _faces.needed(module, what, extra)
