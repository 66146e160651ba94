"""Choice of the backend that takes an array: the one that is asked for, or the first that can.

The backends themselves are records of `kernels/`; see `kernels/registry.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synkern._arrays import check_kind, gpu_number, is_cupy, is_tensor, native
from synkern._faces import has_torch, torch_missing
from synkern._warnings import warn
from synkern.kernels import BACKENDS, Backend, Status, Wanted


def select(name: str, array: Any, wanted: Wanted) -> Backend:
    """The backend of that name; for "auto" the first that can take the array as and where it is.

    What the first use of a backend needs is made ready here. If that fails, or is known to have
    failed, "auto" says so, once in a process, and goes on; it is not tried again in this process
    unless the backend is asked for by name.

    Args:
        name: of a backend, or "auto".
        array: a series, or one of the moments.
        wanted: what is to be computed of it.

    Raises:
        ValueError: unknown name; a backend that cannot run here or does not compute this, with the
            reason and a remedy.
        TypeError: a kind of tensor that none takes.
        MissingExtraError: an ImportError: a backend that needs torch, where there is none.
    """
    by_name = {backend.name: backend for backend in BACKENDS}
    if name != "auto" and name not in by_name:
        raise ValueError(f"backend must be 'auto' or one of {', '.join(by_name)}; got {name!r}")
    check_kind(array, "series")
    kind, device = ("cupy", "cuda") if is_cupy(array) else native(array)
    number = gpu_number(array) if device == "cuda" else None
    if name != "auto":
        return named(by_name[name], device, number, wanted)
    with_gradient = is_tensor(array) and array.requires_grad
    for backend in sorted(BACKENDS, key=lambda backend: kind not in backend.preferred):
        fits = kind in (backend.arrays, *backend.shares) and device in backend.automatic
        if backend.lacks(wanted) or (with_gradient and not backend.differentiable):
            continue
        if fits and _ready(backend, device, number):
            return backend
    raise _cannot(name, device, BACKENDS)


def refuse_lack(backend: Backend, wanted: Wanted) -> None:
    """Raise ValueError unless a backend computes this, wherever it runs."""
    if lack := backend.lacks(wanted):
        raise ValueError(
            f"backend {backend.name!r} does not {lack}; choose backend='auto' or 'torch'"
        )


def named(backend: Backend, device: str, number: int | None, wanted: Wanted) -> Backend:
    """Check a backend that was asked for by its name, for what is on a device; see `select`."""
    refuse_lack(backend, wanted)
    if backend.arrays == "torch" and not has_torch():
        extra = "triton" if backend.name == "triton" else "torch"
        raise torch_missing(f"backend={backend.name!r}", extra)
    # What failed before is tried again when it is asked for by name.
    takes = backend.status().takes(device, number)
    if not takes and (backend.prepare is None or device != "cpu"):
        raise _cannot(backend.name, device, [backend])
    try:
        if backend.prepare:
            backend.prepare()
    except RuntimeError as error:
        raise ValueError(f"backend {backend.name!r} cannot run here: {error}") from error
    _FAILED.discard(backend.name)
    return backend


def _ready(backend: Backend, device: str, number: int | None) -> bool:
    if backend.name in _FAILED:
        return False
    status = backend.status()
    if not status.takes(device, number):
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
