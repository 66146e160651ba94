"""Sums over the pairs of each node, without their matrices.

Of every tile the atoms are averaged over trials, then summed along its rows and, as the mirror
image that exchanges x and y in the atoms' names, along its columns. Memory is that of the input,
the output and a tile, so that the number of nodes is limited by time alone.
"""

from __future__ import annotations

import itertools
from collections import Counter

from ..contract import Array, Features, Library, Nodes, Request, Tile
from .marks import positions, quantities, rescued_parts
from .tiles import closed_form, tiles


def decompose_nodes(lib: Library, features: Features, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial.

    Args:
        lib: of the arrays.
        features: from `request.estimator.features`.
        request: what is computed, of all pairs or of a rectangle.
    """
    sums = empty_sums(lib, features, request)
    outcomes: Counter[int] = Counter()
    rescued = 0
    every = tiles(features, request)
    for (rows, columns), stack in itertools.groupby(every, lambda t: (t.rows, t.columns)):
        total: dict[str, Array] = {}
        count: Array = 0
        for tile in stack:
            atoms, known, lost, resolved = _resolved(lib, features, request, tile)
            outcomes.update(lost)
            rescued += resolved
            if request.per_trial:
                _add(lib, request, sums[:, tile.trials], rows, columns, atoms, known)
                continue
            for name, value in atoms.items():
                total[name] = total.get(name, 0) + lib.cast(value, "float64").sum(0)
            count = count + known.sum(0)
        if not request.per_trial:
            known = count > 0
            trials_of = lib.cast(lib.xp.where(known, count, 1), "float64")
            means = {name: (value / trials_of)[None] for name, value in total.items()}
            _add(lib, request, sums, rows, columns, means, known[None])
    return nodes_of(lib, features, request, sums, outcomes, rescued)


def empty_sums(lib: Library, features: Features, request: Request) -> Array:
    """Zeros for sums by node, (names + 3, trials or 1, nodes) float64; see `marks.quantities`."""
    trials, nodes = features.constant.shape
    shape = (len(request.names) + 3, trials if request.per_trial else 1, nodes)
    return lib.zeros(shape, "float64", features.like)


def nodes_of(
    lib: Library,
    features: Features,
    request: Request,
    sums: Array,
    outcomes: Counter[int],
    rescued: int,
) -> Nodes:
    """What a backend returns, of sums by node; see `Nodes` for the rest."""
    each = sums if request.per_trial else sums[:, 0]
    return Nodes(
        sums=dict(zip(request.names, each, strict=False)),
        pairs=lib.cast(each[-3], "int64"),
        shares=each[-2],
        shared=lib.cast(each[-1], "int64"),
        constant=features.constant,
        outcomes=outcomes,
        rescued=rescued,
    )


def _add(
    lib: Library,
    request: Request,
    sums: Array,
    rows: slice,
    columns: slice,
    atoms: dict[str, Array],
    known: Array,
) -> None:
    """Add (chunks, rows, columns) atoms and what they are known of to (..., chunks, nodes) sums."""
    for own, mirror, value in quantities(lib, request.names, atoms, known):
        sums[own][:, rows] += value.sum(-1)
        sums[mirror][:, columns] += value.sum(-2)


def _resolved(
    lib: Library, features: Features, request: Request, tile: Tile
) -> tuple[dict[str, Array], Array, list[int], int]:
    """A tile by the closed form, and what this cannot resolve by the stable path.

    Returns:
        (trials, rows, columns) by atom name, 0 without a value; bool of the same shape, has a
        value; the outcomes of degenerate pairs; the number of pairs that only the stable path
        could resolve.
    """
    values, varying, unresolved = closed_form(lib, features, request, tile)
    atoms = dict(zip(request.names, values, strict=True))
    known = varying & ~unresolved
    outcomes: list[int] = []
    rescued = 0
    if bool(unresolved.any()):
        listed = positions(lib, unresolved, tile)
        for part in rescued_parts(lib, features, request, listed):
            at = tuple(part.known[:, k] - side.start for k, side in enumerate(tile))
            known[at] = True
            for name, value in part.atoms.items():
                atoms[name][at] = lib.cast(value, request.dtype)
            outcomes += part.flagged[:, 3].tolist()
            rescued += len(part.resolved)
    return atoms, known, outcomes, rescued
