"""torch for tests that may run without it: itself where it is, skipped where it is not.

    from support.optional import torch

A test that does something with what it takes from a torch that is not there is skipped, so one
that is parametrised over libraries or backends runs for those that are. Where torch is used in
another process or by the name of its backend, `needs_torch` is the mark that says so. Only
`make test-numpy` knows an environment without torch: elsewhere it is an error, see conftest.py.
"""

import os
from typing import Any

import pytest


class Absent:
    """Stands for a name of a package that is not installed, in lists of parameters too."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __instancecheck__(self, instance: Any) -> bool:
        return False

    def _used(self, *_: Any, **__: Any) -> Any:
        if "PYTEST_CURRENT_TEST" in os.environ:
            pytest.skip(f"{self._name.partition('.')[0]} is not installed")
        return Absent(f"{self._name}()")  # of a list of parameters

    __call__ = __iter__ = __len__ = __getitem__ = __array__ = __index__ = __enter__ = _used
    __lt__ = __le__ = __gt__ = __ge__ = _used
    __exit__ = None


torch: Any
try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    torch = Absent("torch")

needs_torch = pytest.mark.skipif(isinstance(torch, Absent), reason="torch is not installed")
