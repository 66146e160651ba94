"""The registry of backends: what can compute all pairs, where it can run, and why not.

A backend is one `Backend` record here and one module in `kernels/`; nothing else knows its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from synkern._arrays import ArrayKind, native
from synkern.kernels.numpy_backend import run as run_numpy
from synkern.kernels.torch_backend import run as run_torch


@dataclass(frozen=True)
class Status:
    """Where a backend can run on this machine.

    Attributes:
        devices: kinds of device it can run on now, such as ("cpu", "cuda"); empty if none.
        why: what keeps it from running (on more devices), None if nothing does.
        remedy: what would help, None if nothing has to.
    """

    devices: tuple[str, ...]
    why: str | None = None
    remedy: str | None = None

    @property
    def available(self) -> bool:
        """Whether it can run at all."""
        return bool(self.devices)


@dataclass(frozen=True)
class Backend:
    """One way to compute all pairs.

    Attributes:
        name: as in `phiid(..., backend=name)`.
        summary: one line.
        arrays: the kind of array it takes and returns.
        run: `run(series, *, estimator, tau, pooled, names, per_trial, dtype) ->
            kernels.eager.Pairs`, on a checked (trials, time, nodes) array.
        status: probes this machine, cheaply and without side effects.
        differentiable: whether gradients flow back to the series.
    """

    name: str
    summary: str
    arrays: ArrayKind
    run: Callable[..., Any]
    status: Callable[[], Status]
    differentiable: bool = False


def _torch_status() -> Status:
    if torch.cuda.is_available():
        return Status(("cpu", "cuda"))
    if torch.version.cuda is None and torch.version.hip is None:
        return Status(
            ("cpu",), "no GPU: this torch is a CPU build", "install a CUDA or ROCm build of torch"
        )
    return Status(("cpu",), "no GPU: torch sees no CUDA device or driver", "nvidia-smi tells more")


BACKENDS: tuple[Backend, ...] = (
    Backend(
        name="numpy",
        summary="whole-array tiles on NumPy arrays; threads only in matrix products",
        arrays="numpy",
        run=run_numpy,
        status=lambda: Status(("cpu",)),
    ),
    Backend(
        name="torch",
        summary="whole-array tiles on torch tensors of any device; differentiable",
        arrays="torch",
        run=run_torch,
        status=_torch_status,
        differentiable=True,
    ),
)
"""All of them, in the order in which `auto` prefers them."""


def select(name: str, array: Any) -> Backend:
    """The backend of that name; for "auto" the first that can take the array as and where it is.

    Raises:
        ValueError: unknown name; a backend that cannot run here, with the reason and a remedy.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    if name != "auto" and name not in by_name:
        raise ValueError(f"backend must be 'auto' or one of {', '.join(by_name)}; got {name!r}")
    kind, device = native(array)
    tried = [b for b in BACKENDS if name in ("auto", b.name)]
    for backend in tried:
        fits = backend.arrays == kind or name != "auto"
        if fits and device in backend.status().devices:
            return backend
    reasons = "; ".join(f"{b.name}: {_reason(b.status())}" for b in tried)
    raise ValueError(
        f"backend {name!r} cannot compute a series on device {device!r} here ({reasons}); "
        "move the series to the CPU, or choose another backend"
    )


def _reason(status: Status) -> str:
    why = status.why or f"runs on {' and '.join(status.devices)} only"
    return f"{why}; {status.remedy}" if status.remedy else why
