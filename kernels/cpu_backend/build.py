"""Compiles the sources in `kernels/native/` for this machine, once, into the user's cache.

A library is named by a digest of what it depends on: sources, flags, compiler and processor. So it
is never stale, and machines that share a home directory do not run each other's code. Where it is
kept, and what makes that safe, is in `cpu_cache`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import cache
from .cache import BuildError

SOURCES = Path(__file__).parents[1] / "native"

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

VERSION_TIMEOUT = 20
"""Seconds in which a compiler has to tell its version; it takes 0.01, ziglang 1."""

NO_COMPILER = "no C++ compiler: no c++, g++ or clang++ on PATH, no $CXX, no package ziglang"
REMEDY = "install g++ or clang++, or pip install synkern[cpu]"
OTHER_CXX = "set CXX to the command of a C++ compiler, or unset it"

PASSING = re.compile(
    r"killed|signal|out of memory|memory exhausted|cannot allocate|bad_alloc|no space left"
    r"|quota exceeded|temporarily unavailable|too many open files|input/output error",
    re.IGNORECASE,
)
"""What a compiler says that was stopped by what may be otherwise the next time."""


def compiler() -> tuple[str, ...] | None:
    """The command of a C++ compiler, or None; looks at names only, and runs nothing.

    $CXX if it is set, c++, g++ and clang++ in the order of PATH's own search, then the package
    `ziglang`, a compiler in a wheel.

    Raises:
        BuildError: $CXX is no command.
    """
    cxx = os.environ.get("CXX", "")
    try:
        asked = shlex.split(cxx)
    except ValueError as error:
        raise BuildError(f"CXX is {cxx!r}, which is no command: {error}", OTHER_CXX) from error
    if asked:
        if found := shutil.which(asked[0]):
            return (found, *asked[1:])
        raise BuildError(f"CXX is {cxx!r}, and there is no program {asked[0]}", OTHER_CXX)
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
        BuildError: there is no compiler, it fails, or the cache cannot be used.
    """
    command, folder = _command(), cache.cache_folder()
    key = _digest(command)
    with cache.guarded(folder):
        if (path := cached()) is not None:
            return path
        cache.make(folder)
        with cache.lock(folder, key, TIMEOUT):
            # Another process may have built it while this one waited.
            return cached() or _build(command, folder, key)


def cached() -> Path | None:
    """The library if it is in the cache.

    Raises:
        BuildError: it could not be built, or the cache cannot be used.
    """
    command, folder = _command(), cache.cache_folder()
    with cache.guarded(folder):
        return cache.find(folder, _digest(command)) if cache.is_there(folder) else None


def obstacle() -> BuildError | None:
    """What keeps the library from being had, as far as known without building it.

    A build that failed is not tried again by itself for a day, as long as compiler, sources and
    processor are the same.
    """
    try:
        if cached() is not None:
            return None
        folder = cache.cache_folder()
        note = cache.note_of(folder, _digest(_command()))
        if said := cache.read_note(note):
            return BuildError(said, _retry(note))
        with cache.guarded(folder):
            cache.can_be_written(folder)
    except BuildError as error:
        return error
    return None


def _retry(note: Path) -> str:
    return (
        f"{note} tells more; it is tried again after a day, or when you remove that file, "
        f"ask for backend='cpu', or choose another compiler with CXX"
    )


def _command() -> tuple[str, ...]:
    command = compiler()
    if command is None:
        raise BuildError(NO_COMPILER, REMEDY, broken=False)
    return command


def _build(command: Sequence[str], folder: Path, key: str) -> Path:
    cache.sweep(folder, key)
    note = cache.note_of(folder, key)
    with tempfile.TemporaryDirectory(
        prefix="build-", dir=folder, ignore_cleanup_errors=True
    ) as scratch:
        output = Path(scratch) / "cpu.so"
        line = [*command, *flags(command), str(SOURCES / "host" / "host.cpp"), "-o", str(output)]
        failure = _failure(line, output)
        if failure is None:
            path = cache.put(folder, key, output)
            note.unlink(missing_ok=True)
            return path
    said, passing = failure
    first = next((text for text in said.splitlines() if "error" in text), said[:500])
    why = f"{shlex.join(command)} cannot build the library: {first}"
    # A cause that passes leaves no note: the next process tries again.
    if not passing and cache.write_note(note, f"{why}\n\n{shlex.join(line)}\n{said}\n"):
        raise BuildError(why, _retry(note))
    raise BuildError(
        why, "the next process tries again, and this one when it is asked for backend='cpu'"
    )


def _failure(line: Sequence[str], output: Path) -> tuple[str, bool] | None:
    """What a compiler says that fails, and whether the cause may pass; None if it does not fail."""
    try:
        code, _, said = _run(line, TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"no end after {TIMEOUT} s", False
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return str(error), True
    if code == 0 and output.is_file():
        return None
    said = said.strip() or (f"exit code {code}" if code else "it wrote no library")
    # Below 0 and from 128 on: ended by a signal, itself or what a script called.
    return said, code < 0 or code > 128 or PASSING.search(said) is not None


def _run(line: Sequence[str], limit: float) -> tuple[int, str, str]:
    """Exit code, output and messages of a program, stopped with all that it started at the limit.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it took longer.
    """
    # In a group of its own, to be stopped with what it started; in English, to be understood.
    group = 0 if os.name == "posix" else None
    with subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},
        process_group=group,
    ) as process:
        try:
            output, messages = process.communicate(timeout=limit)
        except BaseException:
            with suppress(OSError):
                if group is not None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            raise
    return process.returncode, output.decode(errors="replace"), messages.decode(errors="replace")


@functools.cache
def _digest(command: Sequence[str]) -> str:
    """Digest of all that the compiled code depends on."""
    digest = hashlib.sha256()
    try:
        for source in sorted([*SOURCES.glob("*.h"), *SOURCES.glob("host/*")]):
            digest.update(source.name.encode() + source.read_bytes())
    except OSError as error:
        raise BuildError(f"the sources cannot be read: {error}", "install synkern again") from error
    for part in (*command, *flags(command), _version(command), platform.platform(), _processor()):
        digest.update(b"\0" + part.encode(errors="surrogateescape"))
    return digest.hexdigest()[:24]


def _version(command: Sequence[str]) -> str:
    """What it says of its version; asked once in a process, also if it does not answer."""
    found = _version_or_failure(command)
    if isinstance(found, BuildError):
        raise BuildError(found.why, found.remedy)
    return found


@functools.cache
def _version_or_failure(command: Sequence[str]) -> str | BuildError:
    try:
        code, output, messages = _run([*command, "--version"], VERSION_TIMEOUT)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        failure = str(error)
    else:
        if code == 0:
            return output
        failure = next(iter(messages.splitlines()), f"exit code {code}")
    remedy = f"see that it runs and start Python again, or {OTHER_CXX}"
    return BuildError(f"{shlex.join(command)} --version fails: {failure}", remedy)


def _processor() -> str:
    """What tells processors with other instructions apart."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    kept = ("model name", "flags", "Features", "CPU part", "CPU implementer")
    return "\n".join(sorted({line for line in lines if line.startswith(kept)}))
