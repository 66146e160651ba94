"""Options and records of the benchmarks."""

from __future__ import annotations

import importlib
import platform
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import synkern


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--phyid", help="path of a checkout of phyid, to be timed beside synkern")


def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """What a figure depends on, and nothing that names the machine."""
    del config
    return {
        "machine": platform.machine(),
        "cores": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "synkern": synkern.__version__,
    }


@pytest.fixture
def phyid(request: pytest.FixtureRequest) -> ModuleType:
    path = request.config.getoption("--phyid")
    if path is None:
        pytest.skip("phyid is missing: give the path of a checkout with --phyid")
    sys.path.insert(0, path)
    return importlib.import_module("phyid.calculate")
