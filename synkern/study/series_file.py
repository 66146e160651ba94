"""Series too large for study.npz, which is written anew by every stage: a file of their own.

It stands beside study.npz as `W_series.npy`, with W for the weights. The arrays of the recording
hold its digest, so that a file of another recording, or a damaged one, is not taken for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.study.errors import StudyError
from synkern.study.settings import WEIGHTS

NAMES = tuple(f"{weights}_series.npy" for weights in WEIGHTS)
"""What such files are called."""


def digest_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def opened(folder: Path, weights: str, digest: str) -> NDArray[Any]:
    """The series of a recording as a memory map, (trials, time, nodes) float32.

    Raises:
        StudyError: the file is missing, or not that of the recording.
    """
    file = folder / f"{weights}_series.npy"
    remedy = "put it back, or name another folder, where everything is recorded again"
    if not file.is_file():
        raise StudyError(f"{str(file)!r} is missing, which holds the recorded series; {remedy}")
    if digest_of(file) != digest:
        raise StudyError(f"{str(file)!r} is not as the recording has left it; {remedy}")
    series: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return series


@contextmanager
def replacing(folder: Path, weights: str, temporary: str) -> Iterator[Path]:
    """A path for the series of one model, whose file takes its place when the block is done.

    Args:
        folder: of the study.
        weights: whose they are.
        temporary: what its name begins with until then.
    """
    file = folder / f"{weights}_series.npy"
    unfinished = folder / f"{temporary}{file.name}"
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def removed(folder: Path, weights: str) -> None:
    """Remove the file of an earlier recording, whose place one in study.npz takes."""
    (folder / f"{weights}_series.npy").unlink(missing_ok=True)
