from __future__ import annotations

import importlib.util
import os
import signal

import numpy as np
import pytest

# Read when triton is first imported: kernels run on the CPU, in NumPy. Tests that compile do so in
# processes without it.
os.environ["TRITON_INTERPRET"] = "1"

# A shell starts what runs in the background without it, and then nothing that is sent arrives.
signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings  # noqa: E402

from support.backends import AT_FULL_SPEED  # noqa: E402
from support.golden import DATA, GOLDEN, GOLDEN_VARIANTS, GoldenCase  # noqa: E402

# No test is timed, as a busy machine stalls any of them; and a run is like the one before it.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-torch",
        action="store_true",
        help="torch is not installed, and what needs it is skipped (make test-numpy)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is skipped for lack of torch unless that is what is tested."""
    installed = importlib.util.find_spec("torch") is not None
    if installed and config.getoption("without_torch"):
        raise pytest.UsageError("--without-torch is for an environment without torch; this has it")
    if not installed and not config.getoption("without_torch"):
        raise pytest.UsageError("torch is not installed; without it, run `make test-numpy`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is parametrised by a backend that needs torch, where there is none."""
    if not config.getoption("without_torch"):
        return
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(isinstance(value, str) and value in ("torch", "triton") for value in parameters):
            item.add_marker(pytest.mark.skip(reason="torch is not installed"))


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
