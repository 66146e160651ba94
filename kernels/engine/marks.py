"""Marked pairs: those that the closed form cannot be trusted with, from their list to the sums.

    kernel -> list of keys, again if it was too short -> trial, row, column
           -> stable path -> put into matrices, or added to sums by node; or flagged as degenerate

A (trial, pair) is marked where its smallest conditional variance is below what its tolerance needs
(`contract.smallest_trusted`). The stable path of its estimator then gives its atoms from the data,
or an `Outcome`. Every backend marks in its own way; what happens to marked pairs stands here alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from ..contract import (
    RESCUED_ON_DEVICE,
    Array,
    Features,
    Library,
    Limits,
    Outcome,
    Pairs,
    Request,
    Tile,
    lost_flags,
)
from ..formulas.parts import on_cpu
from ..lattice import LEAST_SUM, swap_nodes
from .tiles import closed_form

Result = TypeVar("Result")


class Rescued(NamedTuple):
    """Some marked pairs after the stable path.

    Attributes:
        known: (pairs, 3) int64 trial, row, column of those that have a value.
        atoms: by atom name, (pairs,) float64 of these.
        flagged: (flags, 4) int64 trial, row, column, `Outcome` of the degenerate ones, duplicates
            (which have a value) among them.
        resolved: (pairs, 3) int64 trial, row, column of those that are not degenerate.
    """

    known: Array
    atoms: dict[str, Array]
    flagged: Array
    resolved: Array


class Aside(NamedTuple):
    """Pairs some trials of which are marked, where trials are averaged.

    Attributes:
        pairs: (pairs, 2) int64 row, column, each pair once.
        trials: (pairs,) int64 number of trials in which both nodes vary, the marked ones included.
        partial: (names, pairs) float64 sums of the atoms over the trials that are not marked.
    """

    pairs: Array
    trials: Array
    partial: Array


# ---- The list ------------------------------------------------------------------------------------


def complete(
    lib: Library,
    like: Array,
    run: Callable[[Array, Array], Result],
    capacity: int,
    counter: str = "int64",
) -> tuple[Result, Array]:
    """Run a kernel that lists what it marks; again if its list was too short.

    Args:
        lib: of the arrays.
        like: an array on the device.
        run: launches the kernel with an empty list, (capacity,) int64, and a counter, (1,), that
            becomes the number of marked pairs, those beyond the capacity included.
        capacity: of the first list.
        counter: dtype of the counter.

    Returns:
        What the last run returned, and its keys (trial * nodes + row) * nodes + column, (pairs,)
        int64, sorted.
    """
    while True:
        keys, length = lib.empty((capacity,), "int64", like), lib.zeros((1,), counter, like)
        result = run(keys, length)
        number = int(length[0])
        if number <= capacity:
            return result, _sorted(lib, keys[:number]) if number else keys[:0]
        capacity = number


def unpack(lib: Library, keys: Array, nodes: int) -> Array:
    """(pairs, 3) int64 trial, row, column of keys."""
    return lib.xp.stack([keys // (nodes * nodes), keys // nodes % nodes, keys % nodes], -1)


def positions(lib: Library, mask: Array, tile: Tile) -> Array:
    """(pairs, 3) int64 trial, row, column of the true entries of a tile's mask."""
    found = lib.xp.stack(lib.xp.where(mask), -1)
    for k, part in enumerate(tile):
        found[:, k] += part.start
    return found


def _sorted(lib: Library, keys: Array) -> Array:
    ordered = lib.xp.sort(keys)
    return ordered[0] if isinstance(ordered, tuple) else ordered


# ---- The stable path -----------------------------------------------------------------------------


def rescue_parts(features: Features, marked: Array, limits: Limits) -> Iterator[Array]:
    """Marked pairs in parts whose gathered data stay within the limits."""
    size = max(1, _at_a_time(features, limits) // (4 * features.samples))
    for start in range(0, len(marked), size):
        yield marked[start : start + size]


def _at_a_time(features: Features, limits: Limits) -> int:
    """Numbers gathered for the stable path."""
    return limits.rescued * (1 if on_cpu(features.like) else RESCUED_ON_DEVICE)


def rescued_parts(
    lib: Library, features: Features, request: Request, marked: Array
) -> Iterator[Rescued]:
    """Marked pairs by the stable path, part by part."""
    for part in rescue_parts(features, marked, request.limits):
        found = request.estimator.listed(lib, features, part, request.names, request.limits)
        degenerate = found.outcome != 0
        known = ~degenerate | (found.outcome == int(Outcome.DUPLICATE))
        yield Rescued(
            known=part[known],
            atoms={
                name: value[known] for name, value in zip(request.names, found.atoms, strict=True)
            },
            flagged=lib.xp.concatenate([part[degenerate], found.outcome[degenerate][:, None]], -1),
            resolved=part[~degenerate],
        )


def rescue(
    lib: Library, features: Features, request: Request, sums: Mapping[str, Array], marked: Array
) -> tuple[Array, Array]:
    """Recompute marked pairs by the stable path and add them to the matrices of a request.

    Args:
        lib: of the arrays.
        features: of the nodes, from `request.estimator.features`.
        request: what is computed.
        sums: by atom name, as in `Totals`; changed in place.
        marked: (pairs, 3) int64 trial, row, column, numbered as the nodes of the source.

    Returns:
        Flags of the degenerate ones and positions of the others, as in `Totals`.
    """
    flags = [lib.zeros((0, 4), "int64", marked)]
    resolved = [marked[:0]]
    rectangle = request.rectangle
    for part in rescued_parts(lib, features, request, marked):
        trial, row, column = (part.known[:, k] for k in range(3))
        trials = (trial,) if request.per_trial else ()
        if rectangle is not None:
            row, column = row - rectangle.rows.start, column - rectangle.columns.start
        for name, value in part.atoms.items():
            kept = lib.cast(value, request.dtype)
            lib.add_at(sums[name], (*trials, row, column), kept)
            if rectangle is None:
                lib.add_at(sums[swap_nodes(name)], (*trials, column, row), kept)
        flags.append(part.flagged)
        resolved.append(part.resolved)
    return lib.xp.concatenate(flags), lib.xp.concatenate(resolved)


def resolve_trials(
    lib: Library, features: Features, request: Request, atoms: dict[str, Array], marked: Array
) -> Pairs:
    """Write marked pairs into matrices of single trials in which all else is finished.

    Args:
        lib: of the arrays.
        features: of the nodes, from `request.estimator.features`.
        request: what is computed.
        atoms: as in `Pairs`, NaN where a pair is marked; changed in place.
        marked: (pairs, 3) int64 trial, row, column.
    """
    flags, rescued = [lib.zeros((0, 4), "int64", marked)], 0
    for part in rescued_parts(lib, features, request, marked):
        _write(lib, request, atoms, (part.known[:, 0],), part.known[:, 1:], part.atoms)
        flags.append(part.flagged)
        rescued += len(part.resolved)
    return Pairs(atoms, features.constant, lib.xp.concatenate(flags), rescued)


def resolve_means(
    lib: Library,
    features: Features,
    request: Request,
    atoms: dict[str, Array],
    marked: Array,
    aside: Aside,
) -> Pairs:
    """Write the means of pairs with marks into matrices in which all else is finished.

    Args:
        lib: of the arrays.
        features: of the nodes, from `request.estimator.features`.
        request: what is computed.
        atoms: as in `Pairs`, NaN where a pair has marks; changed in place.
        marked: (pairs, 3) int64 trial, row, column: every trial that is marked.
        aside: what the kernel summed over the other trials of these pairs.
    """
    done = _completed(lib, features, request, marked, aside)
    _write(lib, request, atoms, (), done.pairs, done.means)
    return Pairs(atoms, features.constant, done.flagged, done.rescued)


def _write(
    lib: Library,
    request: Request,
    atoms: dict[str, Array],
    trial: tuple[Array, ...],
    pairs: Array,
    values: Mapping[str, Array],
) -> None:
    row, column = pairs[:, 0], pairs[:, 1]
    rectangle = request.rectangle
    if rectangle is not None:
        row, column = row - rectangle.rows.start, column - rectangle.columns.start
    for name, matrix in atoms.items():
        matrix[(*trial, row, column)] = lib.cast(values[name], request.dtype)
        if rectangle is None:
            mirrored = lib.cast(values[swap_nodes(name)], request.dtype)
            matrix[(*trial, column, row)] = mirrored


class _Completed(NamedTuple):
    """Pairs with marks, averaged over all trials that have a value.

    Attributes:
        pairs: (pairs, 2) int64 row, column of those that have one in any.
        means: by atom name, (pairs,) float64 of these.
        flagged: (flags, 4) int64, as in `Rescued`.
        rescued: number of (trial, pair) that are not degenerate.
    """

    pairs: Array
    means: dict[str, Array]
    flagged: Array
    rescued: int


def _completed(
    lib: Library, features: Features, request: Request, marked: Array, aside: Aside
) -> _Completed:
    """Rescue the marked trials of pairs, and add them to what was summed over the others."""
    nodes = features.constant.shape[1]
    keys = aside.pairs[:, 0] * nodes + aside.pairs[:, 1]
    order = lib.xp.argsort(keys)
    pairs, total, count = aside.pairs[order], aside.partial[:, order], aside.trials[order]
    keys = keys[order]
    flags, rescued = [lib.zeros((0, 4), "int64", marked)], 0
    for part in rescued_parts(lib, features, request, marked):
        place = _places(lib, keys, part.known, nodes)
        for k, name in enumerate(request.names):
            lib.add_at(total[k], (place,), part.atoms[name])
        lost = _places(lib, keys, lost_flags(part.flagged), nodes)
        lib.add_at(count, (lost,), lib.zeros((len(lost),), "int64", count) - 1)
        flags.append(part.flagged)
        rescued += len(part.resolved)
    some = count > 0
    means = dict(zip(request.names, total[:, some] / count[some], strict=True))
    return _Completed(pairs[some], means, lib.xp.concatenate(flags), rescued)


def _places(lib: Library, keys: Array, listed: Array, nodes: int) -> Array:
    """Places of the pairs of (pairs, 3 or 4) trial, row, column, ... among sorted keys."""
    return lib.xp.searchsorted(keys, listed[:, 1] * nodes + listed[:, 2])


# ---- Sums by node --------------------------------------------------------------------------------


def rescue_nodes(
    lib: Library,
    features: Features,
    request: Request,
    sums: Array,
    marked: Array,
    aside: Aside | None = None,
) -> tuple[Counter[int], int]:
    """Recompute marked pairs by the stable path and add them to sums by node.

    Args:
        lib: of the arrays.
        features: of the nodes, from `request.estimator.features`.
        request: what is computed.
        sums: (names + 3, trials or 1, nodes) float64, see `quantities`; changed in place. Where
            trials are averaged, it holds nothing of a pair that is marked in any of its trials.
        marked: (pairs, 3) int64 trial, row, column. Where trials are averaged and nothing is said
            of the pairs' other trials, these are computed here, and `trial` has no meaning.
        aside: what a kernel summed over the trials that are not marked; then `marked` lists every
            marked trial.

    Returns:
        Number of (trial, pair) by `Outcome`, and of those that only the stable path resolved.
    """
    if request.per_trial:
        return _each_trial(lib, features, request, sums, marked)
    if aside is not None:
        return _added_up(lib, features, request, sums, marked, aside)
    outcomes: Counter[int] = Counter()
    resolved = 0
    trials, nodes = features.constant.shape
    keys = lib.xp.unique(marked[:, 1] * nodes + marked[:, 2])
    size = max(1, _at_a_time(features, request.limits) // (4 * features.samples * trials))
    for start in range(0, len(keys), size):
        part = unpack(lib, keys[start : start + size], nodes)[:, 1:]
        again, whole = _all_trials(lib, features, request, part)
        found, number = _added_up(lib, features, request, sums, again, whole)
        outcomes.update(found)
        resolved += number
    return outcomes, resolved


def add_nodes(
    lib: Library, names: Sequence[str], sums: Array, listed: Array, atoms: Mapping[str, Array]
) -> None:
    """Add atoms of pairs to sums by node.

    Args:
        lib: of the arrays.
        names: atoms, closed under exchange of x and y.
        sums: (names + 3, chunks, nodes) float64, changed in place; see `quantities`.
        listed: (pairs, 3) int64 chunk, row, column.
        atoms: by name, (pairs,) float64.
    """
    chunk, row, column = (listed[:, k] for k in range(3))
    known = lib.zeros((len(listed),), "float64", sums) == 0
    for own, mirror, value in quantities(lib, names, atoms, known):
        lib.add_at(sums[own], (chunk, row), value)
        lib.add_at(sums[mirror], (chunk, column), value)


def quantities(
    lib: Library, names: Sequence[str], atoms: Mapping[str, Array], known: Array
) -> Iterator[tuple[int, int, Array]]:
    """What pairs add to sums by node, which hold names + 3 quantities, all float64.

    These are the atoms in the order of the names; the number of pairs with a value; and, where both
    atoms were asked for, the sum of sts / (sts + rtr) and the number of pairs where this sum
    exceeds `LEAST_SUM`.

    Args:
        lib: of the arrays.
        names: atoms, closed under exchange of x and y.
        atoms: by name, arrays of one shape, 0 where a pair has no value.
        known: bool of that shape: the pair has a value.

    Yields:
        Place of a quantity in the sums of x, its place in those of y, and its values.
    """
    exact = {name: lib.cast(value, "float64") for name, value in atoms.items()}
    for name in names:
        yield names.index(name), names.index(swap_nodes(name)), exact[name]
    yield -3, -3, lib.cast(known, "float64")
    if {"rtr", "sts"} <= exact.keys():
        both = exact["sts"] + exact["rtr"]
        shared = known & (both > LEAST_SUM)
        share = exact["sts"] / lib.xp.where(shared, both, 1.0)
        yield -2, -2, lib.xp.where(shared, share, 0.0)
        yield -1, -1, lib.cast(shared, "float64")


def _each_trial(
    lib: Library, features: Features, request: Request, sums: Array, marked: Array
) -> tuple[Counter[int], int]:
    outcomes: Counter[int] = Counter()
    resolved = 0
    for part in rescued_parts(lib, features, request, marked):
        add_nodes(lib, request.names, sums, part.known, part.atoms)
        outcomes.update(part.flagged[:, 3].tolist())
        resolved += len(part.resolved)
    return outcomes, resolved


def _all_trials(
    lib: Library, features: Features, request: Request, pairs: Array
) -> tuple[Array, Aside]:
    """All trials of some pairs by the closed form: those that are marked, and the sum of others."""
    trials = features.constant.shape[0]
    gathered = features.of_pairs(pairs)
    exact = replace(request, dtype="float64", rectangle=None)
    tile = Tile(slice(0, trials * len(pairs)), slice(0, 1), slice(1, 2))
    values, varying, marked = closed_form(lib, gathered, exact, tile)
    trial, place = lib.xp.where(marked.reshape(trials, -1))
    listed = lib.xp.concatenate([trial[:, None], pairs[place]], -1)
    partial = lib.xp.stack([value.reshape(trials, -1).sum(0) for value in values])
    number = lib.cast(varying.reshape(trials, -1), "int64").sum(0)
    return listed, Aside(pairs, number, partial)


def _added_up(
    lib: Library, features: Features, request: Request, sums: Array, marked: Array, aside: Aside
) -> tuple[Counter[int], int]:
    """Add the means of pairs over all trials that have a value, the marked ones rescued."""
    done = _completed(lib, features, request, marked, aside)
    first = lib.zeros((len(done.pairs), 1), "int64", done.pairs)
    listed = lib.xp.concatenate([first, done.pairs], -1)
    add_nodes(lib, request.names, sums, listed, done.means)
    return Counter(done.flagged[:, 3].tolist()), done.rescued
