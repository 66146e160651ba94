"""The folder of a study: one file of arrays that remembers how each of them came about.

`study.npz` holds the arrays, and under `metadata` the JSON text that `study.json` shows to readers.
Both travel in one file, replaced in one step, so a study that is interrupted at any moment leaves
a folder in which arrays and their description agree. A digest of both tells a file that was changed
by other hands, whose arrays need not be what their description says.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from synkern._locks import FolderInUseError, FolderLock
from synkern.study import series_file
from synkern.study.errors import ArgumentError, StudyError

LOCK = ".study.lock"
"""Name of the lock in the folder of a study."""

# Of a study: its `W_head` and `W_norms` are called `W_index` and `W_series` now, and it knew heads
# only.
_EARLIER = 3
# Of all of the metadata but itself, and of all arrays.
_DIGEST = "sha256"
TEMPORARY = ".unfinished-"
"""Begins the name of a file that is being written; what a study that was killed left is removed."""

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged or foreign file of arrays has been seen to raise."""

_DAMAGED = (
    "this file was changed or damaged: move it away (a study cannot go on from it), or name "
    "another folder"
)


@dataclass
class StudyFolder:
    """A study on disk: `stages` maps a stage to how it was made, `arrays` holds its results.

    A stage is a dict with `key` (all that its arrays depend on) and `arrays` (their names), and
    whatever else describes it; so is an experiment. It counts as finished for a key if its own is
    equal. `description` is what was said of the study as a whole when it was saved.
    """

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    description: dict[str, Any] = field(default_factory=dict)
    outdated: str = ""
    """Why nothing that was there is taken up, if that is so."""

    # What another kind of folder has of its own: what it is called, how its two files begin, what
    # they say of themselves, and the version whose results are replaced instead of refused.
    called: ClassVar[str] = "study"
    stem: ClassVar[str] = "study"
    form: ClassVar[dict[str, Any]] = {"format": "synkern study", "format_version": 4}
    earlier: ClassVar[int | None] = _EARLIER

    @classmethod
    @contextmanager
    def locked(cls, path: str | Path) -> Iterator[Self]:
        """`open` the folder while no other study can: found out before anything is computed.

        Raises:
            StudyError: as `open`; another study is at work in the folder; it cannot be written to.
        """
        folder = cls._usable(path)
        with alone_in(folder):
            # Nobody else is here: what is unfinished is that of a study that was killed.
            for left in folder.glob(f"{TEMPORARY}*"):
                with suppress(OSError):
                    left.unlink()
            yield cls.open(folder)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open the folder of an earlier study, or make a new one.

        Raises:
            StudyError: the path is a file, the folder cannot be made or holds something else, or
                its study.npz cannot be read, is of another version, or was changed.
        """
        folder = cls._usable(path)
        file = folder / f"{cls.stem}.npz"
        if not file.exists():
            return cls(folder)
        try:
            # Opened here: given a path to a damaged file, np.load leaves it open.
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            metadata = json.loads(str(arrays.pop("metadata")))
            form = cls.form
            earlier = {**form, "format_version": cls.earlier}
            outdated = all(metadata[name] == value for name, value in earlier.items())
            if not outdated and any(metadata[name] != value for name, value in form.items()):
                raise StudyError(
                    f"{str(file)!r} was written in format {metadata['format']!r} version "
                    f"{metadata['format_version']!r}, this is {form['format']!r} version "
                    f"{form['format_version']}; move it away, or name another folder"
                )
            unchanged = metadata.pop(_DIGEST, None) == _digest(metadata, arrays)
            stages = metadata["stages"]
            description = {n: v for n, v in metadata.items() if n not in (*form, "stages")}
        except PermissionError as error:
            raise StudyError(
                f"{str(file)!r} cannot be read ({error.strerror}); make it readable, or name "
                "another folder"
            ) from error
        except UNREADABLE as e:
            raise StudyError(
                f"{str(file)!r} cannot be read as the arrays of a {cls.called} "
                f"({type(e).__name__}: {e}); {_DAMAGED}"
            ) from e
        if not unchanged:
            raise StudyError(f"{str(file)!r} is not as a {cls.called} has left it; {_DAMAGED}")
        if outdated:
            # On disk it stays until the first stage has been computed again.
            return cls(
                folder,
                outdated=f"the folder is one of format {cls.earlier}, now it is "
                f"{form['format_version']}, where a recording has other names",
            )
        return cls(folder, stages, arrays, description)

    @classmethod
    def _usable(cls, path: str | Path) -> Path:
        """The folder, made if missing, if it is one of its kind or empty."""
        check_name(path)
        folder = Path(path)
        try:
            if folder.exists() and not folder.is_dir():
                raise StudyError(f"out = {str(folder)!r} is a file; name a folder")
            folder.mkdir(parents=True, exist_ok=True)
            found = sorted(p.name for p in folder.iterdir())
        except OSError as error:
            raise StudyError(
                f"out = {str(folder)!r} cannot be made or read ({error}); name another folder"
            ) from error
        ours = (LOCK, *series_file.NAMES)
        others = [name for name in found if name not in ours and not name.startswith(TEMPORARY)]
        if others and f"{cls.stem}.npz" not in others:
            raise StudyError(
                f"out = {str(folder)!r} holds {others[0]!r} but no {cls.stem}.npz, so it is not "
                f"the folder of a {cls.called}; name a new or an empty folder"
            )
        return folder

    def difference(self, stage: str, key: Mapping[str, Any]) -> str | None:
        """Why `stage` has to be computed for `key`: None if it is there, "" if it never was."""
        if stage not in self.stages:
            return self.outdated
        old = self.stages[stage]["key"]
        # Compare what JSON keeps: a tuple comes back as a list.
        new = json.loads(json.dumps(key))
        changed = [n for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
        if not changed:
            return None
        return ", ".join(f"{n} was {_short(old.get(n))}, is {_short(new.get(n))}" for n in changed)

    def put(
        self,
        stage: str,
        key: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        **description: Any,
    ) -> None:
        """Put a finished stage in the place of whatever the folder had under its name."""
        self.drop(stage)
        self.stages[stage] = {"key": dict(key), **description, "arrays": list(arrays)}
        self.arrays.update(arrays)

    def drop(self, stage: str) -> None:
        """Forget a stage and its arrays."""
        for name in self.stages.pop(stage, {"arrays": []})["arrays"]:
            self.arrays.pop(name, None)

    def save(self, description: Mapping[str, Any]) -> dict[str, Any]:
        """Write study.npz and study.json; returns what study.json holds.

        Args:
            description: what describes the study as a whole, JSON-serialisable.
        """
        self.description = dict(description)
        metadata = {**self.form, **description, "stages": self.stages}
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False)
        loaded: dict[str, Any] = json.loads(text)
        # JSON may lose what a tuple is: the digest is of what will be read.
        signed = json.dumps({_DIGEST: _digest(loaded, self.arrays), **loaded}, ensure_ascii=False)
        with self.replacing(f"{self.stem}.npz") as file:
            # Typed as if it had an argument `allow_pickle` to fill before the arrays.
            np.savez(file, metadata=np.array(signed), **self.arrays)  # type: ignore[arg-type]
        self.write(f"{self.stem}.json", text + "\n")
        return loaded

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the folder in one step; text as UTF-8."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        with self.replacing(name) as file:
            file.write(data)

    @contextmanager
    def replacing(self, name: str) -> Iterator[BinaryIO]:
        """A new file, which takes the place of `name` when the block is done.

        What writes to paths alone has its `name` as that of a file that is there already.
        """
        # A name that nobody can have guessed, and never a file that is there: no link is followed.
        temporary = self.path / f"{TEMPORARY}{secrets.token_hex(8)}-{name}"
        try:
            with temporary.open("xb") as file:
                yield file
            os.replace(temporary, self.path / name)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def remove_report(self, pictures: Iterable[str]) -> None:
        """Remove the pages and the figures of a report, such as one that shows replaced stages.

        Args:
            pictures: names of its figures without `.png`; `*` for whatever stands there.
        """
        for pattern in ("report.html", "explore.html", *(f"{name}.png" for name in pictures)):
            for file in self.path.glob(pattern):
                file.unlink()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep every other run that asks for the folder out of it.

    Raises:
        StudyError: another one is at work there; it cannot be written to.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FolderLock(folder, LOCK, "study"))
        except FolderInUseError as error:
            raise StudyError(f"out = {str(folder)!r}: {error}") from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise StudyError(
                f"out = {str(folder)!r} cannot be written to ({error.strerror or error}); "
                f"{'make room there' if full else 'make it writable'}, or name another folder"
            ) from error
        yield


def check_name(path: str | Path) -> None:
    """Refuse what can be no name of a folder.

    Raises:
        ArgumentError: it is empty, or has a NUL in it.
    """
    if path == "" or "\0" in str(path):
        raise ArgumentError(f"out = {str(path)!r} is no name of a folder; name one")


def _digest(metadata: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of metadata as JSON gives them back, and of the arrays: names, types, and bytes."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
