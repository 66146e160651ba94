"""The public faces of the package and its folders: names that are imported when first used.

Not at once, for speed and for threads: a package whose own code imports its modules waits for a
thread that imports one of them, which waits for the package. Like `lazy_loader`, which would be one
more package for every user to install.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def face(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that shows names of its modules (PEP 562).

    Args:
        package: its `__name__`.
        homes: by public name, the module that has it, relative to the package.
        modules: by public name, a module that is shown as a whole, relative to the package.
    """
    namespace = sys.modules[package].__dict__
    whole = modules or {}

    def get(name: str) -> Any:
        if name in homes:
            value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        elif name in whole:
            value = importlib.import_module(f"{package}.{whole[name]}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value
        return value

    return get, lambda: sorted({*namespace, *homes, *whole})


def moved(package: str, homes: Mapping[str, str]) -> None:
    """Let an import of a module that is no longer there say where its names are now.

    Args:
        package: its `__name__`.
        homes: by old name of a module, the folder that has its names now; both relative.
    """
    by_name = {f"{package}.{old}": f"{package}.{new}" for old, new in homes.items()}
    sys.meta_path.append(_Moved(by_name))


class _Moved:
    """Asked last, when no other finder knows the name."""

    def __init__(self, homes: Mapping[str, str]) -> None:
        self.homes = homes

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if home := self.homes.get(name):
            raise ModuleNotFoundError(
                f"{name} is now in {home}: import its names from there", name=name
            )
