"""What the NVIDIA driver says of its GPUs, asked in less than a millisecond and without a library.

A kernel of ours needs compute capability 8.0: matrix products in float64 on tensor cores.
"""

from __future__ import annotations

import ctypes
import functools
import sys

from ..backend import Status

OLDEST_CAPABILITY = (8, 0)
"""NVRTC refuses the products of `mmi_series` for less; triton does not claim to support less."""

_REMEDY = "a GPU of compute capability 8.0 or later (Ampere); backend='torch' computes on any"

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


class Obstacle(Exception):  # noqa: N818, as nothing need be wrong
    """What keeps something from running, and what would help: its two arguments."""


@functools.cache
def capabilities() -> tuple[tuple[int, int], ...]:
    """Compute capability of every GPU that this process may use, in the order of their numbers.

    Kept once it is known, as it does not change while the process lives.

    Raises:
        Obstacle: there is no driver or no device, or the driver does not start. It is asked again
            at the next call.
    """
    driver, number = _driver()
    # (An Obstacle is not kept: `cache` keeps what is returned.)
    return tuple(_capability(driver, device) for device in range(number))


def gpus() -> Status:
    """Status of kernels that need what ours need, where nothing but the GPU may be missing.

    Raises:
        Obstacle: as `capabilities`.
    """
    found = capabilities()
    old = [number for number, capability in enumerate(found) if capability < OLDEST_CAPABILITY]
    if not old:
        return Status(("cuda",))
    said = " and ".join(f"GPU {number} has {_dotted(found[number])}" for number in old)
    why = f"its kernels need compute capability {_dotted(OLDEST_CAPABILITY)}, but {said}"
    if len(old) == len(found):
        return Status((), why, _REMEDY)
    return Status(("cuda",), why, _REMEDY, numbers=tuple({*range(len(found))} - {*old}))


def _dotted(capability: tuple[int, int]) -> str:
    return "{}.{}".format(*capability)


def _driver() -> tuple[ctypes.CDLL, int]:
    """The driver's library, and its number of devices, at least one."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        raise Obstacle(
            f"no NVIDIA driver: {name} is not to be found", "install the NVIDIA driver"
        ) from None
    failed = int(driver.cuInit(0))
    count = ctypes.c_int(0)
    if not failed:
        failed = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if failed == _NO_DEVICE or (not failed and count.value == 0):
        raise Obstacle(
            "an NVIDIA driver, but no device that it may use",
            "nvidia-smi lists devices; CUDA_VISIBLE_DEVICES may hide them",
        )
    _check(failed)
    return driver, count.value


def _capability(driver: ctypes.CDLL, number: int) -> tuple[int, int]:
    device = ctypes.c_int(0)
    _check(int(driver.cuDeviceGet(ctypes.byref(device), number)))
    found = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int(0)
        _check(int(driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)))
        found.append(value.value)
    return found[0], found[1]


def _check(failed: int) -> None:
    if failed:
        raise Obstacle(
            f"the NVIDIA driver does not start: CUDA error {failed}", "nvidia-smi tells more"
        )
