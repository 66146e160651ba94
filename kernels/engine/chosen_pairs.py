"""Chosen pairs, through the same engine as all pairs.

Few pairs are gathered, each as a trial of two nodes of its own; many are taken from the matrices of
all pairs of the nodes that occur in them. Which is cheaper follows from their number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..contract import (
    GATHERED_ON_DEVICE,
    Array,
    Features,
    Library,
    Pairs,
    Request,
    TotalsOf,
    lost_flags,
)
from ..formulas.parts import on_cpu


class _Found(NamedTuple):
    """Atoms of the pairs, and what became of those that have none.

    Attributes:
        sums: by atom name (pairs,), summed over trials, or (trials, pairs); 0 without a value.
        flagged: (flags, 3) int64: trial, place in the list of pairs, `Outcome`.
        rescued: number of (trial, pair) that only the stable path could resolve.
    """

    sums: dict[str, Array]
    flagged: Array
    rescued: int


def decompose_chosen(
    lib: Library,
    features: Features,
    request: Request,
    totals_of: TotalsOf,
    gathered_factor: float = 1.0,
) -> Pairs:
    """Atoms of some pairs, averaged over trials or per trial.

    Args:
        lib: of the arrays.
        features: from `request.estimator.features`.
        request: with its chosen pairs.
        totals_of: totals of all pairs of some features.
        gathered_factor: by how much `gathered_cost` is larger here than in whole-array operations.

    Returns:
        As for all pairs, but with atoms (pairs,) or (trials, pairs), and flags of these pairs only.
    """
    xp, pairs = lib.xp, request.pairs
    assert pairs is not None
    nodes = len(xp.unique(pairs))
    cost = request.estimator.gathered_cost * gathered_factor
    gathering = len(pairs) * cost < nodes * (nodes - 1) // 2
    if 0 in (request.limits.gathered, request.limits.matrices):
        gathering = request.limits.matrices == 0
    found = (_gathered if gathering else _from_matrices)(
        lib, features, replace(request, pairs=None), totals_of, pairs
    )
    known = ~features.constant[:, pairs].any(-1)
    lost = lost_flags(found.flagged)
    if len(lost):
        known[lost[:, 0], lost[:, 1]] = False
    if not request.per_trial:
        count = known.sum(0)
        known = count > 0
        for name in request.wanted:
            found.sums[name] = found.sums[name] / lib.cast(xp.where(known, count, 1), request.dtype)
    atoms = {name: xp.where(known, found.sums[name], math.nan) for name in request.wanted}
    trial, place, outcome = (found.flagged[:, k, None] for k in range(3))
    flagged = xp.concatenate([trial, pairs[place[:, 0]], outcome], -1)
    return Pairs(atoms, features.constant, flagged, found.rescued)


def _gathered(
    lib: Library, features: Features, request: Request, totals_of: TotalsOf, pairs: Array
) -> _Found:
    """Each (trial, pair) as a trial of two nodes, some pairs at a time."""
    xp = lib.xp
    trials = features.constant.shape[0]
    alone = replace(request, per_trial=True)
    found = []
    numbers = request.limits.gathered * (1 if on_cpu(features.like) else GATHERED_ON_DEVICE)
    for part in _parts(len(pairs), numbers // (4 * trials * features.samples)):
        two = totals_of(features.of_pairs(pairs[part]), alone)
        each = {name: two.sums[name][:, 0, 1].reshape(trials, -1) for name in request.names}
        sums = each if request.per_trial else {name: each[name].sum(0) for name in each}
        width = next(iter(each.values())).shape[1]
        group, outcome = two.flagged[:, 0], two.flagged[:, 3]
        flagged = xp.stack([group // width, group % width + part.start, outcome], -1)
        found.append(_Found(sums, flagged, len(two.rescued)))
    return _joined(lib, found, axis=-1)


def _from_matrices(
    lib: Library, features: Features, request: Request, totals_of: TotalsOf, pairs: Array
) -> _Found:
    """Entries of the matrices of all pairs of the nodes that occur, some trials at a time."""
    xp = lib.xp
    nodes = xp.unique(pairs)
    place = lib.zeros((len(nodes), len(nodes)), "int64", pairs) - 1
    renumbered = xp.searchsorted(nodes, pairs)
    i, j = renumbered[:, 0], renumbered[:, 1]
    place[i, j] = xp.cumsum(xp.ones_like(i), 0) - 1
    trials = features.constant.shape[0]
    # Sums over trials take one matrix, trials apart one each.
    depth = request.limits.matrices // (len(request.names) * len(nodes) ** 2)
    found = []
    for part in _parts(trials, depth if request.per_trial else trials):
        all_pairs = totals_of(features.of_nodes(part, nodes), request)
        sums = {name: all_pairs.sums[name][..., i, j] for name in request.names}
        at = [place[marks[:, 1], marks[:, 2]] for marks in (all_pairs.flagged, all_pairs.rescued)]
        flags = xp.stack([all_pairs.flagged[:, 0] + part.start, at[0], all_pairs.flagged[:, 3]], -1)
        # Where there are none a device need not be asked which of them are of chosen pairs.
        flags = flags[at[0] >= 0] if len(flags) else flags
        found.append(_Found(sums, flags, int((at[1] >= 0).sum()) if len(at[1]) else 0))
    return _joined(lib, found, axis=0)


def _parts(length: int, size: int) -> Iterator[slice]:
    """A range in parts of some size, at least one each."""
    size = max(1, size)
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _joined(lib: Library, found: Sequence[_Found], *, axis: int) -> _Found:
    return _Found(
        {
            name: lib.xp.concatenate([part.sums[name] for part in found], axis)
            for name in found[0].sums
        },
        lib.xp.concatenate([part.flagged for part in found]),
        sum(part.rescued for part in found),
    )
