"""What a verb of the decomposition was asked for, beside the series and its lag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import synkern._checks as check
from synkern.decomposition.options import AVERAGES, DTYPES, KINDS, POOLED, REDUNDANCIES, UNITS
from synkern.kernels import (
    ESTIMATORS,
    LIMITS,
    OF_MEMBERS,
    Estimator,
    Limits,
    Request,
    request_for,
)


@dataclass(frozen=True)
class Options:
    """What the verbs of a decomposition are asked for; see `phiid`.

    Attributes:
        names: atoms.
        kind: of the estimator.
        redundancy: likewise.
        mask: of valid samples.
        average: how trials combine.
        pairs: which ones; None: all.
        groups: of nodes, which some choices of pairs need.
        unit: of the atoms; None: that of the estimator.
        backend: "auto", or a name.
        dtype: of arithmetic and output.
        node_names: a name for each node.
        members: the columns of each node; None: a column is a node.
        column_names: names of the columns where nodes have several, if the series has none itself.
        progress: of sums by node, called with the number of (trial, pair) decomposed since the last
            call.
        limits: what the backend may hold at a time.
    """

    names: tuple[str, ...] = ("rtr", "sts")
    kind: str = "gaussian"
    redundancy: str = "MMI"
    mask: Any = None
    average: str | None = "trials"
    pairs: Any = None
    groups: Any = None
    unit: str | None = None
    backend: str = "auto"
    dtype: str = "float64"
    node_names: Sequence[Any] | None = None
    members: Any = None
    column_names: Sequence[Any] | None = None
    progress: Callable[[int], None] = lambda decompositions: None
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        """Raise ValueError on unknown choices."""
        check.choice("kind", self.kind, KINDS)
        check.choice("redundancy", self.redundancy, REDUNDANCIES)
        check.choice("average", self.average, (*AVERAGES, None))
        check.choice("unit", self.unit, (*UNITS, None))
        check.choice("dtype", self.dtype, DTYPES)
        if self.members is not None and self.kind != "gaussian":
            raise ValueError(
                f"kind={self.kind!r} is of nodes of one column, which is one bit: k columns have "
                "2**k states, too many for the samples there are; with members use "
                "kind='gaussian', or one column for each node, such as their mean"
            )

    @classmethod
    def of(cls, verb: str, given: Mapping[str, Any], known: Iterable[str]) -> Options:
        """Options that a verb was called with, by keyword.

        Args:
            verb: its name, for messages.
            given: what it was called with.
            known: keywords that it has.

        Raises:
            TypeError: a keyword that it has not.
            ValueError: an unknown choice.
        """
        refuse_unknown(verb, set(given) - set(known))
        rest = {name: value for name, value in given.items() if name != "atoms"}
        return cls(names=check.atom_names(given.get("atoms", cls.names)), **rest)

    @property
    def estimator(self) -> Estimator:
        """What the kind, the redundancy and the kind of nodes ask for."""
        if self.members is None:
            return ESTIMATORS[self.kind, self.redundancy]
        return OF_MEMBERS[self.redundancy]

    @property
    def pooled(self) -> str | None:
        """How trials are made one before they are decomposed."""
        return self.average if self.average in POOLED else None

    def request(self, tau: int, estimator: Estimator, *, by_node: bool) -> Request:
        """What a backend is asked for.

        Args:
            tau: lag in samples.
            estimator: that of these options, or its reference.
            by_node: only sums by node.
        """
        return request_for(
            self.names,
            estimator=estimator,
            per_trial=self.average is None,
            dtype=self.dtype,
            tau=tau,
            pooled=self.pooled,
            by_node=by_node,
            limits=self.limits,
        )


_ALL_PAIRS = "means by node are over all pairs of a node; phiid(series, pairs=...) has chosen ones"
_ELSEWHERE = {
    "reduce": "means by node are phiid_nodes(series, ...)",
    "pairs": _ALL_PAIRS,
    "groups": _ALL_PAIRS,
    "members": "nodes of several columns are for phiid, phiid_lags and phiid_nodes alone",
}


def refuse_unknown(verb: str, given: Iterable[str]) -> None:
    """Raise TypeError if there are keywords that a verb does not have."""
    for name in given:
        instead = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise TypeError(f"{verb}() has no option {name!r}{instead}")
