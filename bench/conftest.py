"""Options of the benchmarks, their order, and the results that they leave."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cases import contenders, peers, shapes
from bench.cases.workloads import WORKLOADS
from bench.harness import measure, roofline
from bench.harness.measure import Case, Measurement
from bench.harness.records import Record, Run

PEER_SHAPES = ("SmolLM2-135M", "Brain parcellation", "Qwen3-8B", "Tiny")
"""Where all peers are measured; phyid, the unit of the page, is measured on all shapes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("synkern")
    group.addoption("--phyid", help=f"path of a checkout of phyid; or set {peers.PHYID}")
    group.addoption("--out", type=Path, help="file for the records")
    group.addoption("--sweeps", type=int, default=3, help="over all that is measured")
    group.addoption("--seconds", type=float, default=300, help="for the timed rounds, about")
    group.addoption(
        "--limit",
        type=float,
        default=560,
        help="seconds after which no further sweep is begun, "
        "as far as can be told from the last one, and what is left of one is not measured",
    )
    group.addoption("--tiny", action="store_true", help="rehearse on a tiny shape")


@dataclass
class Session:
    """What the tests of a session share."""

    run: Run
    budget: float
    limit: float
    started: float = field(default_factory=time.monotonic)
    begun: list[float] = field(default_factory=list)
    total: int = 0
    done: int = 0
    measurements: dict[Case, Measurement] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds since the first test."""
        return time.monotonic() - self.started

    def begins(self, sweep: int) -> bool:
        """Whether a sweep is measured: the first is, others if they are expected to be finished.

        They take less than the first, which finds out how much can be timed.
        """
        if len(self.begun) == sweep:
            last = self.elapsed - self.begun[-1] if self.begun else 0.0
            fits = sweep == 0 or self.elapsed + (0.8 if sweep == 1 else 1.0) * last <= self.limit
            self.begun.append(self.elapsed if fits else math.inf)
        return self.begun[sweep] < math.inf


SESSION = pytest.StashKey[Session]()


def cases(tiny: bool) -> list[Case]:
    """All, a shape after the other."""
    found = []
    for shape in shapes.TINY if tiny else shapes.SHAPES:
        for workload in WORKLOADS:
            for contender in contenders.backends():
                if workload.name in contender.workloads:
                    found += [Case(contender, workload, shape, dtype) for dtype in contender.dtypes]
            for contender in peers.peers():
                places = PEER_SHAPES[::3] if contender.fixed else PEER_SHAPES
                if workload.name in contender.workloads and (
                    contender.name == "phyid" or shape.name in places
                ):
                    found += [Case(contender, workload, shape, dtype) for dtype in contender.dtypes]
    return found


def weight(case: Case) -> float:
    """Share of the time that a case gets: what the page quotes most gets most."""
    return 1.0 if case.dtype == "float64" and not case.contender.peer else 0.5


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "default")
    peers.find_phyid(config.getoption("--phyid"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" not in metafunc.fixturenames:
        return
    sweeps = range(metafunc.config.getoption("--sweeps"))
    every = cases(metafunc.config.getoption("--tiny"))
    metafunc.parametrize(
        ("sweep", "case"),
        [pytest.param(s, c, id=f"{c}, sweep {s + 1}") for s in sweeps for c in every],
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    measured = [i.callspec.params["case"] for i in items if hasattr(i, "callspec")]
    whole = sum(weight(case) for case in measured)
    config.stash[SESSION] = Session(
        run=Run.start("cuda" if torch.cuda.is_available() else "cpu"),
        budget=config.getoption("--seconds") / max(whole, 1),
        limit=config.getoption("--limit"),
        total=len(measured),
    )


@pytest.fixture(scope="session")
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """The run, saved at the end."""
    state = request.config.stash[SESSION]
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    state.started = time.monotonic()
    yield state
    state.run.tables["sweeps"] = {
        "asked for": request.config.getoption("--sweeps"),
        "measured": sum(start < math.inf for start in state.begun),
        "seconds": state.elapsed,
        "missing backends": contenders.missing_backends(),
    }
    for measurement in state.measurements.values():
        state.run.add(measurement.record(state.run.roofline))
    path = request.config.getoption("--out")
    if path:
        state.run.save(path)
        reporter.ensure_newline()
        reporter.write_line(f"{len(state.run.records)} records in {path}")


@pytest.fixture
def roof(session: Session, sweep: int) -> dict[str, float]:
    """The machine's, measured again at the start of every sweep."""
    taken = session.run.roofline.setdefault("sweeps", [])
    while len(taken) <= sweep:
        device = session.run.machine["device"]
        taken.append(roofline.measure(device))
        best = {k: v for k, v in session.run.roofline.items() if k != "sweeps"}
        session.run.roofline |= roofline.best(best, taken[-1])
    return {k: v for k, v in session.run.roofline.items() if k != "sweeps"}


@pytest.fixture
def say(request: pytest.FixtureRequest, session: Session) -> Callable[[Record], None]:
    """Prints a line of progress."""
    reporter: Any = request.config.pluginmanager.getplugin("terminalreporter")

    def line(record: Record) -> None:
        session.done += 1
        each = f"{record.per_decomposition * 1e9:,.4g} ns" if record.sweeps else record.state
        reporter.ensure_newline()
        reporter.write_line(
            f"[{session.done}/{session.total}, {session.elapsed:.0f} s] {record.shape['name']}, "
            f"{record.work}, {record.way} {record.dtype}: {each}"
            + (f" ({record.scaled})" if record.scaled else "")
            + (f": {record.reason}" if record.reason else "")
        )

    return line


def event_rounds_or_none(case: Case) -> measure.Rounds | None:
    """Function that times rounds by the GPU's events; None if the case runs on the host."""
    return measure.event_rounds if case.contender.device == "cuda" else None
