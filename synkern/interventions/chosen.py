"""Which nodes an intervention is about: labels, nodes, indices or a mask, as one mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synkern._arrays import is_tensor

if TYPE_CHECKING:
    from synkern.models.nodes import Node

Chosen: TypeAlias = "str | Node | Iterable[Any]"
"""Nodes as a user names them: see `chosen_nodes`."""


def chosen_nodes(
    nodes: Chosen, available: Sequence[Node], *, per_text: bool = False
) -> NDArray[np.bool_]:
    """Which of the available nodes are meant.

    Args:
        nodes: a label such as "L3H7", a `Node`, or several of these; indices into `available`; or a
            mask of bools (nodes,), True for those that are meant. None at all is a set as well.
        available: the nodes that there are.
        per_text: whether a mask (texts, nodes), a set for each text of a batch, is taken as well.

    Returns:
        The mask: bool (nodes,), or (texts, nodes).

    Raises:
        TypeError: an entry that is neither label, node nor index.
        ValueError: a node that there is not, or twice; a mask of another shape.
    """
    if is_tensor(nodes):
        nodes = nodes.detach().cpu().numpy()
    if isinstance(nodes, np.ndarray) and nodes.dtype == bool:
        return _checked_mask(nodes, available, per_text)
    alone = isinstance(nodes, str | Integral) or not isinstance(nodes, Iterable)
    entries: list[Any] = [nodes] if alone else list(nodes)  # type: ignore[arg-type]
    if entries and all(isinstance(entry, bool | np.bool_) for entry in entries):
        return _checked_mask(np.array(entries, dtype=bool), available, per_text)
    if entries and all(isinstance(entry, list | tuple | np.ndarray) for entry in entries):
        return _checked_mask(_of_rows(entries), available, per_text)
    mask = np.zeros(len(available), dtype=bool)
    places: dict[Any, int] = {node: place for place, node in enumerate(available)}
    places |= {node.label: place for place, node in enumerate(available)}
    for entry in entries:
        place = _place(entry, places, available)
        if mask[place]:
            raise ValueError(
                f"nodes: {available[place]} is named twice; give each once"
                + (" (a mask has to be of bools)" if isinstance(entry, Integral) else "")
            )
        mask[place] = True
    return mask


def _place(entry: Any, places: dict[Any, int], available: Sequence[Node]) -> int:
    """The place of a node that is named by its label, itself or its index."""
    if isinstance(entry, Integral) and not isinstance(entry, bool):
        if not 0 <= int(entry) < len(available):
            raise ValueError(
                f"nodes: {entry} is no index of the {len(available)} nodes; give 0 to "
                f"{len(available) - 1}"
            )
        return int(entry)
    try:
        found = places.get(entry)
    except TypeError:
        found = None
    if found is not None:
        return found
    some = f"{available[0]} ... {available[-1]}"
    if isinstance(entry, str) or hasattr(entry, "label"):
        kind = f" ({entry.kind})" if hasattr(entry, "kind") else ""
        raise ValueError(
            f"nodes: {str(entry)!r}{kind} is none of the {len(available)} nodes {some} "
            f"({', '.join(sorted({node.kind for node in available}))})"
        )
    raise TypeError(
        f"nodes: {entry!r} ({type(entry).__name__}) names no node; give labels such as "
        f"{available[0].label!r}, nodes, indices, or a mask of bools"
    )


def _of_rows(rows: list[Any]) -> NDArray[np.generic]:
    """A mask that was given row by row; of any other type if it is none."""
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise ValueError(
            f"nodes: the rows of this mask have {sorted(lengths)} entries; give each text as many"
        )
    return np.array(rows)


def _checked_mask(
    mask: NDArray[np.generic], available: Sequence[Node], per_text: bool
) -> NDArray[np.bool_]:
    shapes = f"({len(available)},)" + (f" or (texts, {len(available)})" if per_text else "")
    if mask.dtype != bool:
        raise TypeError(
            f"nodes: an array {mask.shape} of {mask.dtype}; a mask has bools, of shape {shapes}"
        )
    dims = (1, 2) if per_text else (1,)
    if mask.ndim not in dims or mask.shape[-1] != len(available) or 0 in mask.shape:
        raise ValueError(
            f"nodes: a mask of shape {mask.shape} for {len(available)} nodes; give {shapes}"
        )
    return mask.astype(bool)
