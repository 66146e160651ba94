"""Instructions of a kernel, weighted by how often they are done: by kind, and clocks by unit."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import kinds, trips
from .kinds import Gpu
from .listing import Function, Loop, Place
from .trips import Work


@dataclass(frozen=True)
class Phase:
    """Code of a loop without its inner loops, or outside of all: what overlaps with itself.

    Attributes:
        line: of the source, that closes the loop; "" outside of all.
        turns: of the machine's loop, for one block.
        kinds: instructions of a thread by kind, all turns together.
        clocks: of a multiprocessor's units for one warp, likewise.
    """

    line: str
    turns: float
    kinds: Counter[str]
    clocks: Counter[str]


@dataclass(frozen=True)
class Counted:
    """Instructions of one block of a kernel.

    Attributes:
        phases: in the order of their addresses.
        unknown: what could not be counted as it should be, in words.
    """

    phases: tuple[Phase, ...]
    unknown: tuple[str, ...]

    @property
    def kinds(self) -> Counter[str]:
        """Instructions of a thread by kind."""
        return _sum(phase.kinds for phase in self.phases)

    @property
    def clocks(self) -> Counter[str]:
        """Clocks of a multiprocessor's units for one warp."""
        return _sum(phase.clocks for phase in self.phases)


def counted(function: Function, backend: str, work: Work, gpu: Gpu, sources: Sources) -> Counted:
    """Count the instructions that are reached from the kernel's start."""
    loops = function.loops
    unknown: list[str] = []
    turns = _turns(function, backend, work, sources, unknown)
    left_over = _left_over(function, turns)
    rare = _rare(function, backend, sources)
    sums: dict[int | None, tuple[Counter[str], Counter[str]]] = {}
    for block in sorted(set(function.reached) - rare):
        for n in range(block, function.ends[block] + 1):
            one = function.instructions[n]
            around = [k for k, loop in enumerate(loops) if n in loop.inside]
            inmost = min(around, key=lambda k: len(loops[k].inside), default=None)
            if (inmost, one.places) in left_over:
                continue
            lines = [sources.line(place) for place in one.places]
            weight = trips.share(backend, lines, work)
            for k in around:
                weight *= turns[k].each
            if not weight:
                continue
            what = kinds.kind(one.name)
            if what.startswith(kinds.UNKNOWN):
                unknown.append(f"instruction {one.opcode}")
            by_kind, by_unit = sums.setdefault(inmost, (Counter(), Counter()))
            by_kind[what] += weight
            touched = trips.scattered(backend, lines) if what == "LDG" else 0
            for unit, amount in kinds.clocks(gpu, one.opcode).items():
                took = touched if touched and unit == "memory path" else amount
                by_unit[unit] += weight * took
    phases = [
        Phase("" if k is None else turns[k].line, 1 if k is None else _all(k, loops, turns), *both)
        for k, both in sums.items()
    ]
    return Counted(tuple(phases), tuple(dict.fromkeys(unknown)))


@dataclass(frozen=True)
class _Turns:
    """Of a loop: its source line, turns of the machine's loop, source turns in each."""

    line: str
    each: float
    unrolled: int


def _turns(
    function: Function, backend: str, work: Work, sources: Sources, unknown: list[str]
) -> list[_Turns]:
    """By loop; the rest of an unrolled one, which is a loop of its own, turns no more."""
    found, closed = [], []
    for loop in function.loops:
        places = _closing(function, loop)
        lines = [sources.line(chain[0], before=True) for chain in places if chain]
        known = next((t for t in (trips.turns(backend, x, work) for x in lines) if t), None)
        line = lines[0].rpartition("\n")[2].strip() if lines else "no source line"
        closed.append(places[0] if places else ())
        if known is None:
            unknown.append(f"loop at {function.instructions[loop.head].address:#x}: {line}")
            found.append(_Turns(line, 1, 1))
            continue
        turns, stride = known
        unrolled = loop.step // stride if loop.step and loop.step % stride == 0 else 1
        found.append(_Turns(line, turns / unrolled, unrolled))
    for k, loop in enumerate(function.loops):
        same = [
            j
            for j, other in enumerate(function.loops)
            if closed[j] == closed[k] and _around(function, other) == _around(function, loop)
        ]
        if found[k].unrolled < max(found[j].unrolled for j in same):
            found[k] = _Turns(found[k].line, 0, found[k].unrolled)
    return found


def _around(function: Function, loop: Loop) -> Loop | None:
    """The loop that one is in."""
    outer = [other for other in function.loops if loop.inside < other.inside]
    return min(outer, key=lambda other: len(other.inside), default=None)


def _closing(function: Function, loop: Loop) -> list[tuple[Place, ...]]:
    """Source lines of the branches that close a loop, and of what is compared before them."""
    found = [function.instructions[latch].places for latch in loop.latches]
    for n in sorted((n for n in loop.inside if n <= max(loop.latches)), reverse=True):
        if function.instructions[n].name.endswith("SETP"):
            found.append(function.instructions[n].places)
            break
    found.append(function.instructions[loop.head].places)
    return [places for places in found if places]


def _left_over(function: Function, turns: Sequence[_Turns]) -> set[tuple[int | None, Any]]:
    """Code beside an unrolled loop that does what its turns do not: (loop around, places).

    Turns are counted as fractions of those of the unrolled loop instead.
    """
    found: set[tuple[int | None, Any]] = set()
    for k, loop in enumerate(function.loops):
        if turns[k].unrolled == 1:
            continue
        outer = _around(function, loop)
        around = function.loops.index(outer) if outer else None
        inner = {n for one in function.inner(loop) for n in one.inside}
        found |= {(around, function.instructions[n].places) for n in loop.inside - inner}
    return found


def _rare(function: Function, backend: str, sources: Sources) -> set[int]:
    """Blocks that are only come to through a branch around rare code.

    What is behind the code is come to around it too; the code itself is not.
    """
    before = function.before(function.reached)
    entries = set()
    for block in function.reached:
        branch = function.instructions[function.ends[block]]
        after = function.blocks[block]
        if branch.name != "BRA" or len(after) < 2 or not branch.places:
            continue
        if trips.rare(backend, sources.line(branch.places[0])):
            entries |= {to for to in after if before[to] == [block]}
    return {block for block, above in function.reached.items() if above & entries}


def _all(number: int, loops: Sequence[Loop], turns: Sequence[_Turns]) -> float:
    """Turns of a loop in one block."""
    found = 1.0
    for k, loop in enumerate(loops):
        if loops[number].inside <= loop.inside:
            found *= turns[k].each
    return found


def _sum(counters: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in counters:
        found.update(one)
    return found


@dataclass(frozen=True)
class Sources:
    """Lines of source files.

    Attributes:
        texts: of files that are known by the end of their path; the others are read.
    """

    texts: Mapping[str, str]

    def line(self, place: Place, *, before: bool = False) -> str:
        """A line; with the one before it and a line feed if wanted; "" if there is none."""
        lines = self._lines(place.file)
        if not 0 < place.line <= len(lines):
            return ""
        line = lines[place.line - 1]
        return f"{lines[place.line - 2] if place.line > 1 else ''}\n{line}" if before else line

    def _lines(self, file: str) -> tuple[str, ...]:
        for end, text in self.texts.items():
            if file.endswith(end):
                return tuple(_split(text))
        return _read(file)


@functools.cache
def _split(text: str) -> list[str]:
    return text.splitlines()


@functools.cache
def _read(file: str) -> tuple[str, ...]:
    path = Path(file)
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
