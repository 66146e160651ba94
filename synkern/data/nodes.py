"""Which nodes of a file are read, in which order, and what they are called."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from synkern.data.checking import some
from synkern.data.errors import DataError
from synkern.data.found import Found
from synkern.data.options import ReadOptions


def chosen(
    names: Sequence[str], options: ReadOptions, what: str, *, also: Sequence[str] = ()
) -> list[int]:
    """Places of the nodes that `columns` and `drop` leave.

    Args:
        names: of all nodes.
        options: with names or patterns.
        what: whose they are, for messages.
        also: other names that `drop` may have, which are no nodes.

    Raises:
        DataError: a name or pattern that is none of them, or fewer than two nodes left.
    """
    kept = list(range(len(names)))
    if options.columns is not None:
        kept = [k for one in options.columns for k in matching(one, names, "columns", what)]
        kept = list(dict.fromkeys(kept))
    for one in options.drop or ():
        if any(fnmatchcase(name, one) for name in also):
            continue
        out = {*matching(one, names, "drop", what)}
        kept = [k for k in kept if k not in out]
    if len(kept) < 2:
        raise DataError(
            f"{what} has {len(kept)} nodes"
            + (f" of {len(names)} left by columns= and drop=" if len(kept) < len(names) else "")
            + "; a pair needs two"
        )
    return kept


def taken(found: Found, options: ReadOptions) -> None:
    """Leave in `found`, whose axes are trial, time, node, the nodes that the options leave.

    Raises:
        DataError: names that there are not, twice the same, or fewer than two nodes.
    """
    count = found.values.shape[2]
    names = found.node_names
    if names is None:
        names = [str(k) for k in range(count)]
        found.notes.append("nodes have no names and are numbered from 0")
    if len(names) != count:
        raise DataError(f"{found.what} has {count} nodes and {len(names)} names for them")
    names = [str(name).strip() for name in names]
    if len({*names}) < count:
        twice = [name for k, name in enumerate(names) if name in names[:k]]
        raise DataError(f"{found.what} has more than one node called {some(twice)}; rename them")
    found.node_names = names
    if found.chosen:
        options = replace(options, columns=None)
    if options.columns is None and options.drop is None:
        chosen(names, options, found.what)
        return
    kept = chosen(names, options, found.what, also=found.others)
    _keep(found, kept)
    if len(kept) < count:
        found.notes.append(f"{len(kept)} of {count} nodes were chosen")


def aligned(found: Sequence[Found]) -> None:
    """Put the nodes of all files in the order of those of the first.

    Raises:
        DataError: files of other nodes.
    """
    first = found[0]
    names = list(first.node_names or ())
    for one in found[1:]:
        own = list(one.node_names or ())
        if own == names:
            continue
        if {*own} != {*names}:
            _refuse_others(first, one, names, own)
        place = {name: k for k, name in enumerate(own)}
        _keep(one, [place[name] for name in names])
        one.notes.append(f"nodes were put in the order of {first.file}")


def _keep(found: Found, kept: list[int]) -> None:
    """Take some nodes; a run of neighbours without a copy."""
    if kept == list(range(found.values.shape[2])):
        return
    steps = np.diff(kept)
    run = slice(kept[0], kept[-1] + 1) if (steps == 1).all() else kept
    found.values = found.values[:, :, run]
    for name in ("node_names", "groups"):
        held = getattr(found, name)
        if held is not None:
            setattr(found, name, [held[k] for k in kept])
    if found.coordinates is not None:
        found.coordinates = found.coordinates[kept]


def _refuse_others(first: Found, one: Found, names: list[str], own: list[str]) -> None:
    if len(own) != len(names) and _numbered(own) and _numbered(names):
        said = f"{one.what} has {len(own)} nodes and {first.what} has {len(names)}"
        if one.values.shape[1] == first.values.shape[1]:
            said += f", both {len(first.values[0])} samples: are nodes their first axis? axes="
            said += "node,time says so"
        raise DataError(f"{said}; give files of the same nodes")
    absent = [name for name in names if name not in own]
    extra = [name for name in own if name not in names]
    differing = [f"lacks {some(absent)}"] * bool(absent) + [f"has also {some(extra)}"] * bool(extra)
    common = len(names) - len(absent)
    raise DataError(
        f"{one.what} {' and '.join(differing)}, unlike {first.what}; give files of the same nodes, "
        f"or choose by columns= or drop= among the {common} that both have"
    )


def _numbered(names: Sequence[str]) -> bool:
    return list(names) == [str(k) for k in range(len(names))]


def matching(one: str, names: Sequence[str], option: str, what: str) -> list[int]:
    """Places of the nodes with this name, or else of those that fit it as a pattern.

    Raises:
        DataError: there is none.
    """
    found = [k for k, name in enumerate(names) if name == one]
    found = found or [k for k, name in enumerate(names) if fnmatchcase(name, one)]
    if not found:
        near = difflib.get_close_matches(one, names, n=3)
        hint = f"; near are {some(near)}" if near else f"; it has {some(names)}"
        raise DataError(f"{option}: {what} has no node called {one!r}{hint}")
    return found
