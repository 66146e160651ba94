"""What a node of a language model can be, and where the nodes of a model are.

A further kind is one more line of `KINDS`: the word for one, the letter of its labels, and what
finds its sites in a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import nn

from synkern.models.heads import find_heads
from synkern.models.sites import Site


@dataclass(frozen=True)
class Kind:
    """One kind of node: its words, and what finds its sites."""

    one: str
    """The word for one of them, in messages."""
    letter: str
    """Between layer and index in the label of a node."""
    find: Callable[[nn.Module], tuple[Site, ...]]
    """The sites of a model in layer order, at most one per layer.

    Raises UnsupportedModelError if the nodes cannot be read.
    """


KINDS: dict[str, Kind] = {
    "heads": Kind("head", "H", find_heads),
}
"""Every kind of node, by the name that `record(model, nodes=...)` takes."""


@dataclass(frozen=True, order=True)
class Node:
    """One node of a model; `str(Node(3, 7))` is `"L3H7"`. Both indices count from zero."""

    layer: int
    """The layer's index in the model."""
    index: int
    """Which node of its kind in the layer."""
    kind: str = "heads"
    """What it is, as one of `KINDS`."""

    def __str__(self) -> str:
        """Return the label."""
        return self.label

    @property
    def label(self) -> str:
        """The usual short name, such as `"L3H7"`."""
        return f"L{self.layer}{KINDS[self.kind].letter}{self.index}"


def find_sites(model: nn.Module, nodes: str = "heads") -> tuple[Site, ...]:
    """Find the sites of all nodes of one kind, in layer order.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        nodes: a kind of node, one of `KINDS`.

    Returns:
        The sites; together with their indices they are the nodes, as `nodes_of` lists them.

    Raises:
        UnsupportedModelError: the nodes of this model cannot be read.
        ValueError: there is no such kind.
    """
    return checked_kind(nodes).find(model)


def checked_kind(nodes: str) -> Kind:
    """The kind of this name.

    Raises:
        ValueError: there is none.
    """
    kind = KINDS.get(nodes) if isinstance(nodes, str) else None
    if kind is None:
        raise ValueError(
            f"nodes: {nodes!r} is no kind of node; use {' or '.join(map(repr, KINDS))}"
        )
    return kind


def nodes_of(sites: Iterable[Site]) -> tuple[Node, ...]:
    """The nodes of these sites, site by site."""
    return tuple(Node(s.layer, index, s.kind) for s in sites for index in range(s.count))
