"""The options of a decomposition, each named once: for type checkers, for checks and for users.

Words alone, so that whoever lists the choices (a command, a report) imports nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, get_args

Kind = Literal["gaussian", "discrete"]
"""The kind of estimator: of jointly Gaussian variables, or of bits."""

Redundancy = Literal["MMI", "CCS"]
"""The redundancy function."""

Pooled = Literal["moments", "concatenate"]
"""How trials are made one before they are decomposed."""

Average = Literal["trials", "moments", "concatenate"]
"""How trials combine: averaged after they were decomposed, or pooled before."""

Unit = Literal["nats", "bits"]
"""The unit of informations."""

DType = Literal["float64", "float32"]
"""The dtype of arithmetic and output; float32 for memory, not for time, on a CPU.

Time of float64 over that of float32, rtr and sts of 300 to 400 nodes, one thread: the backend "cpu"
1.0 to 1.1, whatever the nodes, as its arithmetic is float64 (the result is rounded); "numpy" and
"torch" 1.6 where nodes hardly persist (a lag-1 correlation of 0.5), but 0.7 where they do (0.9 or
more, as attention heads and brain signals): most pairs are then computed a second time, in float64.
"cpu" in float64 is 3 to 6 times as fast as these in float64.
"""

Selected = Literal["within", "between", "bipartite"]
"""Selections of pairs that have a name; they need groups."""

Step = Literal["linear", "quadratic", "difference", "copula", "zscore"]
"""What may be done to a series before, by its name in `preprocess.PREPROCESSING`."""

KINDS: tuple[Kind, ...] = get_args(Kind)
REDUNDANCIES: tuple[Redundancy, ...] = get_args(Redundancy)
POOLED: tuple[Pooled, ...] = get_args(Pooled)
AVERAGES: tuple[Average, ...] = get_args(Average)
UNITS: tuple[Unit, ...] = get_args(Unit)
DTYPES: tuple[DType, ...] = get_args(DType)
SELECTIONS: tuple[Selected, ...] = get_args(Selected)
STEPS: tuple[Step, ...] = get_args(Step)

OWN_UNIT: dict[Kind, Unit] = {"gaussian": "nats", "discrete": "bits"}
"""The unit of a kind's atoms where none is asked for; phyid's."""

_NATS = {"nats": 1.0, "bits": math.log(2)}


def unit_factor(own: str, wanted: str | None) -> float:
    """Return what a value in one unit is multiplied by to be in another.

    Args:
        own: the unit that the value has.
        wanted: the unit that it shall have; None: its own.

    Returns:
        1 exactly where the two are the same.
    """
    return 1.0 if wanted in (None, own) else _NATS[own] / _NATS[wanted]


class SharedOptions(TypedDict, total=False):
    """Keywords that all decompositions of many pairs share, for type checkers."""

    mask: Any
    atoms: str | Sequence[str]
    average: Average | None
    unit: Unit | None
    backend: str
    dtype: DType
    node_names: Sequence[Any] | None


class CommonOptions(SharedOptions, total=False):
    """Keywords that `phiid` and `persistence_reference` share, for type checkers."""

    pairs: Any
    groups: Any


class PhiidOptions(CommonOptions, total=False):
    """Keywords of `phiid` and `phiid_lags` beside the series and its lag."""

    kind: Kind | None
    redundancy: Redundancy
    members: Any


class NodeOptions(SharedOptions, total=False):
    """Keywords of `phiid_nodes` beside the series and its lag: means are over all pairs."""

    kind: Kind | None
    redundancy: Redundancy
    members: Any
    progress: Callable[[int], None]


def option_names(options: type) -> frozenset[str]:
    """Keywords in one of the dictionaries above."""
    found: frozenset[str] = options.__optional_keys__  # type: ignore[attr-defined]
    return found
