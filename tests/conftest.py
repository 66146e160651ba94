from __future__ import annotations

import os
import signal

import numpy as np
import pytest

# Read when triton is first imported: kernels run on the CPU, in NumPy. Tests that compile do so in
# processes without it.
os.environ["TRITON_INTERPRET"] = "1"

# A shell starts what runs in the background without it, and then nothing that is sent arrives.
signal.signal(signal.SIGINT, signal.default_int_handler)

from support.backends import AT_FULL_SPEED  # noqa: E402
from support.golden import DATA, GOLDEN, GOLDEN_VARIANTS, GoldenCase  # noqa: E402


@pytest.fixture(params=GOLDEN, ids=lambda case: case.name)
def golden(request: pytest.FixtureRequest) -> GoldenCase:
    """Gaussian MMI."""
    return request.param


@pytest.fixture(params=GOLDEN_VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> GoldenCase:
    """All four estimators."""
    return request.param


@pytest.fixture(params=AT_FULL_SPEED)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260122)


@pytest.fixture
def heads() -> dict[str, np.ndarray]:
    """Recorded head norms (3, 100, 25) of a trained and a randomly initialised model."""
    with np.load(DATA / "smollm2_head_norms.npz") as file:
        return {name: file[name] for name in file}
