"""What the registry knows of the backend `triton`, and where it runs."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
from typing import Any

from ..backend import Backend, Status, Wanted
from ..contract import Key, Nodes, Pairs, Request
from ..engine.driver import Obstacle, gpus
from ..engine.libraries import torch_library, torch_status

OLDEST = (3, 6)
"""Version of triton."""

BY_NODE: frozenset[tuple[Key, bool]] = frozenset({(("gaussian", "MMI"), False)})
"""What has a kernel for sums by node: estimator, and whether from moments; see `backend.NODES`."""


_WHY_NOT = {
    False: "only Gaussian MMI has a Triton kernel that adds up its tiles by node; backend 'cupy' "
    "has one for every estimator, and takes the same tensors",
    True: "moments are matrices of all pairs already, so that sums by node save no memory; phiid "
    "gives all pairs with this backend",
}
"""Why not, by whether from moments; see README.md here, "Means by node"."""


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Import the backend, which takes a second, and run it."""
    found: Pairs | Nodes = importlib.import_module(".backend", __package__).run(source, request)
    return found


def status() -> Status:
    """Whether triton is there, and a GPU that it compiles for, or its interpreter.

    A choice of "auto" for a tensor on a GPU asks, so that triton is installed is found out once.
    """
    try:
        _check_package()
    except Obstacle as obstacle:
        return Status((), *obstacle.args)
    # triton reads its own variable when its kernels are defined: they run on the CPU, or on a GPU.
    if os.environ.get("TRITON_INTERPRET") == "1":
        return Status(
            ("cpu",),
            "TRITON_INTERPRET=1: triton interprets its kernels on the CPU, slowly, as a test",
            "unset it to use a GPU",
        )
    of_torch = torch_status()
    if not of_torch.available:
        return Status((), of_torch.why, "pip install 'synkern[triton]' (Linux)")
    if "cuda" not in of_torch.devices:
        return Status((), of_torch.why, "a GPU of compute capability 8.0 or later, or CDNA 3")
    try:
        return Status(("cuda",)) if torch_library().xp.version.hip else gpus()
    except Obstacle:  # The driver is not where it is looked for, but torch has found it.
        return Status(("cuda",))


@functools.cache
def _check_package() -> None:
    if importlib.util.find_spec("triton") is None:
        raise Obstacle("triton is not installed", "pip install 'synkern[triton]' (Linux)")
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # ROCm's has another name, and torch's version.
        return
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise Obstacle(f"triton {version} is too old", "pip install 'triton>=3.6'")


def _refuses(wanted: Wanted) -> str | None:
    if wanted.by_node and (wanted.estimator, wanted.moments) not in BY_NODE:
        source = "moments" if wanted.moments else "a series"
        return (
            f"reduce {' '.join(wanted.estimator)} of {source} to means by node: "
            f"{_WHY_NOT[wanted.moments]}"
        )
    return None


BACKEND = Backend(
    name="triton",
    summary="one fused kernel for all pairs and trials on a GPU; differentiable",
    arrays="torch",
    run=run,
    status=status,
    differentiable=True,
    automatic=("cuda",),
    refuses=_refuses,
    shares=("cupy",),
)
