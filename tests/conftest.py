from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).with_name("data")


@dataclass(frozen=True)
class GoldenCase:
    """A series with what phyid computes for it; `local` only for short ones."""

    name: str
    series: np.ndarray
    tau: int
    average: np.ndarray
    local: np.ndarray | None


def _golden_cases() -> list[GoldenCase]:
    with np.load(DATA / "phyid_gaussian_mmi.npz") as file:
        return [
            GoldenCase(
                name=f"{case['process']}-T{case['T']}-tau{case['tau']}",
                series=file[f"{case['case']}_series"],
                tau=case["tau"],
                average=file[f"{case['case']}_average"],
                local=file[name] if (name := f"{case['case']}_local") in file else None,
            )
            for case in json.loads(str(file["meta"]))
        ]


GOLDEN = _golden_cases()


@pytest.fixture(params=GOLDEN, ids=lambda case: case.name)
def golden(request: pytest.FixtureRequest) -> GoldenCase:
    return request.param


@pytest.fixture(params=["numpy", "torch"])
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
