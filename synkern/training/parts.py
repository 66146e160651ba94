"""Which numbers of which weights train, gathered into as few parameters as make sense.

An optimizer may mix the numbers of one parameter (Muon makes a matrix orthogonal, Adafactor keeps
moments of rows and columns), so that the chosen numbers of a weight are parameters of their own.
Rows or columns of heads in one weight are one parameter, as a matrix of those heads alone would
be. An expert's matrix is one by itself: experts never meet in one product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synkern.models.nodes import Node
from synkern.models.slices import Slice, Where, as_index

WHOLE = slice(None)


@dataclass(frozen=True, eq=False)
class Part:
    """Numbers of one weight that train as one parameter."""

    module: nn.Module
    """What holds the weight."""
    name: str
    """The weight's name in it."""
    where: Where
    """So that `weight[where]` are the numbers."""
    nodes: tuple[Node, ...]
    """Whose they are, in the order of the rows or columns."""
    of: str
    """What tells it from other parts of the weight: "query", "expert 3"."""

    @property
    def parameter_name(self) -> str:
        """Under which name they train, in the module that holds the weight."""
        return f"{self.name}_{self.of.replace(' ', '')}_trained"


def parts_of(model: nn.Module, slices: Mapping[Node, Sequence[Slice]]) -> list[Part]:
    """The matrices of nodes, as the parts of weights that train.

    Args:
        model: the causal language model itself, whose slices these are.
        slices: of every chosen node. Biases in them are passed over.

    Returns:
        The parts in the order of the model's parameters.
    """
    order = {name: place for place, (name, _) in enumerate(model.named_parameters())}
    together: dict[tuple[str, str], list[tuple[Node, Slice]]] = {}
    for node, own in slices.items():
        for part in own:
            if part.is_matrix:
                together.setdefault((part.name, _kind(node, part)), []).append((node, part))
    parts = []
    for (name, of), pairs in sorted(together.items(), key=lambda it: order[it[0][0]]):
        holder, _, own_name = name.rpartition(".")
        nodes = tuple(dict.fromkeys(node for node, _ in pairs))
        where = _joined([part for _, part in pairs])
        parts.append(Part(model.get_submodule(holder), own_name, where, nodes, of))
    return parts


def _kind(node: Node, part: Slice) -> str:
    """What of a node a slice is: slices of one parameter that agree in it train together."""
    if part.where and isinstance(part.where[0], int):
        return f"expert {part.where[0]}"
    return "whole" if _axis(part.where) is None else part.role


def _axis(where: Where) -> int | None:
    """The one axis that an index chooses from; None if it takes all."""
    axes = [axis for axis, index in enumerate(where) if not _is_whole(index)]
    return axes[0] if axes else None


def _is_whole(index: int | slice | Tensor) -> bool:
    return isinstance(index, slice) and index == WHOLE


def _joined(slices: Sequence[Slice]) -> Where:
    """One index for slices of one parameter along one axis, in rising order."""
    first = slices[0]
    axis = _axis(first.where)
    if len(slices) == 1 or axis is None:
        return first.where
    numbers = torch.arange(first.parameter.shape[axis])
    rows = torch.cat([numbers[_on_cpu(part.where[axis])] for part in slices]).sort().values
    return tuple(as_index(rows) if i == axis else w for i, w in enumerate(first.where))


def _on_cpu(index: int | slice | Tensor) -> int | slice | Tensor:
    return index.cpu() if isinstance(index, Tensor) else index


def chosen_groups(
    groups: Iterable[tuple[Node, ...]], chosen: Sequence[Node]
) -> list[tuple[Node, ...]]:
    """Of groups of heads that share keys and values, those that are chosen.

    Raises:
        ValueError: a group is chosen in part: its keys and values would change the other heads.
    """
    wanted, found = set(chosen), []
    for group in groups:
        left = [node for node in group if node not in wanted]
        if not left:
            found.append(group)
        elif len(left) < len(group):
            of_group = ", ".join(map(str, group))
            raise ValueError(
                f"kv: True, but {', '.join(map(str, left))} shares keys and values with others "
                f"that are chosen ({of_group} are one group), and would change with them; choose "
                "whole groups, or leave kv=False, which trains queries and outputs alone"
            )
    return found
