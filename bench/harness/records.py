"""The format of results: what ran where, how long it took and how wrong it was.

Needs NumPy and torch alone, so that whoever measures something writes the same:

    run = records.Run.start("cuda")
    run.roofline = {...}
    run.add(records.Record(...))
    run.save(path)

A time stands only beside a check that passed: `Record.measured` takes the one with the other, and
`Record` refuses a time without.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMAT = 1
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"

STATES = ("measured", "refused", "missing", "failed")
_PACKAGES = ("numpy", "torch", "triton", "transformers", "hoi", "jax", "numba", "joblib", "scipy")


@dataclass(frozen=True)
class Check:
    """An output beside the truth.

    Attributes:
        error: largest, in the unit of the atoms; infinite where one has a value and the other none.
        tolerance: what is allowed.
        compared: number of values compared.
        truth: what they were compared with.
    """

    error: float
    tolerance: float
    compared: int
    truth: str = "synkern.decomposition.reference"

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing is further off."""
        return self.compared > 0 and self.error <= self.tolerance


@dataclass(frozen=True)
class Record:
    """One contender and one workload on one shape.

    Attributes:
        way: what computed, the name of a contender, see `bench.cases.contenders`.
        peer: whether it is not synkern.
        work: what it computed, the name of a workload, see `bench.cases.workloads`.
        shape: name, nodes, trials, time.
        dtype: of arithmetic and output.
        device: "cpu" or "cuda".
        state: "measured"; "refused": its output is wrong; "missing": not installed; "failed".
        reason: why there is no time, None if there is one.
        timed: trials, nodes and pairs a trial that were really computed in a round.
        sweeps: seconds of each round, by sweep over all that is measured; without a passed check
            there are none.
        seeds: of the inputs that took turns.
        operations, bytes: of a round, by the model of `bench.cases.workloads`.
        floor: seconds that the machine's measured roofline leaves at least, None without one.
        check: of the output of the last timed round of every sweep, the worst.
    """

    way: str
    work: str
    shape: dict[str, Any]
    dtype: str
    device: str = "cpu"
    peer: bool = False
    state: str = "measured"
    reason: str | None = None
    timed: dict[str, int] | None = None
    sweeps: tuple[tuple[float, ...], ...] = ()
    seeds: tuple[int, ...] = ()
    operations: float | None = None
    bytes: float | None = None
    floor: float | None = None
    check: Check | None = None

    def __post_init__(self) -> None:
        """Refuse a time without a passed check, and the lack of one without a reason."""
        if self.state not in STATES:
            raise ValueError(f"state must be one of {', '.join(STATES)}; got {self.state!r}")
        if self.sweeps and (self.check is None or not self.check.passed):
            raise ValueError(f"{self.way}, {self.work}: a time needs a passed check of its output")
        if bool(self.sweeps) != (self.state == "measured"):
            raise ValueError(f"{self.way}, {self.work}: {self.state} with {len(self.sweeps)} times")
        if self.state != "measured" and not self.reason:
            raise ValueError(f"{self.way}, {self.work}: {self.state} needs a reason")

    @property
    def key(self) -> tuple[str, ...]:
        """What is the same in two runs."""
        return (self.device, self.shape["name"], self.work, self.way, self.dtype)

    @property
    def decompositions(self) -> int:
        """(trial, pair) of a round."""
        assert self.timed is not None
        return self.timed["trials"] * self.timed["pairs"]

    @property
    def medians(self) -> np.ndarray:
        """(sweeps,) seconds a decomposition, the median of the rounds of each sweep."""
        return np.array([np.median(rounds) for rounds in self.sweeps]) / self.decompositions

    @property
    def seconds(self) -> float:
        """A round's median, over all sweeps."""
        return float(np.median(np.concatenate(self.sweeps)))

    @property
    def per_decomposition(self) -> float:
        """Seconds: geometric mean of the sweeps' medians."""
        return float(np.exp(np.log(self.medians).mean()))

    @property
    def spread(self) -> float:
        """Interquartile range of all rounds, as a share of the median."""
        low, middle, high = np.quantile(np.concatenate(self.sweeps), (0.25, 0.5, 0.75))
        return float((high - low) / middle)

    @property
    def of_roofline(self) -> float | None:
        """Share of the machine's roofline that is reached."""
        return None if self.floor is None else self.floor / self.seconds

    @property
    def scaled(self) -> str | None:
        """What was timed of the shape, where that is not all of it."""
        if self.timed is None:
            return None
        said = []
        for what in ("trials", "nodes"):
            if self.timed[what] != self.shape[what]:
                said.append(f"{self.timed[what]} of {self.shape[what]:,} {what}")
        nodes = self.timed["nodes"]
        if self.timed["pairs"] != nodes * (nodes - 1) // 2:
            said.append(f"{self.timed['pairs']:,} of {nodes * (nodes - 1) // 2:,} pairs")
        return ", ".join(said) or None


@dataclass
class Run:
    """Records of one run on one machine.

    Attributes:
        machine: what a figure depends on, and nothing that names the machine.
        versions: of what was installed.
        commit: of the checkout, with "+" if files differ from it.
        date: when it began, UTC.
        roofline: bytes and operations a second, measured; see `bench.harness.roofline`.
        records: of speed.
        tables: other results, by name, as they are.
    """

    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str
    date: str
    roofline: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, device: str = "cpu") -> Run:
        """An empty run here and now."""
        return cls(
            machine=machine(device),
            versions=versions(),
            commit=commit(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def add(self, record: Record) -> None:
        """Take in a record; one with the same key is replaced."""
        self.records = [r for r in self.records if r.key != record.key] + [record]

    def save(self, path: Path) -> None:
        """Write JSON, a record a line: what changed shows in a diff."""
        content = dataclasses.asdict(self)
        records = ",\n".join(
            json.dumps(_plain(r), ensure_ascii=False) for r in content.pop("records")
        )
        head = json.dumps({"format": FORMAT} | _plain(content), indent=1, ensure_ascii=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{head[:-2]},\n "records": [\n{records}\n]}}\n', encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Read what `save` wrote.

        Raises:
            ValueError: it is of another format.
        """
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not a result of format {FORMAT}; measure it again")
        records = [_record(r) for r in content.pop("records")]
        return cls(records=records, **content)


def machine(device: str = "cpu") -> dict[str, Any]:
    """Processor, cores and memory; the GPU's where that is the device."""
    found: dict[str, Any] = {
        "device": device,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu memory": properties.total_memory}
    return found


def versions() -> dict[str, str]:
    """Versions of Python, synkern and what it may be compared with."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for package in ("synkern", *_PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | {"torch": torch.__version__}


def commit() -> str:
    """Commit of the checkout; "unknown" outside one."""
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (
                ("rev-parse", "--short=12", "HEAD"),
                ("status", "--porcelain", "synkern", "kernels"),
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _processor() -> str:
    """The model's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _record(content: dict[str, Any]) -> Record:
    check = content.pop("check")
    sweeps = tuple(tuple(rounds) for rounds in content.pop("sweeps"))
    seeds = tuple(content.pop("seeds"))
    return Record(check=Check(**check) if check else None, sweeps=sweeps, seeds=seeds, **content)


def _plain(value: Any) -> Any:
    """Numbers to six digits: what comes after is noise."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value
