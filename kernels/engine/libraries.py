"""The libraries of arrays that the engine computes with, each as a `contract.Library`.

torch and CuPy are imported when their library is asked for, and not before.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from typing import Any

import numpy as np

from ..backend import Status
from ..contract import Array


class _InTwoPasses:
    """What takes a library a pass for the product and one for the sum."""

    fuses = False

    def add_product(self, target: Array, one: Array, other: Array) -> None:
        """Add a product of arrays that broadcast to target, in place."""
        target += one * other

    def minus_square(self, value: Array, root: Array) -> Array:
        """A value less the square of another."""
        return value - root * root


class NumPyLibrary(_InTwoPasses):
    """NumPy, in host memory."""

    xp: Any = np

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros in host memory."""
        return np.zeros(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Host memory that is going to be written."""
        return np.empty(shape, dtype)

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1."""
        return np.arange(stop)

    def cast(self, array: Array, dtype: str) -> Array:
        """The array in another dtype; itself where it has that dtype already."""
        return array.astype(dtype, copy=False)

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""
        return values * mask

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur."""
        np.add.at(target, index, values)


class TorchLibrary:
    """torch, on the device of the tensors."""

    fuses = True

    def __init__(self, xp: Any) -> None:
        """Take the module torch."""
        self.xp = xp

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`."""
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=like.device)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Memory that is going to be written, on the device of `like`."""
        return self.xp.empty(shape, dtype=getattr(self.xp, dtype), device=like.device)

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`."""
        return self.xp.arange(stop, device=like.device)

    def cast(self, array: Array, dtype: str) -> Array:
        """The tensor in another dtype; itself where it has that dtype already."""
        return array.to(getattr(self.xp, dtype))

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""
        # Bytes are converted with vector instructions, truth values one by one.
        return values * mask.view(self.xp.uint8)

    def add_product(self, target: Array, one: Array, other: Array) -> None:
        """Add a product of arrays that broadcast to target, in place."""
        target.addcmul_(one, other)

    def minus_square(self, value: Array, root: Array) -> Array:
        """A value less the square of another."""
        return self.xp.addcmul(value, root, root, value=-1)

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur."""
        target.index_put_(index, values, accumulate=True)


class CuPyLibrary(_InTwoPasses):
    """CuPy, on the current device."""

    def __init__(self, xp: Any) -> None:
        """Take the module cupy."""
        self.xp = xp

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`, which is the current one."""
        return self.xp.zeros(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Memory that is going to be written, on the device of `like`, the current one."""
        return self.xp.empty(shape, dtype)

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`, which is the current one."""
        return self.xp.arange(stop)

    def cast(self, array: Array, dtype: str) -> Array:
        """The array in another dtype; itself where it has that dtype already."""
        return array.astype(dtype, copy=False)

    def keep(self, values: Array, mask: Array) -> Array:
        """Finite values where the mask is true, 0 elsewhere."""
        return values * mask

    def add_at(self, target: Array, index: tuple[Array, ...], values: Array) -> None:
        """Add values to target in place, to repeated entries as often as they occur.

        Values for the same entry are added up on the host first, in their order: `cupy.add.at` adds
        by atomic operations, whose order changes from run to run.
        """
        if not len(values):
            return
        place = np.ravel_multi_index([self.to_host(part) for part in index], target.shape)
        unique, repeated = np.unique(place, return_inverse=True)
        total = np.bincount(repeated, self.to_host(values).astype(np.float64))
        at = tuple(map(self.xp.asarray, np.unravel_index(unique, target.shape)))
        target[at] += self.xp.asarray(total.astype(values.dtype))

    def to_host(self, array: Array) -> Any:
        """The array in host memory, as one of NumPy."""
        return array.get() if hasattr(array, "get") else np.asarray(array)


NUMPY = NumPyLibrary()


@functools.cache
def torch_library() -> TorchLibrary:
    """The library of torch, which is imported here."""
    return TorchLibrary(importlib.import_module("torch"))


def torch_status() -> Status:
    """Say where torch computes on this machine; both backends that take its tensors build on it."""
    if importlib.util.find_spec("torch") is None:
        return Status((), "torch is not installed", "pip install 'synkern[torch]'")
    torch = torch_library().xp
    if torch.cuda.is_available():
        return Status(("cpu", "cuda"))
    if torch.version.cuda is None and torch.version.hip is None:
        return Status(
            ("cpu",), "no GPU: this torch is a CPU build", "install a CUDA or ROCm build of torch"
        )
    return Status(("cpu",), "no GPU: torch sees no CUDA device or driver", "nvidia-smi tells more")


def cupy_library() -> CuPyLibrary:
    """The library of CuPy, which is imported here."""
    return CuPyLibrary(importlib.import_module("cupy"))
