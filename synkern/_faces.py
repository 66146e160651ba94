"""The public faces of the package and its folders: names that are imported when first used.

Not at once, for speed and for threads: a package whose own code imports its modules waits for a
thread that imports one of them, which waits for the package. Like `lazy_loader`, which would be one
more package for every user to install.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def face(
    package: str, homes: Mapping[str, str], folders: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that shows names of its modules (PEP 562).

    Args:
        package: its `__name__`.
        homes: by public name, the module that has it, relative to the package.
        folders: packages in it that need no import of their own.
    """
    namespace = sys.modules[package].__dict__

    def get(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            namespace[name] = value
            return value
        if name in folders:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*namespace, *homes, *folders})


def moved(package: str, homes: Mapping[str, str]) -> None:
    """Let an import of a module that is no longer there say where its names are now.

    Args:
        package: its `__name__`.
        homes: by old name of a module, the folder that has its names now; both relative.
    """
    sys.meta_path.append(
        _Moved({f"{package}.{old}": f"{package}.{new}" for old, new in homes.items()})
    )


class _Moved:
    """Asked last, when no other finder knows the name."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if home := self.homes.get(name):
            raise ModuleNotFoundError(
                f"{name} is now in {home}: import its names from there", name=name
            )
