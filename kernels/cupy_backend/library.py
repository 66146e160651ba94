"""The library of CuPy under its name of before."""

from ..engine.libraries import CuPyLibrary as DeviceLibrary
from ..engine.libraries import cupy_library

__all__ = ["DeviceLibrary", "cupy_library"]
