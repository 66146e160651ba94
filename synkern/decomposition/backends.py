"""The registry of backends: what can compute all pairs, where it can run, and why not.

A backend is one `Backend` record here and one module in `kernels/`; nothing else knows its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from synkern._arrays import ArrayKind, is_cupy, native
from synkern._tensors import check_kind
from synkern._warnings import warn
from synkern.kernels import Status
from synkern.kernels.cpu_backend.backend import run as run_cpu
from synkern.kernels.cpu_backend.bindings import load as load_cpu
from synkern.kernels.cpu_backend.bindings import obstacle as cpu_obstacle
from synkern.kernels.cupy_backend.probe import obstacle as cupy_obstacle
from synkern.kernels.numpy_backend import run as run_numpy
from synkern.kernels.torch_backend import run as run_torch
from synkern.kernels.triton_backend.probe import torch_status, triton_status


@dataclass(frozen=True)
class Work:
    """What a backend is wanted for.

    Attributes:
        estimator: kind and redundancy; "persistence" is the kind of the persistence reference.
        moments: from moments instead of a series.
        reduces: to means by node.
        pointwise: at every sample, see `phiid_local`.
    """

    estimator: tuple[str, str] = ("gaussian", "MMI")
    moments: bool = False
    reduces: bool = False
    pointwise: bool = False


@dataclass(frozen=True)
class Backend:
    """One way to compute all pairs.

    Attributes:
        name: as in `phiid(..., backend=name)`.
        summary: one line.
        arrays: the kind of array it takes and returns.
        run: `run(series, *, estimator, tau, pooled, names, per_trial, dtype, pairs, reduce) ->
            Pairs | Nodes`, on a checked (trials, time, nodes) array or on `Moments`.
        status: probes this machine, cheaply and without side effects.
        differentiable: whether gradients flow back to the series.
        automatic: kinds of device on which "auto" may choose it.
        refuses: what it cannot do of some work, to follow "does not"; None if it can do all.
        shares: further kinds of array whose memory it takes as it is, and gives back.
        preferred: kinds of array for which "auto" tries it before all others.
        pointwise: the backend whose code gives atoms at every sample where this one is asked for
            them, itself or another; None if none.
        prepare: makes ready what the first use needs; raises RuntimeError if that fails, and says
            why and what would help.
    """

    name: str
    summary: str
    arrays: ArrayKind
    run: Callable[..., Any]
    status: Callable[[], Status]
    differentiable: bool = False
    automatic: tuple[str, ...] = ("cpu", "cuda")
    refuses: Callable[[Work], str | None] = lambda work: None
    shares: tuple[ArrayKind, ...] = ()
    preferred: tuple[ArrayKind, ...] = ()
    pointwise: str | None = None
    prepare: Callable[[], Any] | None = None

    def lacks(self, work: Work) -> str | None:
        """What it cannot do of some work, to follow "does not"; None if it can do all."""
        if work.pointwise and self.pointwise is None:
            return "compute atoms at every sample"
        return self.refuses(work)


def _triton_refuses(work: Work) -> str | None:
    if work.reduces and (work.moments or work.estimator != ("gaussian", "MMI")):
        source = "moments" if work.moments else "a series"
        return f"reduce {' '.join(work.estimator)} of {source} to means by node"
    return None


def _run_triton(*arguments: Any, **options: Any) -> Any:
    # Imported when used: triton takes a second, and not everyone has it.
    backend = importlib.import_module("synkern.kernels.triton_backend.backend")
    return backend.run(*arguments, **options)


def _cpu_status() -> Status:
    obstacle = cpu_obstacle()
    if obstacle is None:
        return Status(("cpu",))
    return Status((), obstacle.why, obstacle.remedy, obstacle.broken)


def _run_cupy(*arguments: Any, **options: Any) -> Any:
    # Imported when used: cupy takes a third of a second, and not everyone has it.
    backend = importlib.import_module("synkern.kernels.cupy_backend.backend")
    return backend.run(*arguments, **options)


def _cupy_status() -> Status:
    obstacle = cupy_obstacle()
    return Status((), *obstacle) if obstacle else Status(("cuda",))


BACKENDS: tuple[Backend, ...] = (
    Backend(
        name="cpu",
        summary="compiled for this machine at first use; vectors of pairs, threads over tiles",
        arrays="numpy",
        run=run_cpu,
        status=_cpu_status,
        shares=("torch",),
        pointwise="numpy",
        prepare=load_cpu,
    ),
    Backend(
        name="numpy",
        summary="whole-array tiles on NumPy arrays; threads only in matrix products",
        arrays="numpy",
        run=run_numpy,
        status=lambda: Status(("cpu",)),
        pointwise="numpy",
    ),
    Backend(
        name="triton",
        summary="one fused kernel for all pairs and trials on a GPU; differentiable",
        arrays="torch",
        run=_run_triton,
        status=triton_status,
        differentiable=True,
        automatic=("cuda",),
        refuses=_triton_refuses,
        shares=("cupy",),
    ),
    Backend(
        name="cupy",
        summary="CUDA C++ for all pairs and trials on an NVIDIA GPU; all estimators",
        arrays="cupy",
        run=_run_cupy,
        status=_cupy_status,
        automatic=("cuda",),
        shares=("torch",),
        preferred=("cupy",),
        pointwise="cupy",
    ),
    Backend(
        name="torch",
        summary="whole-array tiles on torch tensors of any device; differentiable",
        arrays="torch",
        run=run_torch,
        status=torch_status,
        differentiable=True,
        shares=("cupy",),
        pointwise="torch",
    ),
)
"""All of them, in the order in which `auto` prefers them."""


def select(name: str, array: Any, work: Work) -> Backend:
    """The backend of that name; for "auto" the first that can take the array as and where it is.

    What the first use of a backend needs is made ready here. If that fails, or is known to have
    failed, "auto" says so, once in a process, and goes on; it is not tried again in this process
    unless the backend is asked for by name.

    Args:
        name: of a backend, or "auto".
        array: a series, or one of the moments.
        work: what is to be computed of it.

    Raises:
        ValueError: unknown name; a backend that cannot run here or does not compute this, with the
            reason and a remedy.
        TypeError: a kind of tensor that none takes.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    if name != "auto" and name not in by_name:
        raise ValueError(f"backend must be 'auto' or one of {', '.join(by_name)}; got {name!r}")
    if isinstance(array, torch.Tensor):
        check_kind(array, "series")
    kind, device = ("cupy", "cuda") if is_cupy(array) else native(array)
    if name != "auto":
        return _named(by_name[name], device, work)
    with_gradient = isinstance(array, torch.Tensor) and array.requires_grad
    for backend in sorted(BACKENDS, key=lambda backend: kind not in backend.preferred):
        fits = kind in (backend.arrays, *backend.shares) and device in backend.automatic
        if backend.lacks(work) or (with_gradient and not backend.differentiable):
            continue
        if work.pointwise and backend.pointwise != backend.name:
            continue
        if fits and _ready(backend, device):
            return backend
    raise _cannot(name, device, BACKENDS)


def _named(backend: Backend, device: str, work: Work) -> Backend:
    if lack := backend.lacks(work):
        raise ValueError(
            f"backend {backend.name!r} does not {lack}; choose backend='auto' or 'torch'"
        )
    # What failed before is tried again when it is asked for by name.
    if device not in backend.status().devices and (backend.prepare is None or device != "cpu"):
        raise _cannot(backend.name, device, [backend])
    if work.pointwise and backend.pointwise != backend.name:
        return backend  # The other's code needs nothing of this one's.
    try:
        if backend.prepare:
            backend.prepare()
    except RuntimeError as error:
        raise ValueError(f"backend {backend.name!r} cannot run here: {error}") from error
    _FAILED.discard(backend.name)
    return backend


def _ready(backend: Backend, device: str) -> bool:
    if backend.name in _FAILED:
        return False
    status = backend.status()
    if device not in status.devices:
        if status.broken:
            _say(backend, _reason(status))
        return False
    try:
        if backend.prepare:
            backend.prepare()
    except RuntimeError as error:
        _FAILED.add(backend.name)
        _say(backend, error)
        return False
    return True


_FAILED: set[str] = set()
"""Backends that could not be made ready in this process."""

_SAID: set[str] = set()
"""Backends whose failure has been said."""


def _say(backend: Backend, why: Any) -> None:
    if backend.name not in _SAID:
        _SAID.add(backend.name)
        warn(f"backend {backend.name!r} is left out: {why}")


def _cannot(name: str, device: str, tried: Sequence[Backend]) -> ValueError:
    reasons = "; ".join(f"{b.name}: {_reason(b.status())}" for b in tried)
    return ValueError(
        f"backend {name!r} cannot compute a series on device {device!r} here ({reasons}); "
        "move the series to the CPU, or choose another backend"
    )


def _reason(status: Status) -> str:
    why = status.why or f"runs on {' and '.join(status.devices)} only"
    return f"{why}; {status.remedy}" if status.remedy else why
