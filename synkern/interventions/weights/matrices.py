"""The weights of a model as matrices that can be rounded: of each node, and of nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synkern.interventions.weights.bits import KEPT, NOBODY, Ints, Ledger
from synkern.interventions.weights.journal import Change
from synkern.interventions.weights.rounding import MOST_BITS, Loss, Rounding
from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.nodes import Node
from synkern.models.slices import Slice, find_slices
from synkern.models.upstream_linears import inputs_first, plain_linear_weight

_USUAL_GROUPS = (32, 64, 128, 16)
_LOOKED_AT, _ROWS = 24, 64


@dataclass(frozen=True, eq=False)
class Matrix:
    """One slice of weights, as a matrix whose last axis is that of the inputs."""

    part: Slice
    node: int
    """Whose it is: the index of a node, `NOBODY` or `KEPT`."""
    inputs_first: bool
    """Whether the inputs are the axis before the last in the model."""

    @property
    def values(self) -> Tensor:
        """The weights as they are, (..., rows, inputs); a vector is one row."""
        values = self.part.tensor
        if not self.part.is_matrix:
            return values[None]
        return values.transpose(-1, -2) if self.inputs_first else values

    def change(self, rounding: Rounding, bits: int) -> Change:
        """Round it, as `synkern.interventions.weights.journal.edited_weights` takes changes."""

        def rounded(weights: Tensor) -> Tensor:
            if not self.part.is_matrix:
                return torch.zeros_like(weights)
            turned = weights.transpose(-1, -2) if self.inputs_first else weights
            made = rounding.rounded(turned, bits)
            return made.transpose(-1, -2) if self.inputs_first else made

        return self.part, rounded


@dataclass(frozen=True, eq=False)
class Matrices:
    """All weights of a model that belong to nodes or to linear layers, as matrices.

    Attributes:
        nodes: of the model, in the order of every array.
        of_nodes: the slices of nodes, node by node.
        of_nobody: what else there is in linear layers, without embeddings and output layer.
        rounding: how they are rounded.
        ledger: every weight of the model.
    """

    nodes: tuple[Node, ...]
    of_nodes: tuple[Matrix, ...]
    of_nobody: tuple[Matrix, ...]
    rounding: Rounding
    ledger: Ledger

    @classmethod
    def of(cls, model: Any, kind: str, rounding: Rounding) -> Matrices:
        """Find them.

        Raises:
            UnsupportedModelError: the slices of nodes cannot be found or changed, or it is not
                known which axis of a weight is that of its inputs.
            ValueError: there is no such kind of node.
        """
        inside = causal_lm(model)
        slices = find_slices(inside, kind)
        of_nodes = tuple(
            Matrix(part, place, part.is_matrix and _inputs_first(inside, part))
            for place, parts in enumerate(slices.values())
            for part in parts
        )
        of_nobody = tuple(_of_nobody(inside, of_nodes))
        ledger = _ledger(inside, (*of_nodes, *of_nobody), rounding)
        return cls(tuple(slices), of_nodes, of_nobody, rounding, ledger)

    def changes(self, of_nodes: Ints, rest: int | None) -> Iterator[Change]:
        """What rounds the weights.

        Biases of nodes stay as they are, but for nodes of 0 bits, whose are zero too.

        Args:
            of_nodes: (nodes,) bits per weight.
            rest: of linear layers' weights that are nobody's; None leaves them.
        """
        for matrix in self.of_nodes:
            bits = int(of_nodes[matrix.node])
            if matrix.part.is_matrix or bits == 0:
                yield matrix.change(self.rounding, bits)
        if rest is not None:
            for matrix in self.of_nobody:
                yield matrix.change(self.rounding, rest)

    def losses(self, bits: Iterable[int]) -> dict[int, Loss]:
        """What rounding all nodes' weights does to them, by bits.

        Raises:
            ValueError: weights that cannot be rounded; the message names the first.
        """
        found = {each: Loss() for each in sorted(set(bits), reverse=True)}
        for matrix in self.of_nodes:
            if not matrix.part.is_matrix:
                continue
            for each in found:
                try:
                    found[each] += self.rounding.loss(matrix.values, each)
                except ValueError as error:
                    raise ValueError(
                        f"model: {matrix.part.name}, part of {self.nodes[matrix.node]}: {error}"
                    ) from error
        return found


@dataclass(frozen=True)
class Earlier:
    """How weights had been rounded before they were loaded, as those of a quantised file are."""

    bits: int
    group: int
    symmetric: bool

    def __str__(self) -> str:
        """Such as `4 bits in groups of 32`."""
        return f"{self.bits} bits in groups of {self.group}"


def earlier_rounding(matrices: Matrices) -> Earlier | None:
    """The coarsest grid that weights of nodes lie on already; None if on none of the usual ones.

    Looks at some rows of some of the matrices: on a grid they lie if rounding to it changes them by
    less than `rounding.ON_A_GRID` of what it does to weights that lie anywhere.
    """
    whole = [matrix for matrix in matrices.of_nodes if matrix.part.is_matrix]
    some = [m.values.flatten(0, -2)[:_ROWS] for m in whole[:: max(1, len(whole) // _LOOKED_AT)]]
    for bits in range(2, MOST_BITS + 1):
        for group in _USUAL_GROUPS:
            for symmetric in (False, True):
                loss = sum((Rounding(group, symmetric).loss(w, bits) for w in some), Loss())
                if loss.on_a_grid:
                    return Earlier(bits, group, symmetric)
    return None


def _inputs_first(model: Any, part: Slice) -> bool:
    """Whether the inputs of a matrix of weights are its axis before the last.

    Raises:
        UnsupportedModelError: that is not known.
    """
    owner, _, name = part.name.rpartition(".")
    module: nn.Module = model.get_submodule(owner)
    found = inputs_first(module, name)
    if found is None:
        raise UnsupportedModelError(
            f"model: {type(model).__name__}: which axis of {part.name} "
            f"{tuple(part.parameter.shape)} is that of its inputs, along which weights are rounded "
            f"by group, is not known of {type(module).__name__}. {ANY_SERIES}"
        )
    return found


def _of_nobody(model: Any, of_nodes: Iterable[Matrix]) -> Iterator[Matrix]:
    """The weights of linear layers that are no node's, without embeddings and output layer."""
    owned: dict[int, list[Matrix]] = {}
    for matrix in of_nodes:
        owned.setdefault(id(matrix.part.parameter), []).append(matrix)
    apart = {
        id(parameter)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        if layer is not None
        for parameter in layer.parameters()
    }
    seen: set[int] = set()
    for owner, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in apart | seen or not _linear(module, name, parameter):
                continue
            seen.add(id(parameter))
            left = _left(parameter, owned.get(id(parameter), ()))
            if left is None:
                continue
            part = Slice(f"{owner}.{name}", parameter, left, "rest")
            yield Matrix(part, NOBODY, _inputs_first(model, part))


def _linear(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    """Whether a parameter is a weight that inputs are multiplied by: of a linear layer or experts.

    Stacks of matrices of which the axis of inputs is not known are none: they stay as they are.
    """
    if parameter.dim() == 2:
        return name == "weight" and plain_linear_weight(module) is not None
    return parameter.dim() == 3 and inputs_first(module, name) is not None


def _left(parameter: nn.Parameter, owned: Iterable[Matrix]) -> tuple[slice | Tensor, ...] | None:
    """An index of what is left of a weight besides nodes' parts; None if nothing is.

    Raises:
        UnsupportedModelError: what is left is neither whole rows nor whole columns.
    """
    free = torch.ones(parameter.shape, dtype=torch.bool)
    parts = [matrix.part for matrix in owned]
    for part in parts:
        free[tuple(i.cpu() if isinstance(i, Tensor) else i for i in part.where)] = False
    if bool(free.all()):
        return (slice(None),) * parameter.dim()
    if not bool(free.any()):
        return None
    others = tuple(range(1, free.dim()))
    rows, columns = free.any(others), free.any(tuple(range(free.dim() - 1)))
    if bool((free == rows.reshape(-1, *(1 for _ in others))).all()):
        return (rows.nonzero()[:, 0].to(parameter.device),)
    if free.dim() == 2 and bool((free == columns).all()):
        return (slice(None), columns.nonzero()[:, 0].to(parameter.device))
    raise UnsupportedModelError(
        f"model: of {parts[0].name} neither whole rows nor whole columns are left besides the "
        "parts of nodes, so that they cannot be rounded as a matrix; leave `rest` out"
    )


def _ledger(model: Any, matrices: Iterable[Matrix], rounding: Rounding) -> Ledger:
    """Every weight of a model: the matrices, and of each tensor what is in none of them."""
    parameters: Mapping[str, nn.Parameter] = dict(model.named_parameters())
    places = {id(parameter): place for place, parameter in enumerate(parameters.values())}
    pieces: list[tuple[int, int, int, int, bool]] = []
    left = [parameter.numel() for parameter in parameters.values()]
    for matrix in matrices:
        shape, place = matrix.values.shape, places[id(matrix.part.parameter)]
        pieces.append(
            (place, matrix.node, shape[:-1].numel(), shape[-1], not matrix.part.is_matrix)
        )
        left[place] -= shape.numel()
    pieces += [(place, KEPT, 1, rest, True) for place, rest in enumerate(left) if rest]
    tensor, node, rows, inputs, vector = np.array(pieces, np.int64).T
    return Ledger(
        tensors=tuple(parameters),
        own_bits=np.array([8 * p.element_size() for p in parameters.values()]),
        tensor=tensor,
        node=node,
        rows=rows,
        inputs=inputs,
        vector=vector.astype(bool),
        rounding=rounding,
    )
