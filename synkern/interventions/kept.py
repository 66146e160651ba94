"""A file that keeps each part of a long computation as soon as it is done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]


class Kept:
    """Parts of one computation, by name: those of a file, and those that are added to it.

    JSON lines: the first says of what computation, each other one holds a part. A line is written
    at once and whole; one that a kill has cut short is as good as none.
    """

    def __init__(self, file: str | os.PathLike[str] | None, of: Mapping[str, Any]) -> None:
        """Take up the file, or begin it.

        Args:
            file: its path; None keeps nothing.
            of: what the parts depend on, by what a user would call it; as JSON has it.

        Raises:
            ValueError: the file is of another computation, or of something else.
        """
        self._file = None if file is None else Path(file)
        self._parts: dict[str, Any] = {}
        head = {"synkern": dict(of)}
        if self._file is None:
            return
        if not self._file.exists() or not self._file.stat().st_size:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            begun = self._file.with_name(f"{self._file.name}.new")
            begun.write_text(_line(head), encoding="utf-8")
            begun.replace(self._file)
            return
        whole, end, cut = self._file.read_bytes().rpartition(b"\n")
        lines = self._parsed(whole)
        self._refuse_another(lines[0] if lines else None, head)
        for name, part in lines[1:]:
            self._parts[name] = part
        if cut:
            with self._file.open("r+b") as opened:
                opened.truncate(len(whole) + len(end))

    def __contains__(self, name: str) -> bool:
        """Whether a part is there."""
        return name in self._parts

    def __getitem__(self, name: str) -> Any:
        """A part as JSON has it."""
        return self._parts[name]

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._parts)

    def __iter__(self) -> Iterator[str]:
        """Names of the parts, in the order in which they were done."""
        return iter(self._parts)

    def add(self, name: str, part: Any) -> None:
        """Keep a part; it is on its way to the disk when this returns."""
        self._parts[name] = part
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as opened:
                opened.write(_line([name, part]))
                opened.flush()
                os.fsync(opened.fileno())

    def _parsed(self, whole: bytes) -> list[Any]:
        try:
            return [json.loads(line) for line in whole.split(b"\n")] if whole else []
        except ValueError as error:
            raise ValueError(
                f"file: {self._file} is no file of parts ({error}); name another, or remove it"
            ) from error

    def _refuse_another(self, found: Any, head: Mapping[str, Any]) -> None:
        of = found.get("synkern") if isinstance(found, dict) else None
        if not isinstance(of, dict):
            raise ValueError(f"file: {self._file} is no file of parts; name another, or remove it")
        wanted = json.loads(_line(head))["synkern"]
        other = [name for name in {**wanted, **of} if wanted.get(name) != of.get(name)]
        if other:
            raise ValueError(
                f"file: {self._file} was begun with other {', '.join(other)}; name another file, "
                "remove this one, or call as before"
            )


def digest(*what: Any) -> str:
    """Sixteen hexadecimal digits of SHA-256 of what JSON can say."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def packed(right: Bools) -> str:
    """Truth values, (any,), eight a byte, in hexadecimal digits."""
    return np.packbits(right).tobytes().hex()


def unpacked(text: str, count: int) -> Bools:
    """The first `count` of the truth values that `packed` wrote."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count)
    return bits.astype(np.bool_)


def weights_digest(parameters: Sequence[tuple[str, Any]]) -> str:
    """A digest of a model's parameters: names, shapes, and up to 64 values of each.

    Args:
        parameters: name and tensor of each, as `named_parameters` gives them. Of a large one the
            values are taken in equal steps: enough to tell checkpoints apart, and quickly read.
    """
    found = hashlib.sha256()
    for name, tensor in parameters:
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // 64)].double().cpu().numpy()
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(some.tobytes())
    return found.hexdigest()[:16]


def _line(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
