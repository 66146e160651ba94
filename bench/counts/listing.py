"""What `nvdisasm -c -gi` prints: instructions with their source lines, and the loops they form.

A loop is what a back edge closes: a branch to a block through which every way to the branch leads
(natural loops of Hecht and Ullman). Code that is laid out elsewhere but entered from a loop alone
belongs to it, and a rare path that jumps back from the end of the function closes nothing.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Place(NamedTuple):
    """A line of a source file, counted from 1."""

    file: str
    line: int


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        address: in the function, bytes.
        text: without address and semicolon, with its predicate.
        places: the source line, then the lines into which that was inlined, innermost first;
            empty where the compiler says nothing.
    """

    address: int
    text: str
    places: tuple[Place, ...] = ()

    @functools.cached_property
    def predicate(self) -> str | None:
        """What has to hold for it to be done, `!P0` for example."""
        found = _PREDICATE.match(self.text)
        return found[1] if found and found[1] not in ("PT", "UPT") else None

    @functools.cached_property
    def opcode(self) -> str:
        """With its modifiers, `LDS.64` for example."""
        return _PREDICATE.sub("", self.text).split()[0]

    @property
    def name(self) -> str:
        """Of the opcode alone."""
        return self.opcode.partition(".")[0]

    @functools.cached_property
    def operands(self) -> tuple[str, ...]:
        """As they are written, without `.reuse`."""
        _, _, rest = _PREDICATE.sub("", self.text).partition(" ")
        return (
            tuple(part.strip().removesuffix(".reuse") for part in rest.split(",")) if rest else ()
        )

    @property
    def target(self) -> str | None:
        """The label that it names."""
        found = _TARGET.search(self.text)
        return found[1] if found else None


_PREDICATE = re.compile(r"^@(!?U?P(?:T|\d))\s+")
_TARGET = re.compile(r"`\(([^)]+)\)")
_LABEL = re.compile(r"^\s*([.$]?[\w.$]+):\s*$")
_INSTRUCTION = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(.*?)\s*;")
_PLACE = re.compile(r'File "([^"]*)", line (\d+)')
_SECTION = re.compile(r"^\.text\.(\S+):")


@dataclass(frozen=True)
class Loop:
    """A natural loop.

    Attributes:
        head: number of its first instruction.
        latches: numbers of the branches that close it.
        inside: numbers of its instructions, those of inner loops too.
        step: what its counter rises or falls by at each turn; None: no counter was found.
    """

    head: int
    latches: tuple[int, ...]
    inside: frozenset[int]
    step: int | None


@dataclass(frozen=True)
class Function:
    """A function of a listing.

    Attributes:
        name: as the compiler has it.
        instructions: in the order of their addresses.
        labels: number of the instruction that follows, by name.
    """

    name: str
    instructions: tuple[Instruction, ...]
    labels: dict[str, int]

    @functools.cached_property
    def blocks(self) -> dict[int, tuple[int, ...]]:
        """Numbers of the first instructions of the blocks that follow each other, by the same."""
        starts = {0, *(n for n in self.labels.values() if n < len(self.instructions))}
        starts |= {n + 1 for n, one in enumerate(self.instructions) if one.name in _TURNS}
        order = sorted(n for n in starts if n < len(self.instructions))
        ends = [*order[1:], len(self.instructions)]
        return {start: tuple(self._after(end - 1)) for start, end in zip(order, ends, strict=True)}

    def _after(self, number: int) -> Iterator[int]:
        """What may be done after an instruction: numbers of instructions."""
        one = self.instructions[number]
        if one.name in _LOST:
            raise ValueError(f"{self.name}: {one.text!r} may go anywhere; loops cannot be found")
        goes = _always(one)
        if one.name == "BRA" and ".DIV" not in one.opcode:  # that is of lanes that went apart
            yield self._label(one)
        if one.name == "BSYNC":
            yield self._reunion(number)
        if not (goes and one.name in _ENDS) and number + 1 < len(self.instructions):
            yield number + 1

    def _label(self, one: Instruction) -> int:
        if one.target not in self.labels:
            raise ValueError(f"{self.name}: {one.text!r} goes to a label that is not in it")
        return self.labels[one.target]

    def _reunion(self, number: int) -> int:
        """Where lanes go on that BSYNC has waited for: what the BSSY before says."""
        barrier = self.instructions[number].operands[0]
        for one in reversed(self.instructions[:number]):
            if one.name == "BSSY" and one.operands[0] == barrier:
                return self._label(one)
        return number + 1

    @functools.cached_property
    def reached(self) -> dict[int, frozenset[int]]:
        """Blocks that are reached from the start, with their dominators.

        Slow paths that are called, as of a division, are not.
        """
        order, seen, left = [], {0}, [(0, iter(self.blocks[0]))]
        while left:
            block, follow = left[-1]
            new = next((n for n in follow if n not in seen), None)
            if new is None:
                order.append(block)
                left.pop()
            else:
                seen.add(new)
                left.append((new, iter(self.blocks[new])))
        order.reverse()
        before = self.before(order)
        every = frozenset(order)
        found = dict.fromkeys(order, every) | {0: frozenset({0})}
        changed = True
        while changed:
            changed = False
            for block in order[1:]:
                new = frozenset.intersection(*(found[b] for b in before[block])) | {block}
                changed |= new != found[block]
                found[block] = new
        return found

    def before(self, blocks: Iterable[int]) -> dict[int, list[int]]:
        """Blocks before each, of those given."""
        found = defaultdict(list)
        for block in blocks:
            for follow in self.blocks[block]:
                found[follow].append(block)
        return found

    @functools.cached_property
    def ends(self) -> dict[int, int]:
        """Number of the last instruction of each block."""
        order = sorted(self.blocks)
        return dict(
            zip(order, [*(n - 1 for n in order[1:]), len(self.instructions) - 1], strict=True)
        )

    @functools.cached_property
    def loops(self) -> tuple[Loop, ...]:
        """Natural loops, by their first instruction; those with one head are one."""
        before = self.before(self.reached)
        closing = defaultdict(list)
        for block, above in self.reached.items():
            for head in self.blocks[block]:
                if head in above and not self._stands_still(block, head):
                    closing[head].append(block)
        found = []
        for head, latches in sorted(closing.items()):
            inside, left = {head}, list(latches)
            while left:
                block = left.pop()
                if block not in inside:
                    inside.add(block)
                    left += before[block]
            numbers = frozenset(n for b in inside for n in range(b, self.ends[b] + 1))
            branches = tuple(self.ends[b] for b in latches)
            found.append(Loop(head, branches, numbers, self._step(numbers, branches)))
        return tuple(found)

    def _stands_still(self, block: int, head: int) -> bool:
        """The branch to itself behind the end of every function."""
        return block == head == self.ends[block]

    def inner(self, loop: Loop) -> list[Loop]:
        """Loops inside of one."""
        return [one for one in self.loops if one.inside < loop.inside]

    def _step(self, inside: frozenset[int], latches: tuple[int, ...]) -> int | None:
        """What is added, once a turn, to a register that the closing branch is decided by."""
        added = {}
        written: dict[str, int] = defaultdict(int)
        for n in inside:
            one = self.instructions[n]
            if one.operands:
                written[one.operands[0]] += 1
            number = _added(one)
            if number:
                added[one.operands[0]] = abs(number)
        once = {register: by for register, by in added.items() if written[register] == 1}
        steps = {
            once[register]
            for latch in latches
            for register in self._deciding(latch, inside)
            if register in once
        }
        return min(steps) if steps else None

    def _deciding(self, latch: int, inside: frozenset[int]) -> set[str]:
        """Registers whose comparison decides a branch, through predicates."""
        wanted = set(re.findall(r"\bU?P\d\b", self.instructions[latch].text))
        found: set[str] = set()
        for n in sorted((n for n in inside if n < latch), reverse=True):
            one = self.instructions[n]
            if not (one.name.endswith(("SETP", "LOP3")) and set(one.operands[:2]) & wanted):
                continue
            wanted -= set(one.operands[:2])
            for operand in one.operands[2:]:
                predicate = operand.lstrip("!")
                if re.fullmatch(r"U?P\d", predicate):
                    wanted.add(predicate)
                elif re.fullmatch(r"U?R\d+", operand):
                    found.add(operand)
        return found


_ENDS = {"BRA", "EXIT", "RET", "BSYNC"}
_LOST = {"BRX", "BRXU", "JMX", "JMXU"}
_TURNS = _ENDS | _LOST


def _always(one: Instruction) -> bool:
    """Whether a branch is taken, or an end reached, each time it is met."""
    if one.predicate:
        return False
    return one.name != "BRA" or one.operands[0].startswith("`")


def _added(one: Instruction) -> int | None:
    """The number that an instruction adds to a register, low half of a pair or whole."""
    if one.name not in ("IADD3", "UIADD3", "VIADD", "IADD") or one.opcode.endswith(".X"):
        return None
    target, *sources = one.operands
    sources = [s for s in sources if s not in ("RZ", "URZ") and not re.fullmatch(r"!?U?P[T\d]", s)]
    numbers = [int(s, 16) for s in sources if re.fullmatch(r"-?0x[0-9a-f]+", s)]
    if len(sources) != 2 or len(numbers) != 1 or target not in sources:
        return None
    return numbers[0] - (1 << 32 if numbers[0] >= 1 << 31 else 0)


def parse(text: str) -> dict[str, Function]:
    """Functions of a listing, by name.

    Raises:
        ValueError: there is none in it.
    """
    found: dict[str, tuple[list[Instruction], dict[str, int]]] = {}
    name: str | None = None
    places: tuple[Place, ...] = ()
    fresh = True
    for line in text.splitlines():
        section = _SECTION.match(line)
        if section:
            name, places = section[1], ()
            found[name] = [], {}
            continue
        if name is None:
            continue
        instructions, labels = found[name]
        if line.lstrip().startswith("//##"):
            place = _PLACE.search(line)
            if place:
                places = () if fresh else places
                places, fresh = (*places, Place(place[1], int(place[2]))), False
        elif label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif one := _INSTRUCTION.match(line):
            instructions.append(Instruction(int(one[1], 16), one[2], places))
            fresh = True
    if not found:
        raise ValueError(f"no function in the listing: {text[:80]!r}")
    return {name: Function(name, tuple(these), labels) for name, (these, labels) in found.items()}
