"""The folder that keeps the compiled library between processes.

What is found there runs in this process. So folder and file must belong to the user, or to root,
and be writable by nobody else; and a library bears the SHA-256 of its content in its name, because
to load one that was cut off, on a full disk say, kills the process without a word.

Every function may raise OSError; `guarded` makes it a `BuildError` that says what would help.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NOTE_HOLDS = 24 * 3600
"""Seconds for which a build that failed is not tried again by itself."""

LEFT_OVER = 3600
"""Seconds after which a folder of a build belongs to one that was killed."""

ELSEWHERE = "set XDG_CACHE_HOME to a folder of your own that can be written"


class BuildError(RuntimeError):
    """The compiled library cannot be had.

    Attributes:
        why: what keeps it from being had.
        remedy: what would help.
        broken: whether something is that should not be so; not to have a compiler is ordinary.
    """

    def __init__(self, why: str, remedy: str, *, broken: bool = True) -> None:
        """See the attributes."""
        super().__init__(why, remedy)
        self.why, self.remedy, self.broken = why, remedy, broken

    def __str__(self) -> str:
        """Both, in a line."""
        return f"{self.why}; {self.remedy}"


def cache_folder() -> Path:
    """Folder of this user's library, below $XDG_CACHE_HOME if that is set.

    Raises:
        BuildError: the user has no home.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "synkern"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise BuildError(
            "the compiled library cannot be kept: HOME is not set, and the system knows no home "
            "folder of this user",
            f"set HOME, or {ELSEWHERE}",
        ) from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "synkern"


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Raises BuildError for an OSError of what is done in the folder."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BuildError(
            f"the compiled library cannot be kept in {folder}: {error}",
            f"make room there, or {ELSEWHERE}" if full else ELSEWHERE,
        ) from error


def is_there(folder: Path) -> bool:
    """Whether the folder exists.

    Raises:
        BuildError: somebody else could have put a library into it.
    """
    try:
        own = os.lstat(folder)
    except FileNotFoundError:
        return False
    found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    fault = _others_may_write(found)
    if fault is None and stat.S_ISLNK(own.st_mode) and _of_another(own):
        fault = f"is a link made by another user (uid {own.st_uid})"
    if fault:
        raise BuildError(
            f"the compiled library is not kept in {folder}, which {fault}: it could be replaced",
            f"chmod 700 it if it is yours, or {ELSEWHERE}",
        )
    return True


def can_be_written(folder: Path) -> None:
    """Look whether the folder, or the first above it that exists, can be written.

    Raises:
        PermissionError: it cannot.
    """
    while not os.path.lexists(folder):
        folder = folder.parent
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def make(folder: Path) -> None:
    """Make the folder and those above it, for the user alone."""
    missing = [folder]
    while not os.path.lexists(missing[-1].parent):
        missing.append(missing[-1].parent)
    for path in reversed(missing):
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
    is_there(folder)


def _of_another(info: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and info.st_uid not in (0, os.geteuid())


def _others_may_write(info: os.stat_result) -> str | None:
    """Why others can write it, to follow "which"; None if they cannot."""
    if _of_another(info):
        return f"belongs to another user (uid {info.st_uid})"
    if hasattr(os, "geteuid") and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write (its mode is {stat.S_IMODE(info.st_mode):03o})"
    return None


def find(folder: Path, key: str) -> Path | None:
    """The library of that key, if it is there and whole.

    Raises:
        BuildError: it cannot be read, or somebody else could have made it.
    """
    for path, digest in _candidates(folder, key):
        if _is_whole(path, digest):
            return path
    return None


def _candidates(folder: Path, key: str) -> list[tuple[Path, str]]:
    """Paths with the digests that their names promise."""
    named = re.compile(rf"cpu-{key}\.([0-9a-f]{{64}})\.so")
    names = sorted(os.listdir(folder))
    return [(folder / name, match[1]) for name in names if (match := named.fullmatch(name))]


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Its descriptor, to read; a link is not followed, a pipe not waited for."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_whole(path: Path, digest: str) -> bool:
    remedy = "remove it to have it built again"
    try:
        with _opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            # Of what was opened, not of what has the name by now.
            info = os.fstat(descriptor)
            fault = None if stat.S_ISREG(info.st_mode) else "is no file"
            if (fault := fault or _others_may_write(info)) is None:
                return hashlib.sha256(file.read()).hexdigest() == digest
    except FileNotFoundError:
        return False  # another process has removed it
    except OSError as error:
        raise BuildError(f"the compiled library {path} cannot be read: {error}", remedy) from error
    raise BuildError(f"the compiled library {path} is not used, as it {fault}", remedy)


def put(folder: Path, key: str, built: Path) -> Path:
    """Move a library that was built, on the same file system, to its name in the folder."""
    with open(built, "r+b") as file:
        # A power cut must not leave a name with nothing behind it.
        os.fsync(file.fileno())
        digest = hashlib.sha256(file.read()).hexdigest()
    built.chmod(0o644)
    path = folder / f"cpu-{key}.{digest}.so"
    os.replace(built, path)
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return path


def sweep(folder: Path, key: str) -> None:
    """Remove damaged libraries of that key, and what builds left that were killed."""
    for path, digest in _candidates(folder, key):
        if not _is_whole(path, digest):
            path.unlink(missing_ok=True)
    for path in folder.glob("build-*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > LEFT_OVER:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


# ---- One build at a time -------------------------------------------------------------------------


@contextmanager
def lock(folder: Path, key: str, limit: float) -> Iterator[None]:
    """Hold the lock of that key; others wait.

    Where the file system has no locks, or after `limit` seconds, it goes on without.
    """
    path = folder / f"cpu-{key}.lock"
    descriptor = _locked(path, limit)
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def _locked(path: Path, limit: float) -> int | None:
    end = time.monotonic() + limit
    while fcntl is not None and time.monotonic() < end:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        held = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who held it removed it: what counts is the file that others see.
            with suppress(FileNotFoundError):
                held = os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:
            return None
        finally:
            if not held:
                os.close(descriptor)
        if held:
            return descriptor
    return None


# ---- Notes of builds that failed -----------------------------------------------------------------


def note_of(folder: Path, key: str) -> Path:
    """File in which a failure is noted."""
    return folder / f"cpu-{key}.failed.txt"


def read_note(note: Path) -> str | None:
    """What it says in its first line; None if it is not there, too old, empty or cannot be read."""
    with suppress(OSError), _opened(note) as descriptor:
        if abs(time.time() - os.fstat(descriptor).st_mtime) < NOTE_HOLDS:
            first = os.read(descriptor, 1 << 16).partition(b"\n")[0]
            return first.decode(errors="replace").strip() or None
    return None


def write_note(note: Path, text: str) -> bool:
    """Write it, in the place of what lies there; whether that could be done."""
    with suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(prefix="build-note-", dir=note.parent)
        try:
            with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(text)
            os.replace(temporary, note)
            return True
        except OSError:
            os.unlink(temporary)
    return False
