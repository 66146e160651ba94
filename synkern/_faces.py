"""Names that are imported when first used: the faces of the package and its folders, and torch.

Not at once, for speed and for threads: a package whose own code imports its modules waits for a
thread that imports one of them, which waits for the package. Like `lazy_loader`, which would be one
more package for every user to install.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


class MissingExtraError(ImportError):
    """A package that only some need is not installed; the message says who needs it, and how."""


def has_torch() -> bool:
    """Whether torch is installed; does not import it."""
    return _has("torch")


def _has(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def torch_missing(who: str, extra: str = "torch") -> MissingExtraError:
    """Make the error of a function or an argument that needs torch, where there is none.

    Args:
        who: the function, or the argument and its value.
        extra: of synkern's extras, the one that brings what is missing.
    """
    said = f"{who} needs torch, which is not installed: pip install 'synkern[{extra}]'"
    return MissingExtraError(said, name="torch")


def needed(module: str, who: str, extra: str) -> Any:
    """Import a module that one of synkern's extras brings.

    Args:
        module: its name; the part before the first dot is that of its package.
        who: what needs it, for the message.
        extra: the extra.

    Raises:
        MissingExtraError: it is not installed.
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        said = f"{who} needs {package}, which is not installed: pip install 'synkern[{extra}]'"
        raise MissingExtraError(said, name=package) from error


def face(
    package: str,
    homes: Mapping[str, str],
    modules: Mapping[str, str] | None = None,
    *,
    of_torch: Collection[str] = (),
    needs: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package that shows names of its modules (PEP 562).

    Args:
        package: its `__name__`.
        homes: by public name, the module that has it, relative to the package.
        modules: by public name, a module that is shown as a whole, relative to the package.
        of_torch: of these modules, those whose names are not listed where there is no torch.
        needs: by public name, the package without which it is not listed; its module says so.

    Both raise `MissingExtraError` at a name whose module needs torch, where there is none. Numbers
    do without, so that it is one for language models.
    """
    namespace = sys.modules[package].__dict__
    whole = modules or {}

    def get(name: str) -> Any:
        if name not in homes and name not in whole:
            said = _where(f"{package}.{name}")
            raise AttributeError(said or f"module {package!r} has no attribute {name!r}")
        try:
            home = importlib.import_module(f"{package}.{homes.get(name) or whole[name]}")
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise torch_missing(f"{package}.{name}", "llm") from error
        value = getattr(home, name) if name in homes else home
        namespace[name] = value
        return value

    def listed() -> list[str]:
        names = {*namespace, *homes, *whole}
        absent = set() if not of_torch or has_torch() else of_torch
        without = {name for name, needed in (needs or {}).items() if not _has(needed)}
        return sorted(name for name in names - without if homes.get(name) not in absent)

    return get, listed


class Later:
    """A module that is imported when one of its names is first used.

    For torch and for what imports it, in code that meets tensors only where there is torch:

        if TYPE_CHECKING:
            import torch
        else:
            torch = Later("torch")
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(importlib.import_module(self._name), name)
        setattr(self, name, value)
        return value


_MOVED: dict[str, str] = {}
"""By full name of what is no longer there, the module that has it now."""


def moved(package: str, homes: Mapping[str, str]) -> None:
    """Let an import of what is no longer there, or a use as an attribute, say where it is now.

    Args:
        package: its `__name__`.
        homes: by old name of a module, or of a name in one, the module that has its names now; both
            relative.
    """
    _MOVED.update({f"{package}.{old}": f"{package}.{new}" for old, new in homes.items()})
    if _Moved not in sys.meta_path:
        sys.meta_path.append(_Moved)


def _where(name: str) -> str | None:
    home = _MOVED.get(name)
    return home and f"{name} is now in {home}: from {home} import ..."


class _Moved:
    """Asked last, when no other finder knows the name."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if said := _where(name):
            # Without the name: of an error that has it, `from package import name` says nothing.
            raise ModuleNotFoundError(said)
