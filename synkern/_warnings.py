"""Warnings to the user, and a way to take them in that other threads do not notice.

`warnings.catch_warnings` changes the filters of the whole process: of two threads inside it, the
one that leaves last puts back what the other had set, for good.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Frames between the user's line and what warns; those of libraries are of our context managers and
# cached properties.
_BETWEEN = ("synkern", "contextlib", "functools")

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def warn(message: str) -> None:
    """Warn of a UserWarning at the user's line, or leave it to `collected` around this call."""
    messages = _collected.get()
    if messages is None:
        warnings.warn(message, UserWarning, stacklevel=callers_level())
    else:
        messages.append(message)


@contextmanager
def collected() -> Iterator[list[str]]:
    """A list that the warnings of this package, in this thread, go to instead of to the user."""
    messages: list[str] = []
    token = _collected.set(messages)
    try:
        yield messages
    finally:
        _collected.reset(token)


def callers_level() -> int:
    """The `stacklevel` of a warning, given in the frame that asks, that names the user's line."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level
