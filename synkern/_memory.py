"""Whether what is about to be computed fits into memory, asked before the work begins."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synkern._arrays import is_cupy, is_tensor
from synkern._faces import Later

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

_UNASKED = 64 << 20
"""Bytes below which nobody asks: files of the system take longer to read than small arrays."""


def require(needed: int, array: Any, what: str, ways: str) -> None:
    """Refuse what does not fit where an array is.

    Args:
        needed: bytes of the output and of what has to be beside it.
        array: of the library and on the device that will hold it.
        what: said of what needs it.
        ways: what would fit, for the message.

    Raises:
        MemoryError: less is free.
    """
    if needed < _UNASKED:
        return
    free = available(array)
    if free is not None and needed > free:
        raise MemoryError(f"{what} take {_size(needed)}, and {_size(free)} are free; take {ways}")


def available(array: Any = None) -> int | None:
    """Free bytes on the device of an array, or in host memory; None where nobody can say."""
    if is_tensor(array) and array.device.type == "cuda":
        device = array.device
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + cached)
    if is_cupy(array):
        cupy = importlib.import_module("cupy")
        with array.device:
            pool = cupy.get_default_memory_pool()
            return int(cupy.cuda.Device().mem_info[0] + pool.free_bytes())
    if is_tensor(array) and array.device.type != "cpu":
        return None
    return min(_host(), default=None)


def _host() -> Iterator[int]:
    """Yield what the machine, the container and the limits of this process leave, in bytes."""
    # Files that do not exist, or say something else, on other systems.
    with contextlib.suppress(OSError, ValueError, KeyError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
        yield 1024 * (kilobytes["MemAvailable"] + kilobytes.get("SwapFree", 0))
    for limit, used, cache in _groups():
        with contextlib.suppress(OSError, ValueError):
            free = int(limit.read_text("ascii")) - int(used.read_text("ascii"))
            yield max(0, free) + _reclaimable(cache)
    with contextlib.suppress(OSError, ValueError, ImportError):
        resource = importlib.import_module("resource")
        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
            yield max(0, soft - pages * os.sysconf("SC_PAGE_SIZE"))


def _groups() -> Iterator[tuple[Path, Path, Path]]:
    """Files of the control groups of this process: limit, use, statistics."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text("utf-8", "replace").splitlines():
            _, controllers, name = line.split(":", 2)
            if not controllers:  # version 2: the limit of any group above counts
                root, names = Path("/sys/fs/cgroup"), ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                root = Path("/sys/fs/cgroup/memory")
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            place = root / name.lstrip("/")
            for folder in (place, *place.parents):
                yield folder / names[0], folder / names[1], folder / "memory.stat"
                if folder == root:
                    break


def _reclaimable(statistics: Path) -> int:
    """Bytes of files that the group keeps in memory and gives back when asked."""
    for line in statistics.read_text("ascii").splitlines():
        name, value = line.split()
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
