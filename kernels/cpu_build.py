"""Compiles the sources in `native/` for this machine, once, into the user's cache.

A library is named by a digest of what it depends on: sources, flags, compiler and processor. So it
is never stale, and machines that share a home directory do not run each other's code. It is written
beside its final name and renamed, so that several first uses at once are safe.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).with_name("native")

FLAGS = (
    "-std=c++17",
    "-O2",
    "-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native",
    # Sums of products are fused, functions set no errno and operations do not trap: nothing of it
    # changes what a NaN is. -ffast-math would, and sets flush-to-zero for the process on loading.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-pthread",
)

GCC_FLAGS = ("-ftree-loop-vectorize", "-fvect-cost-model=dynamic", "-fno-tree-slp-vectorize")
"""Loops as clang takes them at -O2; straight code is vectors already, and table look-ups lose."""

TIMEOUT = 600
"""Seconds until a build counts as failed; it takes 3 to 4, but ziglang builds its own C++ library
first, once, which takes a minute or two."""

NO_COMPILER = "no C++ compiler: no c++, g++ or clang++ on PATH, no $CXX, no package ziglang"
REMEDY = "install g++ or clang++, or pip install synkern[cpu]"


class BuildError(RuntimeError):
    """The library could not be built; the message says why and what would help."""


def compiler() -> tuple[str, ...] | None:
    """The command of a C++ compiler, or None; looks at names only, and runs nothing.

    $CXX if it is set, c++, g++ and clang++ in the order of PATH's own search, then the package
    `ziglang`, a compiler in a wheel.
    """
    if asked := shlex.split(os.environ.get("CXX", "")):
        found = shutil.which(asked[0])
        return (found, *asked[1:]) if found else None
    for name in ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return (found,)
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "c++")
    return None


@functools.cache
def flags(command: Sequence[str]) -> tuple[str, ...]:
    """What the compiler is told.

    Raises:
        BuildError: it does not even tell its version.
    """
    return (*FLAGS, *GCC_FLAGS) if "Free Software Foundation" in _version(command) else FLAGS


def library() -> Path:
    """The compiled library, built first if it is not in the cache.

    Raises:
        BuildError: there is no compiler, or it fails.
    """
    command = compiler()
    if command is None:
        raise BuildError(f"{NO_COMPILER}; {REMEDY}")
    path = cache_folder() / f"cpu-{_digest(command)}.so"
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _build(command, path)
        return path
    except OSError as error:
        raise BuildError(
            f"the compiled library cannot be kept in {path.parent}: {error}; "
            "set XDG_CACHE_HOME to a folder that can be written"
        ) from error


def obstacle() -> tuple[str, str] | None:
    """What keeps the library from being had, as far as known without building it, and a remedy.

    A build that failed is not tried again by itself, as long as compiler, sources and processor are
    the same.
    """
    command = compiler()
    if command is None:
        return NO_COMPILER, REMEDY
    try:
        note = _failure_note(cache_folder() / f"cpu-{_digest(command)}.so")
        if note.exists():
            return note.read_text().partition("\n")[0], _retry(note)
    except BuildError as error:
        return str(error), REMEDY
    return None


def _retry(note: Path) -> str:
    return f"{note} tells more: remove it to have the build tried again, or choose CXX"


def cache_folder() -> Path:
    """Where this user's caches lie; $XDG_CACHE_HOME says otherwise."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "synkern"
    home = Path.home()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "synkern"


def _build(command: Sequence[str], path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=path.parent) as folder:
        output = Path(folder) / path.name
        line = [*command, *flags(command), str(SOURCES / "host.cpp"), "-o", str(output)]
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
            said = done.stderr.strip() or f"exit code {done.returncode}"
            failed = done.returncode != 0 or not output.exists()
        except subprocess.TimeoutExpired:
            said, failed = f"no end after {TIMEOUT} s", True
        if failed:
            first = next((text for text in said.splitlines() if "error" in text), said[:500])
            message = f"{shlex.join(line[: len(command)])} cannot build the library: {first}"
            _failure_note(path).write_text(f"{message}\n\n{shlex.join(line)}\n{said}\n")
            raise BuildError(f"{message}; {_retry(_failure_note(path))}")
        os.replace(output, path)
        _failure_note(path).unlink(missing_ok=True)


def _failure_note(path: Path) -> Path:
    return path.with_suffix(".failed.txt")


@functools.cache
def _digest(command: Sequence[str]) -> str:
    """Of all that the compiled code depends on."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in (".h", ".cpp"):
            digest.update(source.name.encode() + source.read_bytes())
    for part in (*command, *flags(command), _version(command), platform.platform(), _processor()):
        digest.update(b"\0" + part.encode())
    return digest.hexdigest()[:24]


@functools.cache
def _version(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{shlex.join(command)} --version fails: {error}; {REMEDY}") from error
    return done.stdout


def _processor() -> str:
    """What tells processors with other instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    kept = ("model name", "flags", "Features", "CPU part", "CPU implementer")
    return "\n".join(sorted({line for line in lines if line.startswith(kept)}))
