"""What a backend owes: what it runs, where, and why not elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .contract import ArrayKind, Key, Nodes, Pairs, Request


@dataclass(frozen=True)
class Status:
    """Answer of a backend to where it can run on this machine.

    Attributes:
        devices: kinds of device it can run on now, such as ("cpu", "cuda"); empty if none.
        why: what keeps it from running (on more devices), None if nothing does.
        remedy: what would help, None if nothing has to.
        broken: whether something is amiss that "auto" should speak of when it goes on to another
            backend, rather than just not there.
        numbers: of the GPUs that it can run on; None: on all that there are.
    """

    devices: tuple[str, ...]
    why: str | None = None
    remedy: str | None = None
    broken: bool = False
    numbers: tuple[int, ...] | None = None

    @property
    def available(self) -> bool:
        """Whether it can run at all."""
        return bool(self.devices)

    def takes(self, device: str, number: int | None = None) -> bool:
        """Whether it can run on a device of that kind, and, if a number is given, on that one."""
        known = number is None or self.numbers is None or number in self.numbers
        return device in self.devices and known


@dataclass(frozen=True)
class Wanted:
    """What a backend is looked for to do.

    Attributes:
        estimator: its key.
        moments: from moments instead of a series.
        by_node: sums over the pairs of each node.
        pointwise: atoms at every sample.
        members: of nodes of several columns, `formulas.members.bases.Bases` instead of a series.
    """

    estimator: Key = ("gaussian", "MMI")
    moments: bool = False
    by_node: bool = False
    pointwise: bool = False
    members: bool = False


@dataclass(frozen=True)
class Backend:
    """One way to compute all pairs, a rectangle of them, chosen pairs or sums by node.

    Attributes:
        name: as in `phiid(..., backend=name)`.
        summary: one line.
        arrays: the kind of array it takes and returns.
        run: `run(source, request)`, on a checked (trials, time, nodes) array or on `Moments`.
            Imports what only this backend needs when it is called.
        status: probes this machine, cheaply and without side effects.
        differentiable: whether gradients flow back to the series.
        automatic: kinds of device on which "auto" may choose it.
        refuses: what it cannot do of what is wanted, to follow "does not"; None if it can do all.
        shares: further kinds of array whose memory it takes as it is, and gives back.
        preferred: kinds of array for which "auto" tries it before all others.
        pointwise: `pointwise(xp, variables, pairs, key)`, atoms at every sample, see
            `engine.at_samples`; None if it has none.
        members: whether it takes nodes of several columns.
        prepare: makes ready what the first use needs; raises RuntimeError if that fails, and says
            why and what would help.
    """

    name: str
    summary: str
    arrays: ArrayKind
    run: Callable[[Any, Request], Pairs | Nodes]
    status: Callable[[], Status]
    differentiable: bool = False
    automatic: tuple[str, ...] = ("cpu", "cuda")
    refuses: Callable[[Wanted], str | None] = lambda wanted: None
    shares: tuple[ArrayKind, ...] = ()
    preferred: tuple[ArrayKind, ...] = ()
    pointwise: Callable[[Any, Any, Any, Key], tuple[Any, Any]] | None = None
    members: bool = False
    prepare: Callable[[], Any] | None = None

    def lacks(self, wanted: Wanted) -> str | None:
        """What it cannot do of what is wanted, to follow "does not"; None if it can do all."""
        if wanted.pointwise and self.pointwise is None:
            return "compute atoms at every sample"
        if wanted.members:
            why = "its kernels know pairs of single columns, four variables"
            return None if self.members else f"take nodes of several columns (members=): {why}"
        return self.refuses(wanted)
