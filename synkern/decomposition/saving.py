"""Results in files: one `.npz` for each, its arrays beside a JSON text of all the rest."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self

import numpy as np

from synkern._arrays import to_numpy
from synkern.kernels import ATOMS

_META = "synkern"
"""Name of the entry that holds all but the arrays."""

_FORMAT = 2
"""1: results of `phiid` alone, atoms by their names. 2: any class, arrays as `field/key`."""


class Saved:
    """Saves and loads a dataclass of arrays, mappings of arrays and plain values."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one `.npz` file, at exactly this path.

        Raises:
            OSError: the file cannot be written.
        """
        meta: dict[str, Any] = {"format": _FORMAT, "class": type(self).__name__}
        entries: dict[str, Any] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # as options may be given
                value = value.item()
            if isinstance(value, Mapping) and field.name not in self._plain_fields():
                meta[field.name] = list(value)
                entries |= {f"{field.name}/{key}": to_numpy(v) for key, v in value.items()}
            elif hasattr(value, "ndim"):
                entries[field.name] = to_numpy(value)
            else:
                meta[field.name] = value
        entries[_META] = np.array(json.dumps(meta))
        with open(path, "wb") as file:
            np.savez(file, **entries)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; all arrays are NumPy's, whatever they were before.

        Raises:
            ValueError: the file is not a result of this class, is damaged, or of a later format.
            OSError: it cannot be opened.
        """
        said = repr(os.fspath(path))
        entries = _entries(path)
        if _META not in entries:
            raise ValueError(f"{said} is not a result saved by synkern")
        try:
            meta = json.loads(str(entries.pop(_META)))
            saved = meta.pop("format")
            kept = meta.pop("class", "PhiIDResult")
            if saved not in range(1, _FORMAT + 1):
                raise ValueError(
                    f"it has format {saved}, this synkern reads up to {_FORMAT}; load it with the "
                    "version that saved it"
                )
            if kept != cls.__name__:
                raise ValueError(f"it holds a {kept}; load it with {kept}.load")
            result = cls(**cls._arguments(meta, entries, saved))
            result._check_loaded()
        # A file that was damaged or made elsewhere can hold anything in any place.
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{said} cannot be read as a {cls.__name__}: {error}") from error
        return result

    @classmethod
    def _arguments(
        cls, meta: dict[str, Any], entries: Mapping[str, Any], saved: int
    ) -> dict[str, Any]:
        """Arguments of the class from the two parts of a file of some format."""
        del saved
        arguments = {}
        for field in fields(cls):  # type: ignore[arg-type]
            if field.name in entries:
                arguments[field.name] = entries[field.name]
            elif any(name.startswith(f"{field.name}/") for name in entries):
                arguments[field.name] = {k: entries[f"{field.name}/{k}"] for k in meta[field.name]}
            elif field.name in meta:
                value = meta[field.name]
                arguments[field.name] = tuple(value) if isinstance(value, list) else value
        return arguments

    @classmethod
    def _plain_fields(cls) -> tuple[str, ...]:
        """Fields that are mappings of numbers, not of arrays."""
        return ()

    def _check_loaded(self) -> None:
        """Raise ValueError unless what was read fits together; for the classes."""
        raise NotImplementedError


def require(condition: Any, what: str) -> None:
    """Raise ValueError unless something holds of what was read."""
    if not condition:
        raise ValueError(what)


def require_atoms(arrays: Any) -> None:
    """Raise ValueError unless this is a mapping from names of atoms."""
    named = isinstance(arrays, Mapping) and arrays and set(arrays) <= set(ATOMS)
    require(named, "there are no atoms, or unknown ones")


def require_options(result: Any, **allowed: tuple[Any, ...]) -> None:
    """Raise ValueError unless each of these attributes is one of the values allowed."""
    for name, values in allowed.items():
        value = getattr(result, name)
        hashable = isinstance(value, str | None)
        require(hashable and value in values, f"{name} is {value!r}")


def require_count(result: Any, **least: int) -> None:
    """Raise ValueError unless each of these attributes is a whole number not below a value."""
    for name, low in least.items():
        value = getattr(result, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        require(whole and value >= low, f"{name} is {value!r}")


def require_shape(array: Any, name: str, kinds: str, *shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless an array has one of some kinds of dtype, and one of some shapes."""
    is_array = isinstance(array, np.ndarray)
    require(is_array and array.dtype.kind in kinds, f"{name} is not an array of its kind")
    require(array.shape in shapes, f"{name} has shape {array.shape}, not {shapes[0]}")


def require_names(names: Any, field: str, count: int) -> None:
    """Raise ValueError unless these are None or so many texts."""
    fits = names is None or (
        isinstance(names, tuple) and len(names) == count and all(isinstance(n, str) for n in names)
    )
    require(fits, f"{field} are not {count} names")


def _entries(path: str | os.PathLike[str]) -> dict[str, Any]:
    """All arrays of an `.npz` file by name.

    Raises:
        ValueError: it is none, or damaged.
        OSError: it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise ValueError("no .npz file")
            with found:
                return {name: found[name] for name in found.files}
        # Whatever zipfile, zlib and NumPy's parser raise on bytes that are not theirs; a damaged
        # header may ask for any amount of memory.
        except Exception as error:
            raise ValueError(
                f"{os.fspath(path)!r} is not a result saved by synkern, or is damaged: "
                f"{type(error).__name__}: {error}"
            ) from error
