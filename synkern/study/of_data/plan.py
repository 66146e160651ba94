"""What is about to be done, whether there is room for it, and how long it takes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synkern import _memory
from synkern.study.errors import StudyError
from synkern.study.numerals import size
from synkern.study.of_data.computing import CHUNK_BYTES, decomposed
from synkern.study.of_data.controls import UNRELATED_DRAWS
from synkern.study.of_data.decomposing import MAIN, names_of, pooled_alone
from synkern.study.of_data.options import DECOMPOSING, EXCESS, NULL, SURROGATES
from synkern.study.of_data.preparing import Prepared
from synkern.study.of_data.steps import Step, Work
from synkern.study.of_data.surrogates import Chosen
from synkern.study.plan import duration
from synkern.study.settings import NONE

# Float64 copies of the series that are alive at once: as read, prepared, in a call, of a surrogate.
_COPIES_OF_SERIES = 6
# Matrices of all pairs beside the atoms: of tallies, of p, q, z and means, temporaries.
_MATRICES = 24
# Chunks of trials, and of draws, at their height.
_CHUNKS = 2 * CHUNK_BYTES
# Figures, page and tables, beside the table of pairs.
_REPORT_BYTES = 6e6
_BYTES_OF_A_PAIR = 150
_FEW_NODES, _MANY_NODES = 32, 384


@dataclass(frozen=True)
class Plan:
    """What would be done.

    Attributes:
        lines: for readers.
        seconds: that it takes, without reading and report; NaN if it was not measured.
        memory, disk: bytes that it takes.
        report: None: nothing has been written.
    """

    lines: tuple[str, ...]
    seconds: float
    memory: float
    disk: float
    report: Path | None = field(default=None)

    def summary(self) -> list[str]:
        """Return in lines for a terminal what would be done."""
        return list(self.lines)


def planned(work: Work, to_do: Sequence[Step]) -> Plan:
    """Say what is to be done, and measure one decomposition for how long it takes.

    Raises:
        StudyError: there is not enough memory, or disk.
    """
    found, options = work.found, work.options
    memory, disk = _memory_of(work), _disk_of(work)
    _check_room(work, memory, disk)
    lines = [f"plan: {shape_of(found)}"]
    if not to_do:
        lines.append("all of it is there; only tables and report are made")
        return Plan(tuple(lines), 0.0, memory, disk)
    each = sum(decompositions(work, step) for step in to_do)
    one = _one_decomposition(work)
    seconds = each * one
    lags = ", ".join(map(str, sorted({step.tau for step in to_do})))
    lines.append(
        f"{' and '.join(_said(work, kind) for kind in dict.fromkeys(s.kind for s in to_do))}, at "
        f"lag {lags}: {each * found.count:,} decompositions"
    )
    lines.append(f"null: {said_null(work.null)}")
    lines.append(
        f"about {duration(seconds)} ({one * 1e3:.3g} ms for all pairs of a trial), "
        f"{size(memory)} of memory and {size(disk)} on the disk of {str(options.out)!r}, without "
        "scores and report"
    )
    return Plan(tuple(lines), seconds, memory, disk)


def shape_of(found: Prepared) -> str:
    """Return in words how large the recording is."""
    samples = found.valid.sum(1)
    low, high = int(samples.min()), int(samples.max())
    length = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    whose = f" of {len(found.units)} subjects" if found.of_subjects else ""
    trials = f"{found.trials:,} trial{'s' if found.trials > 1 else ''}{whose}"
    every = found.nodes * (found.nodes - 1) // 2
    pairs = f"{found.count:,}{'' if found.count == every else f' of {every:,}'} pairs"
    return f"{trials} with {length} valid samples, {found.nodes:,} nodes, {pairs}"


def said_null(null: Chosen) -> str:
    """Return in words which null there is, and why."""
    return f"none ({null.why})" if null.name == NONE else f"{null.name} ({null.why})"


def decompositions(work: Work, step: Step) -> int:
    """Return how many times all pairs of a trial are decomposed."""
    options, trials = work.options, work.found.trials
    if step.kind == DECOMPOSING:
        again = 1 + options.bootstrap if pooled_alone(options, work.found) else 0
        return trials * (1 + again)
    if step.kind == EXCESS:
        return trials * 2 * (1 + (UNRELATED_DRAWS if work.null.name != NONE else 0))
    return trials * (1 + (options.null_draws or SURROGATES))


def _said(work: Work, kind: str) -> str:
    draws = work.options.null_draws or SURROGATES
    return {
        DECOMPOSING: "decompose all pairs",
        EXCESS: "set them against their persistence",
        NULL: f"test them against {draws} surrogates",
    }[kind]


def _one_decomposition(work: Work) -> float:
    """Seconds that the pairs of a typical trial take; of very many nodes, from those of some."""
    found, options = work.found, work.options
    samples = found.samples(options.tau[0])
    trial = int(samples.argsort()[len(samples) // 2])
    series = found.series[[trial], found.stretch(trial)][..., :_MANY_NODES]
    asked: Any = {"atoms": names_of(options), "average": None}
    plain = replace(options, progress=False)
    # The first pays for what is loaded or built.
    decomposed(plain, series[..., :_FEW_NODES], None, options.tau[0], None, **asked)
    started = time.perf_counter()
    decomposed(plain, series, None, options.tau[0], None, **asked)
    seconds = time.perf_counter() - started
    nodes = series.shape[-1]
    return float(seconds * found.count / (nodes * (nodes - 1) / 2))


def _memory_of(work: Work) -> float:
    found, options = work.found, work.options
    matrix, units = 8 * found.nodes**2, len(found.units)
    atoms = len(names_of(options))
    kept = 2 * len(MAIN) * units if options.keep_subjects else 0
    # Pairs of every unit as they come, joined, and where they have a value.
    by_unit = 5 * units / 2
    chunk = min(_CHUNKS, 8 * matrix * found.trials * max(2, atoms))
    lags = len(options.tau) * (atoms + 9)
    return (
        _COPIES_OF_SERIES * found.series.nbytes
        + matrix * (lags + 2 * atoms + _MATRICES + by_unit + kept)
        + 2 * chunk
    )


def _disk_of(work: Work) -> float:
    found, options = work.found, work.options
    matrix = 8 * found.nodes**2
    per_lag = len(names_of(options)) + (9 if NULL in work.kinds else 1)
    per_lag += len(MAIN) * len(found.units) if options.keep_subjects else 0
    # The old file stays until the new one is complete; labelled copies are as large.
    copies = 2 + len({*(options.write or ())} & {"netcdf", "zarr"})
    return (
        len(options.tau) * (copies * matrix * per_lag + _BYTES_OF_A_PAIR * min(found.count, 2e5))
        + _REPORT_BYTES
    )


def _check_room(work: Work, memory: float, disk: float) -> None:
    found = work.found
    free = _memory.available()
    what = f"all pairs of {found.nodes:,} nodes"
    if free is not None and memory > free:
        raise StudyError(
            f"{what} of {found.trials:,} trials take about {size(memory)} of memory, and "
            f"{size(free)} are available; read fewer nodes (an atlas, or columns), fewer lags or "
            "atoms, or leave keep_subjects out"
        )
    place = Path(work.options.out).absolute()
    while not place.exists():
        place = place.parent
    room = shutil.disk_usage(place).free
    if disk > room:
        raise StudyError(
            f"{what} take about {size(disk)} on the disk of {str(work.options.out)!r}, and "
            f"{size(room)} are available; make room, or name a folder on another disk"
        )
