"""All backends, in the order in which "auto" prefers them.

A backend is a record of its own, in its file or folder; nothing else knows its name.
"""

from __future__ import annotations

from . import numpy_backend, torch_backend
from .backend import Backend
from .cpu_backend import record as cpu
from .cupy_backend import record as cupy
from .triton_backend import record as triton

BACKENDS: tuple[Backend, ...] = (
    cpu.BACKEND,
    numpy_backend.BACKEND,
    triton.BACKEND,
    cupy.BACKEND,
    torch_backend.BACKEND,
)
