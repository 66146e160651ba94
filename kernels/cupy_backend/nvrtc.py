"""How the kernels of `source` are compiled and started."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from .source import OPTIONS, dynamic_memory, source


class Launcher(Protocol):
    """What starts kernels on arrays of one library."""

    @property
    def multiprocessors(self) -> int:
        """Number of multiprocessors of the device."""

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability of the device."""

    def launch(self, name: str, grid: int, block: int, arguments: Sequence[Any]) -> None:
        """Start a kernel, without waiting for it.

        Args:
            name: expression in `source.NAMES`.
            grid: number of blocks.
            block: threads of each.
            arguments: C-contiguous arrays, ints (64 bits) and floats (double).
        """


class DeviceLauncher:
    """Kernels on one GPU, which has to be the current device, on CuPy's current stream.

    NVRTC compiles each of them when it is first started, a fraction of a second; CuPy keeps the
    binary, by source, options and version of the compiler, for later processes.
    """

    def __init__(self, device: int) -> None:
        """Take the device of that number."""
        self._cupy: Any = importlib.import_module("cupy")
        self._functions: dict[str, Any] = {}
        attributes = self._cupy.cuda.Device(device).attributes
        self.multiprocessors = int(attributes["MultiProcessorCount"])
        self.capability = (
            int(attributes["ComputeCapabilityMajor"]),
            int(attributes["ComputeCapabilityMinor"]),
        )

    def launch(self, name: str, grid: int, block: int, arguments: Sequence[Any]) -> None:
        """Start a kernel; see `Launcher`."""
        function = self.function(name)
        values = tuple(map(_argument, arguments))
        function((grid,), (block,), values, shared_mem=dynamic_memory(name))

    def function(self, name: str) -> Any:
        """A kernel, compiled if it has not been."""
        if name not in self._functions:
            # A module for each: few are used, and one with all of them compiles for seconds.
            module = self._cupy.RawModule(
                code=source(), options=OPTIONS, name_expressions=(name,), backend="nvrtc"
            )
            function = module.get_function(name)
            if dynamic_memory(name):
                function.max_dynamic_shared_size_bytes = dynamic_memory(name)
            self._functions[name] = function
        return self._functions[name]


@functools.cache
def device_launcher(device: int) -> DeviceLauncher:
    """The launcher of a device, with what it has compiled."""
    return DeviceLauncher(device)


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return np.int64(value)
    return np.float64(value) if isinstance(value, float) else value
