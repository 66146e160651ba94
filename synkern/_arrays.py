"""Arrays in and out: the caller's kind of array to a backend's and back, without a copy where
the memory can be shared.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.utils.dlpack

ArrayKind = Literal["numpy", "torch"]

_DLPACK_CPU = 1  # kDLCPU of the DLPack specification


class Incoming(NamedTuple):
    """An array as a backend takes it, and the way back.

    Attributes:
        array: numpy.ndarray or torch.Tensor.
        restore: turns a backend's array into the caller's kind, on the caller's device.
    """

    array: Any
    restore: Callable[[Any], Any]


def native(array: Any) -> tuple[ArrayKind, str]:
    """The library that takes an array without a copy, and its kind of device, "cpu" or "cuda"."""
    if isinstance(array, torch.Tensor):
        return "torch", array.device.type
    if _speaks_dlpack(array):
        return "torch", "cpu" if array.__dlpack_device__()[0] == _DLPACK_CPU else "cuda"
    return "numpy", "cpu"


def incoming(array: Any, kind: ArrayKind, *, argument: str) -> Incoming:
    """Take in NumPy, torch, anything with DLPack (CuPy, JAX), or what `numpy.asarray` takes.

    Args:
        array: the caller's array.
        kind: what the backend works on.
        argument: name of the argument, for messages.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: a NumPy backend was chosen for data on another device or with a gradient.
    """
    if isinstance(array, torch.Tensor):
        _check_real(not array.is_complex(), array.dtype, argument)
        if kind == "torch":
            return Incoming(array, lambda out: out)
        _check_host(array, argument)
        if array.requires_grad:
            raise ValueError(
                f"{argument} requires a gradient, which a NumPy backend cannot give; "
                "use backend='torch' or pass a detached tensor"
            )
        return Incoming(array.numpy(), torch.from_numpy)
    if _speaks_dlpack(array):
        namespace = _namespace(array)
        if kind == "numpy":
            _check_host(array, argument)
            return Incoming(np.from_dlpack(array), namespace.from_dlpack)
        tensor = torch.utils.dlpack.from_dlpack(array)
        _check_real(not tensor.is_complex(), tensor.dtype, argument)
        return Incoming(tensor, namespace.from_dlpack)
    host = np.asarray(array)
    _check_real(host.dtype.kind in "biuf", host.dtype, argument)
    if kind == "numpy":
        return Incoming(host, lambda out: out)
    # torch takes neither foreign byte order nor negative strides, and warns of read-only memory.
    host = np.require(host, np.float64, ["C_CONTIGUOUS", "WRITEABLE"])
    return Incoming(torch.from_numpy(host), lambda out: out.numpy())


def to_numpy(array: Any) -> Any:
    """A backend's or a caller's array as NumPy, copied from its device where it must be."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().numpy()
    if _speaks_dlpack(array) and hasattr(array, "get"):  # CuPy copies only when asked to.
        return array.get()
    return np.asarray(array)


def like(host: Any, array: Any) -> Any:
    """A NumPy array as the kind of `array`, on its device."""
    if isinstance(array, np.ndarray):
        return host
    if isinstance(array, torch.Tensor):
        return torch.from_numpy(host).to(array.device)
    return _namespace(array).asarray(host)


def _speaks_dlpack(array: Any) -> bool:
    """Whether it is an array of another library than NumPy and torch that shares its memory."""
    return hasattr(array, "__dlpack__") and not isinstance(array, np.ndarray | torch.Tensor)


def _namespace(array: Any) -> Any:
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules[type(array).__module__.partition(".")[0]]


def _check_real(real: bool, dtype: Any, argument: str) -> None:
    if not real:
        raise TypeError(f"{argument} must hold real numbers; got dtype {dtype}")


def _check_host(array: Any, argument: str) -> None:
    if native(array)[1] != "cpu":
        where = getattr(array, "device", "another device")
        raise ValueError(
            f"{argument} is on {where}, but a NumPy backend reads host memory only; "
            "use backend='torch' or 'auto', or copy it to the CPU"
        )
