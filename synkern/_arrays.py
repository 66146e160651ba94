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
        return _incoming_tensor(array, kind, argument)
    if _speaks_dlpack(array):
        back = _namespace(array, argument).from_dlpack
        tensor = torch.utils.dlpack.from_dlpack(array)
        taken = _incoming_tensor(tensor, kind, argument).array
        return Incoming(taken, back)
    if np.ma.isMaskedArray(array):
        raise TypeError(
            f"{argument} is a masked array, whose masked entries would count as data; "
            "fill or remove them first"
        )
    try:
        host = np.asarray(array)
    except ValueError as error:
        raise ValueError(f"{argument} is not an array of equal rows: {error}") from error
    _check_real(host.dtype.kind in "biuf", host.dtype, argument)
    if kind == "numpy":
        return Incoming(host, lambda out: out)
    # torch takes neither foreign byte order nor negative strides, and warns of read-only memory.
    host = np.require(host, np.float64, ["C_CONTIGUOUS", "WRITEABLE"])
    return Incoming(torch.from_numpy(host), lambda out: out.numpy())


def _incoming_tensor(tensor: torch.Tensor, kind: ArrayKind, argument: str) -> Incoming:
    _check_real(not tensor.is_complex(), tensor.dtype, argument)
    if kind == "torch":
        return Incoming(tensor, lambda out: out)
    if tensor.device.type != "cpu":
        raise ValueError(
            f"{argument} is on {tensor.device}, but a NumPy backend reads host memory only; "
            "use backend='torch' or 'auto', or copy it to the CPU"
        )
    if tensor.requires_grad:
        raise ValueError(
            f"{argument} requires a gradient, which a NumPy backend cannot give; "
            "use backend='torch' or pass a detached tensor"
        )
    # NumPy has no bfloat16.
    host = tensor.double() if tensor.is_floating_point() else tensor
    return Incoming(host.numpy(), torch.from_numpy)


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


def _namespace(array: Any, argument: str = "array") -> Any:
    """The module that makes arrays of this kind."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    module = sys.modules[type(array).__module__.partition(".")[0]]
    if not hasattr(module, "from_dlpack"):
        raise TypeError(
            f"{argument}: a {type(array).__name__} hands out its memory by __dlpack__, but "
            f"{module.__name__} has no from_dlpack to take a result; pass "
            "torch.from_dlpack(array) to get torch tensors"
        )
    return module


def _check_real(real: bool, dtype: Any, argument: str) -> None:
    if not real:
        raise TypeError(f"{argument} must hold real numbers; got dtype {dtype}")
