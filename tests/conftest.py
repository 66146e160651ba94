from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# Read when triton is first imported: kernels run on the CPU, in NumPy. Tests that compile do so in
# processes without it.
os.environ["TRITON_INTERPRET"] = "1"

# A shell starts what runs in the background without it, and then nothing that is sent arrives.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


DATA = Path(__file__).with_name("data")


@dataclass(frozen=True)
class GoldenCase:
    """A series with what phyid computes for it; `local` only for short ones."""

    name: str
    series: np.ndarray
    tau: int
    average: np.ndarray
    local: np.ndarray | None
    kind: str = "gaussian"
    redundancy: str = "MMI"


def _golden_cases() -> list[GoldenCase]:
    """Gaussian MMI for every series, then the other three estimators."""
    with (
        np.load(DATA / "phyid_gaussian_mmi.npz") as gaussian_mmi,
        np.load(DATA / "phyid_golden_variants.npz") as others,
    ):
        meta = json.loads(str(gaussian_mmi["meta"]))
        cases = [_case(entry, gaussian_mmi, gaussian_mmi) for entry in meta]
        for kind, redundancy in (("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")):
            cases += [_case(entry, gaussian_mmi, others, kind, redundancy) for entry in meta]
    return cases


def _case(
    entry: Mapping[str, Any],
    series: Any,
    file: Any,
    kind: str = "gaussian",
    redundancy: str = "MMI",
) -> GoldenCase:
    case, variant = entry["case"], "" if file is series else f"{kind}_{redundancy}_"
    local = f"{case}_{variant}local"
    return GoldenCase(
        name=f"{entry['process']}-T{entry['T']}-tau{entry['tau']}",
        series=series[f"{case}_series"],
        tau=entry["tau"],
        average=file[f"{variant}average"][case] if variant else file[f"{case}_average"],
        local=file.get(local),
        kind=kind,
        redundancy=redundancy,
    )


GOLDEN_VARIANTS = _golden_cases()
GOLDEN = [case for case in GOLDEN_VARIANTS if (case.kind, case.redundancy) == ("gaussian", "MMI")]


@pytest.fixture(params=GOLDEN, ids=lambda case: case.name)
def golden(request: pytest.FixtureRequest) -> GoldenCase:
    """Gaussian MMI."""
    return request.param


@pytest.fixture(params=GOLDEN_VARIANTS, ids=lambda c: f"{c.name}-{c.kind}-{c.redundancy}")
def variant(request: pytest.FixtureRequest) -> GoldenCase:
    """All four estimators."""
    return request.param


@pytest.fixture(params=["cpu", "numpy", "torch"])
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


class Addresses(list):
    """Start, end and element size of the memory that the last kernel may use.

    `others` is what kernels get by address instead of as an argument.
    """

    others: Sequence[tuple[int, int, int]] = ()


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """Every access of a kernel lies in one of its arguments, aligned to its elements."""
    import torch  # noqa: PLC0415
    from triton.runtime import interpreter  # noqa: PLC0415

    ranges = Addresses()
    take_in = interpreter.GridExecutor._init_args_hst

    def recorded(self, *arguments):
        positional, named = take_in(self, *arguments)
        arguments = (v for v in (*positional, *named.values()) if isinstance(v, torch.Tensor))
        own = ((v.data_ptr(), v.data_ptr() + v.nbytes, v.element_size()) for v in arguments)
        ranges[:] = [*own, *ranges.others]
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


@pytest.fixture(scope="session")
def built_library() -> Path:
    """Of backend `cpu`: a library that was really compiled."""
    from support import first_use  # noqa: PLC0415

    first_use.forget()
    return first_use.cpu_build.library()


@pytest.fixture
def library_cache(
    built_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of a user who has compiled nothing yet; the compiler copies."""
    from support import first_use  # noqa: PLC0415

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(first_use.compiler(tmp_path, f'cp "{built_library}" "$output"')))
    first_use.forget()
    yield tmp_path / "cache" / "synkern"
    monkeypatch.undo()
    first_use.forget()
