"""What the kernels took on an H100, from `bench/results/h100.json`, beside the model of one.

The times are of the kernels and launches of the commits that the file names.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from bench.harness.records import Run


class Measured(NamedTuple):
    """A time and what it holds besides the kernel.

    Attributes:
        ms: milliseconds of the device.
        besides: of them, by the measured rates, what other kernels take that the time has in it:
            for moments the library's products and what they write, for Triton's series the copy
            that puts past and future side by side.
    """

    ms: float
    besides: float


def of_kernel(run: Run, backend: str, name: str, launch: str | None) -> Measured | None:
    """The time of a kernel over all pairs of the study's shape; None if it was not taken.

    Args:
        run: the results.
        backend: "cupy" or "triton".
        name: of the kernel, as `ahead` of the backend has it.
        launch: of Triton: how it is launched now; where launches were swept, that one's time.
    """
    stages = [
        (stage, found) for one in run.tables["gpu check"] for stage, found in one["stages"].items()
    ]
    ms = _cuda(stages, name) if backend == "cupy" else _triton(stages, name, launch)
    return None if ms is None else Measured(ms, _besides(stages, backend, name))


def _cuda(stages: list[tuple[str, Any]], name: str) -> float | None:
    found = re.fullmatch(r"phiid::(\w+)<(double|float), ?(.*?)(?:, )?phiid::AllPairs>", name)
    if not found:
        return None
    kernel, real, choice = found.groups()
    dtype = {"double": "float64", "float": "float32"}[real]
    estimator, path = {
        "mmi_series": ("gaussian MMI", "series"),
        "mmi_lags": ("gaussian MMI", "one series"),
        "mmi_moments": ("gaussian MMI", "moments"),
        "ccs": ("gaussian CCS", "series"),
        "discrete": (f"discrete {'CCS' if choice == 'true' else 'MMI'}", "series"),
    }.get(kernel, (None, ""))
    atoms = 16 if choice == "phiid::All" else 2
    label = f"{estimator}, {atoms} atoms, {dtype}, {path}"
    return _time(stages, "device ms of a kernel", label)


def _triton(stages: list[tuple[str, Any]], name: str, launch: str | None) -> float | None:
    for stage, found in stages:
        if "sweep" in stage and name.endswith("summed"):
            ms = found.get(name, {}).get("times", {}).get(launch)
            if isinstance(ms, float):
                return ms
    found = re.fullmatch(r"(float\d\d) (series|moments) (few|many) summed", name)
    if not found or found[1] == "float64":  # of float64 the launches have changed since
        return None
    atoms = {"few": 2, "many": 16}[found[3]]
    return _time(stages, "device ms", f"triton, {found[2]}, {atoms} atoms, {found[1]}")


def _time(stages: list[tuple[str, Any]], table: str, label: str) -> float | None:
    for _, found in stages:
        if label in found.get(table, {}):
            return float(found[table][label])
    return None


def _besides(stages: list[tuple[str, Any]], backend: str, name: str) -> float:
    """Milliseconds of other kernels at 1152 nodes, 60 trials, 99 pairs of samples."""
    rates = dict(stages)["roofline"]
    rate, copy = rates["float64 product TFLOP/s"], rates["copy TB/s"]
    numbers = 60 * 1152 * 1152
    if "moments" in name:  # three products of whole matrices, written once
        return 3 * numbers * 99 * 2 / rate / 1e9 + 3 * numbers * 8 / copy / 1e9
    if backend == "triton" and "series" in name:  # past and future, read and written
        return 2 * 2 * 60 * 1152 * 99 * 8 / copy / 1e9
    return 0.0
