"""Where triton can run on this machine, told without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

import torch

from ..contract import Status

_OLDEST_TRITON = (3, 6)


def torch_status() -> Status:
    """Where torch computes on this machine."""
    if torch.cuda.is_available():
        return Status(("cpu", "cuda"))
    if torch.version.cuda is None and torch.version.hip is None:
        return Status(
            ("cpu",), "no GPU: this torch is a CPU build", "install a CUDA or ROCm build of torch"
        )
    return Status(("cpu",), "no GPU: torch sees no CUDA device or driver", "nvidia-smi tells more")


def triton_status() -> Status:
    """Where triton computes on this machine, and why not elsewhere; triton is not imported."""
    if importlib.util.find_spec("triton") is None:
        return Status((), "triton is not installed", "pip install 'synkern[triton]' (Linux)")
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # ROCm's has another name, and torch's version.
        version = None
    if version is not None and tuple(map(int, version.split(".")[:2])) < _OLDEST_TRITON:
        return Status((), f"triton {version} is too old", "pip install 'triton>=3.6'")
    # triton reads its own variable when its kernels are defined: they run on the CPU, or on a GPU.
    if os.environ.get("TRITON_INTERPRET") == "1":
        return Status(
            ("cpu",),
            "TRITON_INTERPRET=1: triton interprets its kernels on the CPU, slowly, as a test",
            "unset it to use a GPU",
        )
    if torch.cuda.is_available():
        return Status(("cuda",))
    return Status((), torch_status().why, "a GPU of compute capability 8.0 or later, or CDNA 3")


def triton_computes_on(device: str) -> bool:
    """Whether a GPU of that kind is there and triton compiles for it."""
    return device == "cuda" and device in triton_status().devices
