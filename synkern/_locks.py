"""One run at a time in a folder, or into a store: a lock that names its owner and dies with it.

The lock is a file in the folder that says who works there. Its owner holds the operating system's
lock on it as well, which ends with the process, however it ends, so that a run that was killed
leaves a file but no lock; processes that it has forked, which may live on, have no part in it.
Where the file system has no such locks, and between machines that share a folder, the file alone
decides.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import socket
import stat
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

# What flock raises where another holds the lock.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
# What it raises where there are no locks, such as on some network file systems.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderInUseError(Exception):
    """The folder is not free: another run works there, or something is in the lock's place."""


@dataclass(frozen=True)
class _Owner:
    pid: int
    host: str
    since: float  # seconds since the epoch

    def __str__(self) -> str:
        age = max(0, round(time.time() - self.since))
        parts = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
        size, unit = next((p for p in parts if age >= p[0]), parts[-1])
        return f"process {self.pid} on {self.host!r}, for {age // size} {unit}"

    @property
    def here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether a process of this number runs here, as far as one can tell."""
        if os.name == "nt":
            return True  # to ask with signal 0 would send one
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return True  # somebody else's
        return True


class FolderLock:
    """A lock of a folder, a context manager. Whoever enters holds it until the block is left.

    Args:
        folder: where the lock is.
        name: of its file.
        what: "study", or what else is at work there; for messages.
    """

    def __init__(self, folder: Path, name: str, what: str) -> None:
        """Nothing is locked yet."""
        self._file = folder / name
        self._what = what
        self._descriptor = -1
        _all.add(self)

    def __enter__(self) -> FolderLock:
        """Take the lock.

        Raises:
            FolderInUseError: another run has it, or something else is in its place.
            OSError: the folder cannot be written to.
        """
        while not self._taken():
            pass
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the folder to others."""
        if self._descriptor < 0:  # in a process that was forked
            return
        # Removed while locked: who opened it meanwhile finds out in `_taken`.
        with suppress(OSError):
            self._file.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _taken(self) -> bool:
        """Whether the lock could be taken; else its file has just been removed by its owner."""
        self._refuse_foreign()
        # Not through a link that somebody has planted, nor waiting for what writes to a pipe.
        safely = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | safely, 0o666)
        try:
            lock = _lock(descriptor)
            owner = _owner(descriptor)
            if lock is not False and not self._is_in_place(descriptor):
                os.close(descriptor)
                return False
            elsewhere = owner is not None and not owner.here
            running = lock is None and owner is not None and owner.alive
            if lock is False or elsewhere or running:
                raise FolderInUseError(self._said(owner, certain=lock is False))
            me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(me).encode())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def _refuse_foreign(self) -> None:
        """Check that no link, folder or pipe is where the lock belongs."""
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._file.lstat().st_mode):
                raise FolderInUseError(
                    f"{str(self._file)!r} is no file that a {self._what} has left; remove it, or "
                    "name another folder"
                )

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the file that was opened is still the one that the next run will open."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._file.stat(follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _said(self, owner: _Owner | None, certain: bool) -> str:
        by = "another process" if owner is None else str(owner)
        remedy = "wait for it, or name another folder"
        if not certain:
            remedy += f"; if it runs no longer, remove {str(self._file)!r}"
        return f"another {self._what} is at work there ({by}); {remedy}"


_all: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forked() -> None:
    """Leave the locks to the process that forked this one: the system's end when nobody has them.

    A worker lives on where its parent was killed, and would keep the next run out.
    """
    for lock in list(_all):
        if lock._descriptor >= 0:
            os.close(lock._descriptor)
            lock._descriptor = -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _lock(descriptor: int) -> bool | None:
    """Take the system's lock: True, False if another has it, None where there are no locks."""
    try:
        fcntl: Any = importlib.import_module("fcntl")
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _owner(descriptor: int) -> _Owner | None:
    """Who the file says has the lock; None for an empty or an unreadable one."""
    try:
        said = json.loads(os.read(descriptor, 4096))
        return _Owner(int(said["pid"]), str(said["host"]), float(said["since"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
