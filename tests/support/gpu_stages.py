"""Stand-ins for stages of `bench.gpu.check`: what one of them may do to its process.

They need nothing but Python: a process of theirs starts in hundredths of a second.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.gpu.journal import NotRunError

Call = Callable[[], dict[str, Any]]


def ok(name: str) -> tuple[str, Call]:
    return name, lambda: {"passed": True, "done": [name]}


def killed() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def aborted() -> dict[str, Any]:
    os.abort()


def hung() -> dict[str, Any]:
    time.sleep(600)
    return {}


def left() -> dict[str, Any]:
    os._exit(7)


def raised() -> dict[str, Any]:
    raise RuntimeError("of this item alone")


def not_here() -> dict[str, Any]:
    raise NotRunError("no GPU")


def illegal() -> dict[str, Any]:
    """As after an illegal address: every later call of the device raises too."""
    cuda = types.SimpleNamespace(is_initialized=lambda: True, synchronize=broken)
    sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)  # type: ignore[assignment]
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def broken() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def after_illegal() -> dict[str, Any]:
    """Whether the device is another one than that of `illegal`."""
    return {"passed": "torch" not in sys.modules, "done": ["after illegal"]}


def wrong() -> dict[str, Any]:
    return {"passed": False, "done": ["wrong"]}


BAD: dict[str, Call] = {
    "killed": killed,
    "aborted": aborted,
    "hung": hung,
    "left": left,
    "raised": raised,
    "illegal": illegal,
}


def each(_: Path) -> Iterator[tuple[str, Call]]:
    """Everything that may happen, and something that is fine after each."""
    yield ok("first")
    for name, call in BAD.items():
        yield name, call
        yield (f"after {name}", after_illegal) if name == "illegal" else ok(f"after {name}")


def fine(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("one")
    yield "not here", not_here
    yield ok("two")


def wrongly(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("one")
    yield "wrong", wrong


def many(folder: Path) -> Iterator[tuple[str, Call]]:
    """Items that count how often they ran, in a file of their own each."""

    def counted(name: str) -> dict[str, Any]:
        with (folder / f"{name}.ran").open("a") as file:
            file.write("x")
        time.sleep(0.3)
        return {"done": [name]}

    for k in range(12):
        yield f"item {k:02}", lambda name=f"item {k:02}": counted(name)


def slow(_: Path) -> Iterator[tuple[str, Call]]:
    yield "slow", hung


def no_plan(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("one")
    raise ImportError("no such package")


def dying_plan(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("one")
    os.abort()


def no_gpu(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("one")
    raise NotRunError("no GPU")


def one_killed(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("before")
    yield "killed", killed
    yield ok("after")


def one_hung(_: Path) -> Iterator[tuple[str, Call]]:
    yield ok("before")
    yield "hung", hung
    yield ok("after")
