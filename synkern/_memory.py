"""How much memory a computation may still take, so that it can be refused instead of killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
# Files of version 2 and of version 1: the limit, what is used of it, and by what name the part of
# that which the kernel would give back (pages of files not in use) stands in `memory.stat`.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available() -> int | None:
    """Bytes that this process can take before the machine or its container runs out of memory.

    The least of what the machine has free and of what the limits of the process's control groups
    (those of a container or a batch job) and of its address space leave. None where the system does
    not say.
    """
    return min(_all_limits(), default=None)


def said(size: float) -> str:
    """A number of bytes for people to read, in decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.3g} {unit}" if size < 1e15 else f"{size / factor:,.0f} {unit}"
    return f"{max(size, 0) / 1e3:.0f} kB"


def _all_limits() -> Iterator[int]:
    with suppress(OSError, ValueError, KeyError):
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        yield 1024 * int(fields["MemAvailable"].split()[0])
    if not Path("/proc/meminfo").exists():
        # Elsewhere than on Linux only what is built in is known, not what is free.
        with suppress(OSError, ValueError, AttributeError):
            yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups():
        for limit, used, reclaimable in _GROUP_FILES:
            with suppress(OSError, ValueError):
                most = int((folder / limit).read_text("utf-8"))  # "max" is no limit
                left = most - int((folder / used).read_text("utf-8"))
                yield max(0, left + _stat(folder / "memory.stat", reclaimable))
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  there is none on Windows

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
            yield max(0, most - pages * resource.getpagesize())


def _groups() -> Iterator[Path]:
    """The control groups of this process and those above, whose limits count as well."""
    lines: list[str] = []
    with suppress(OSError, ValueError):
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        folder = root / path.lstrip("/")
        # Inside a container the path may be one of the host, and the root is the container's own.
        yield from (f for f in (folder, *folder.parents) if f == root or root in f.parents)


def _stat(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text("utf-8").splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0
