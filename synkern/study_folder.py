"""The folder of a study: one file of arrays that remembers how each of them came about.

`study.npz` holds the arrays, and under `metadata` the JSON text that `study.json` shows to readers.
Both travel in one file, replaced in one step, so a study that is interrupted at any moment leaves
a folder in which arrays and their description agree.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FORMAT = {"format": "synkern study", "format_version": 2}
_TEMPORARY = ".unfinished-"
# What a report leaves in the folder.
_PICTURES = ("profiles", "synergy", "null", "heads_*", "pairs_*", "excess_*")
_REPORT = ("report.html", *(f"{name}.png" for name in _PICTURES))
# What reading a damaged or foreign file has been seen to raise.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


class ArgumentError(ValueError):
    """An argument of a study cannot be used; found before anything is loaded or written."""


class StudyError(Exception):
    """A study cannot go on; the message says why and what would help."""


class MissingPackageError(StudyError, ImportError):
    """A study needs a package that is not installed; the message says which."""


@dataclass
class StudyFolder:
    """A study on disk: `stages` maps a stage to how it was made, `arrays` holds its results.

    A stage is a dict with `key` (all that its arrays depend on) and `arrays` (their names), and
    whatever else describes it. A stage counts as finished for a key if its own is equal.
    """

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path) -> StudyFolder:
        """Open the folder of an earlier study, or make a new one.

        Raises:
            StudyError: the path is a file, the folder cannot be made or holds something else, or
                its study.npz cannot be read.
        """
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise StudyError(f"out = {str(folder)!r} is a file; name a folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StudyError(
                f"out = {str(folder)!r} cannot be made ({error}); name another folder"
            ) from error
        file = folder / "study.npz"
        if not file.exists():
            others = sorted(p.name for p in folder.iterdir() if not p.name.startswith(_TEMPORARY))
            if others:
                raise StudyError(
                    f"out = {str(folder)!r} holds {others[0]!r} but no study.npz, so it is not the "
                    "folder of a study; name a new or an empty folder"
                )
            return cls(folder)
        remedy = "remove that file, or name another folder"
        try:
            # Opened here: given a path to a damaged file, np.load leaves it open.
            with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            metadata = json.loads(str(arrays.pop("metadata")))
            stages = metadata["stages"]
            if any(metadata[name] != value for name, value in _FORMAT.items()):
                raise StudyError(
                    f"{str(file)!r} was written in format {metadata['format']!r} version "
                    f"{metadata['format_version']!r}, this is {_FORMAT['format']!r} version "
                    f"{_FORMAT['format_version']}; {remedy}"
                )
            missing = [
                name for stage in stages.values() for name in stage["arrays"] if name not in arrays
            ]
        except _UNREADABLE as e:
            raise StudyError(
                f"{str(file)!r} cannot be read as the arrays of a study "
                f"({type(e).__name__}: {e}); {remedy}"
            ) from e
        if missing:
            raise StudyError(f"{str(file)!r} lacks the array {missing[0]!r}; {remedy}")
        return cls(folder, stages, arrays)

    def difference(self, stage: str, key: Mapping[str, Any]) -> str | None:
        """Why `stage` has to be computed for `key`: None if it is there, "" if it never was."""
        if stage not in self.stages:
            return ""
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
        metadata = {**_FORMAT, **description, "stages": self.stages}
        text = json.dumps(metadata, indent=2, ensure_ascii=False, allow_nan=False)
        temporary = self.path / f"{_TEMPORARY}study.npz"
        with temporary.open("wb") as file:
            # Typed as if it had an argument `allow_pickle` to fill before the arrays.
            np.savez(file, metadata=np.array(text), **self.arrays)  # type: ignore[arg-type]
        os.replace(temporary, self.path / "study.npz")
        self.write("study.json", text + "\n")
        loaded: dict[str, Any] = json.loads(text)
        return loaded

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the folder in one step; text as UTF-8."""
        temporary = self.path / f"{_TEMPORARY}{name}"
        data = content.encode("utf-8") if isinstance(content, str) else content
        temporary.write_bytes(data)
        os.replace(temporary, self.path / name)

    def remove_report(self) -> None:
        """Remove the page and the figures of a report, such as one that shows replaced stages."""
        for pattern in _REPORT:
            for file in self.path.glob(pattern):
                file.unlink()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
