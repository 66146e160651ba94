"""What the tests of interpreted kernels watch: every address, and outputs that nobody wrote."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from triton.runtime import interpreter

from support.poison import poison_memory


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Every access of a kernel lies in one of its arguments, aligned to its elements.

    Start, end and element size of the memory that the last kernel may use.
    """
    ranges: list[tuple[int, int, int]] = []
    take_in = interpreter.GridExecutor._init_args_hst

    def recorded(self, *arguments):
        positional, named = take_in(self, *arguments)
        arguments = (v for v in (*positional, *named.values()) if isinstance(v, torch.Tensor))
        ranges[:] = ((v.data_ptr(), v.data_ptr() + v.nbytes, v.element_size()) for v in arguments)
        return positional, named

    def check(pointers, mask):
        used = np.broadcast_to(pointers.data, np.shape(mask.data))[np.asarray(mask.data, bool)]
        inside = np.zeros(used.shape, bool)
        for start, end, size in ranges:
            offset = used.astype(np.int64) - start
            inside |= (offset >= 0) & (used.astype(np.int64) < end) & (offset % size == 0)
        assert inside.all(), "address out of range"

    def checked(name, mask_at):
        access = getattr(interpreter.InterpreterBuilder, name)

        def wrapper(self, *arguments):
            check(arguments[mask_at[0]], arguments[mask_at[1]])
            return access(self, *arguments)

        monkeypatch.setattr(interpreter.InterpreterBuilder, name, wrapper)

    monkeypatch.setattr(interpreter.GridExecutor, "_init_args_hst", recorded)
    checked("create_masked_load", (0, 1))
    checked("create_masked_store", (0, 2))
    checked("create_atomic_rmw", (1, 3))
    return ranges


@pytest.fixture
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel does not write is NaN."""
    poison_memory(monkeypatch)
