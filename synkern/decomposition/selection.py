"""Choice of the pairs to decompose, and the way back to the shape that was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set, Sized
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import like
from synkern.decomposition.batches import (
    Batch,
    Run,
    constant_nodes,
    decomposed,
    of_nodes,
    values_of,
)
from synkern.decomposition.bipartite import Bipartite, bipartite
from synkern.decomposition.labels import numbered
from synkern.decomposition.options import SELECTIONS
from synkern.kernels import Pairs, Request, swap_nodes

Indices = npt.NDArray[np.int64]

BYTES_LISTED = {"within": 200, "between": 200, "bipartite": 16}
"""Bytes for each pair that is chosen: its indices as asked for, and where these are no rectangle
also in order, and the sorting."""


@dataclass(frozen=True)
class Selection:
    """Chosen pairs.

    Attributes:
        asked: (..., 2) first and second node, as asked for.
        pairs: (pairs, 2) first node < second, each pair once: what is computed.
        place: (...) which of `pairs` stands for each that was asked for.
    """

    asked: Indices
    pairs: Indices
    place: Indices

    @property
    def nodes(self) -> Indices:
        """(chosen,) all nodes that have a chosen pair, sorted."""
        return np.unique(self.pairs)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of an atom."""
        return self.asked.shape[:-1]

    @property
    def computed(self) -> int:
        """Number of pairs that are computed."""
        return len(self.pairs)

    def decompose(self, xp: Any, run: Run, given: Sequence[Batch], request: Request) -> Pairs:
        """Run a backend on batches.

        Args:
            xp: numpy, torch or cupy, the library of its arrays.
            run: the backend's.
            given: batches of one lag, see `batches.decomposed`.
            request: what to compute; of all pairs.

        Returns:
            Atoms in the shape that was asked for.
        """
        one = values_of(given[0].series)
        nodes = self.nodes
        few = math.prod(one.shape) >= check.LARGE and 2 * len(nodes) <= one.shape[-1]
        pairs = np.searchsorted(nodes, self.pairs) if few else self.pairs
        some: Sequence[Batch] = given
        if few:  # Of the others nothing is made ready.
            order = like(nodes, one)
            some = [batch._replace(series=of_nodes(batch.series, order)) for batch in given]
        chosen = replace(request, wanted=request.names, pairs=like(pairs, one))
        found = decomposed(xp, run, some, chosen)
        assert isinstance(found, Pairs)
        if few:
            flagged = found.flagged
            sides = order[flagged[:, 1]], order[flagged[:, 2]]
            found = replace(
                found,
                constant=constant_nodes(xp, given, request.pooled),
                flagged=xp.stack([flagged[:, 0], *sides, flagged[:, 3]], -1),
            )
        return replace(found, atoms=self.arrange(found.atoms, request.wanted))

    def arrange(self, atoms: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """Atoms (pairs,) or (trials, pairs) of `pairs` as what was asked for: (..., asked shape).

        Args:
            atoms: by name, closed under exchange of x and y.
            names: those wanted.
        """
        place = like(self.place.reshape(-1), atoms[names[0]])
        first, second = self.asked[..., 0].reshape(-1), self.asked[..., 1].reshape(-1)
        arranged = {}
        for name in names:
            value = atoms[name][..., place]
            for nodes, other in ((first > second, swap_nodes(name)), (first == second, None)):
                if nodes.any():
                    at = like(np.flatnonzero(nodes), value)
                    value[..., at] = np.nan if other is None else atoms[other][..., place[at]]
            arranged[name] = value.reshape(*value.shape[:-1], *self.place.shape)
        return arranged


def select_pairs(pairs: Any, groups: Any, nodes: int) -> Selection | Bipartite | None:
    """The pairs that `phiid(..., pairs=pairs, groups=groups)` asks for; None for all.

    Raises:
        ValueError: unknown selection; groups missing, superfluous or of the wrong length; no pair;
            nodes that do not exist.
        TypeError: pairs that are not whole numbers.
    """
    named = isinstance(pairs, str)
    if named:
        check.choice("pairs", pairs, SELECTIONS)
    if named != (groups is not None):
        raise ValueError(
            f"pairs={pairs!r} needs groups: a label for each node, or two lists of nodes for "
            "'bipartite'"
            if named
            else f"groups say nothing without pairs of {', '.join(map(repr, SELECTIONS))}; "
            "remove them"
        )
    if pairs is None:
        return None
    if not named:
        asked = check.node_pairs(pairs, nodes)
        if not asked.size:
            raise ValueError(f"pairs is empty, of shape {asked.shape}; None stands for all pairs")
    elif pairs == "bipartite":
        return _bipartite(groups, nodes)
    else:
        asked = _by_label(pairs, groups, nodes)
    return _selection(asked)


def _selection(asked: Indices) -> Selection:
    ordered = np.sort(asked.reshape(-1, 2), -1)
    apart = ordered[:, 0] != ordered[:, 1]
    unique, place = np.unique(ordered[apart], axis=0, return_inverse=True)
    places = np.zeros(len(ordered), np.int64)
    places[apart] = place.reshape(-1)
    return Selection(asked, unique, places.reshape(asked.shape[:-1]))


def _by_label(which: str, groups: Any, nodes: int) -> Indices:
    group = numbered(groups, nodes, argument="groups", what="node")
    sizes = np.bincount(group)
    within = int((sizes * (sizes - 1) // 2).sum())
    count = within if which == "within" else nodes * (nodes - 1) // 2 - within
    _refuse_too_many(count, which, nodes)
    first, second = np.triu_indices(nodes, 1)
    same = group[first] == group[second]
    chosen = same if which == "within" else ~same
    if not chosen.any():
        raise ValueError(
            f"pairs={which!r} selects nothing: {nodes} nodes have {len(sizes)} different groups"
        )
    return np.stack([first[chosen], second[chosen]], -1)


def _refuse_too_many(count: int, which: str, nodes: int) -> None:
    """Raise MemoryError where the list of pairs alone has no room."""
    all_pairs = f" (the matrices of all pairs take {nodes * nodes * 8 / 1e9:,.1f} GB an atom)"
    memory.require(
        count * BYTES_LISTED[which],
        None,
        f"the indices of {count:,} pairs, pairs={which!r},",
        f"smaller groups, or all pairs{all_pairs}, or phiid_nodes",
    )


def _bipartite(groups: Any, nodes: int) -> Bipartite:
    ordered = isinstance(groups, Sized) and not isinstance(groups, Set | Mapping)
    if not ordered or len(groups) != 2:
        raise ValueError(
            "groups must be two lists of nodes, rows and columns, for pairs='bipartite'; got "
            + (f"{len(groups)}" if ordered else f"{groups!r}")
        )
    rows, columns = (_group(which, group, nodes) for which, group in zip("01", groups, strict=True))
    _refuse_too_many(rows.size * columns.size, "bipartite", nodes)
    if not rows.size or not columns.size or len(np.union1d(rows, columns)) < 2:
        raise ValueError("groups must make at least one pair of two different nodes")
    return bipartite(rows, columns)


def _group(which: str, group: Any, nodes: int) -> Indices:
    """(group,) nodes of one of two groups."""
    indices = check.node_indices(f"groups[{which}]", group, nodes)
    if indices.ndim != 1:
        raise ValueError(
            "groups must be two lists of nodes, rows and columns, for pairs='bipartite'; "
            f"groups[{which}] has shape {indices.shape}"
        )
    return indices
