"""How many threads the backend `cpu` takes: no more than it was told by any of those who may.

They are the cores that this process may run on, the quota of its container, OMP_NUM_THREADS, a
number of threads of torch's that was lowered, and `limit_threads`.
"""

from __future__ import annotations

import functools
import math
import numbers
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_LIMIT: ContextVar[int | None] = ContextVar("synkern_threads", default=None)


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Let the compiled kernel of backend `cpu` take no more than some threads in a `with` block.

    It holds for calls from this block, in this thread or task; other threads have limits of their
    own. Within another such block the smaller number holds. Without any, the kernel takes a thread
    for each core that the process may use by its affinity and its container's quota, at most
    OMP_NUM_THREADS if that is set (as joblib sets it in its workers), and at most the number of
    torch's threads where that was lowered (as `torch.set_num_threads` does, DataLoader in its
    workers, and threadpoolctl). Results do not depend on the number of threads. Threads of NumPy
    and torch are theirs to limit.

    Args:
        count: threads, 1 or more; may be more than there are cores, which changes nothing.

    Raises:
        ValueError: count is no positive whole number.
    """
    if not isinstance(count, numbers.Integral) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count must be a positive whole number of threads; got {count!r}")
    outer = _LIMIT.get()
    token = _LIMIT.set(int(count) if outer is None else min(int(count), outer))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def threads() -> int:
    """Number of threads that a call may take, see `limit_threads`."""
    cores = _cores()
    limits = (_LIMIT.get(), _quota(), _of_openmp(), _of_torch(cores))
    return max(1, min([cores, *(limit for limit in limits if limit is not None)]))


def _cores() -> int:
    """Number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _of_openmp() -> int | None:
    """OMP_NUM_THREADS; of a list, one number for each level of nesting, the first."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    # What OpenMP does not understand it ignores as well.
    return int(first) if first.isascii() and first.isdigit() and int(first) else None


def _of_torch(cores: int) -> int | None:
    """Torch's number of threads, where it is not torch's own choice: one for each physical core."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return None
    count = int(torch.get_num_threads())
    if count < _torch_began_with(torch):
        return count
    # It may have been lowered before it was first seen.
    return count if count < cores and count < _physical_cores(cores) else None


@functools.cache
def _physical_cores(cores: int) -> int:
    """How many physical cores those are that this process may run on.

    Where the system does not say: at least half, as one is rarely more than two of what it counts.
    """
    with suppress(OSError, AttributeError):
        devices = Path("/sys/devices/system/cpu")
        shared = "topology/thread_siblings_list"
        places = (devices / f"cpu{k}" / shared for k in os.sched_getaffinity(0))
        return len({place.read_text("ascii") for place in places})
    return -(-cores // 2)


@functools.cache
def _torch_began_with(torch: Any) -> int:
    """Its threads when it was first seen; see the end of this module."""
    return int(torch.get_num_threads())


@functools.cache
def _quota() -> int | None:
    """Cores of time that the process's control groups allow it, rounded up."""
    return quota_of(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))


def quota_of(membership: Path, root: Path) -> int | None:
    """The smallest quota of the groups that a file like /proc/self/cgroup lists, None if none.

    Args:
        membership: lines of number, controllers and path, separated by colons.
        root: where the groups are mounted: all in one tree (version 2, without controllers in the
            line), or a tree for each controller (version 1).

    Returns:
        Cores, rounded up.
    """
    quotas = []
    with suppress(OSError, ValueError):
        for line in membership.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            tree = root / "cpu" if controllers else root
            # A group has what all those above it allow. In a container the root is the group
            # itself, and the path may be one that is only there outside.
            group = tree / path.strip("/")
            for folder in (group, *group.parents):
                if folder != tree and tree not in folder.parents:
                    break
                quotas.append(_quota_in(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_in(folder: Path) -> int | None:
    """Quota of one group, in the files of either version."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period)) if quota != "max" else None
    with suppress(OSError, ValueError):
        quota, period = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    return None


if "torch" in sys.modules:
    with suppress(AttributeError):  # torch is being imported itself
        _torch_began_with(sys.modules["torch"])
