"""What the registry knows of the backend `cupy`."""

from __future__ import annotations

import importlib
from typing import Any

from ..backend import Backend, Status
from ..contract import Nodes, Pairs, Request
from ..engine.at_samples import at_samples
from . import probe
from .problem import refuses


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Import the backend, which takes a third of a second, and run it."""
    found: Pairs | Nodes = importlib.import_module(".backend", __package__).run(source, request)
    return found


def status() -> Status:
    """Where the kernels run; see `probe`."""
    return probe.status()


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
    pointwise=at_samples,
)
