"""What the registry knows of the backend `cupy`, and whether it runs here."""

from __future__ import annotations

import importlib
from typing import Any

from ..contract import Backend, Nodes, Pairs, Request, Status
from .probe import obstacle
from .problem import refuses


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Import the backend, which takes a third of a second, and run it."""
    found: Pairs | Nodes = importlib.import_module(".backend", __package__).run(source, request)
    return found


def status() -> Status:
    """Whether CuPy, a GPU and a compiler for it are there."""
    found = obstacle()
    return Status((), *found) if found else Status(("cuda",))


BACKEND = Backend(
    name="cupy",
    summary="CUDA C++ for all pairs and trials on an NVIDIA GPU; all estimators",
    arrays="cupy",
    run=run,
    status=status,
    automatic=("cuda",),
    refuses=refuses,
    shares=("torch",),
    preferred=("cupy",),
    pointwise="cupy",
)
