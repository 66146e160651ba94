"""CuPy as a library of whole-array operations, for what its kernels leave to Python."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..contract import Array


class DeviceLibrary:
    """`eager.Library` of CuPy's interface, on the current device."""

    def __init__(self, xp: Any) -> None:
        """Of cupy."""
        self.xp = xp

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Array) -> Array:
        """Zeros, on the device of `like`, which is the current one."""
        del like
        return self.xp.zeros(shape, dtype)

    def arange(self, stop: int, like: Array) -> Array:
        """Whole numbers 0 ... stop - 1, on the device of `like`, which is the current one."""
        del like
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
        """As NumPy."""
        return array.get() if hasattr(array, "get") else np.asarray(array)


def cupy_library() -> DeviceLibrary:
    """The library of CuPy, which is imported here."""
    return DeviceLibrary(importlib.import_module("cupy"))
