"""Libraries that were really compiled, and folders of users who have compiled none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import first_use


@pytest.fixture(scope="session")
def built_library() -> Path:
    """Of backend `cpu`: a library that was really compiled."""
    first_use.forget()
    return first_use.cpu_build.library()


@pytest.fixture
def library_cache(
    built_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of a user who has compiled nothing yet; the compiler copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(first_use.compiler(tmp_path, f'cp "{built_library}" "$output"')))
    first_use.forget()
    yield tmp_path / "cache" / "synkern"
    monkeypatch.undo()
    first_use.forget()
