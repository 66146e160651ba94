"""What a node of a language model can be, and where the nodes of a model are.

A further kind is one more line of `KINDS`: its words, the letter of its labels, what can be read of
it, and what finds its sites in a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from torch import nn

from synkern.models.blocks import MLP_SIGNALS, find_mlps
from synkern.models.experts import EXPERT_SIGNALS, find_experts
from synkern.models.head_signals import HEAD_SIGNALS, find_heads_to_read
from synkern.models.layers import LAYER_SIGNALS, find_layers
from synkern.models.neurons import NEURON_SIGNALS, find_neurons
from synkern.models.probe import found_in_one_pass
from synkern.models.shared_experts import SHARED_SIGNALS, find_shared_experts
from synkern.models.signals import Signal
from synkern.models.sites import Site

Kinds: TypeAlias = str | Sequence[str]
"""A kind of node, or several, as `record(model, nodes=...)` takes them."""
Signals: TypeAlias = str | Mapping[str, str] | None
"""What to read of nodes: of the one kind asked for, by kind, or the first signal of each."""


@dataclass(frozen=True)
class Kind:
    """One kind of node: its words, what can be read of it, and what finds its sites."""

    one: str
    """The word for one of them, in messages."""
    many: str
    """The word for several."""
    letter: str
    """Behind the layer in the label of a node."""
    find: Callable[[nn.Module, str], tuple[Site, ...]]
    """The sites of a model in layer order, at most one per layer, that read the signal named.

    Raises UnsupportedModelError if the nodes, or this signal of them, cannot be read.
    """
    signals: Mapping[str, Signal]
    """What can be read of a node, by name; the first unless asked otherwise."""
    numbered: bool = True
    """Whether a layer has several, so that labels carry an index."""


KINDS: dict[str, Kind] = {
    "heads": Kind("head", "heads", "H", find_heads_to_read, HEAD_SIGNALS),
    "experts": Kind("expert", "experts", "E", find_experts, EXPERT_SIGNALS),
    "shared_experts": Kind(
        "layer of shared experts",
        "shared experts",
        "S",
        find_shared_experts,
        SHARED_SIGNALS,
        numbered=False,
    ),
    "mlps": Kind("MLP block", "MLP blocks", "M", find_mlps, MLP_SIGNALS, numbered=False),
    "layers": Kind("layer", "layers", "", find_layers, LAYER_SIGNALS, numbered=False),
    "neurons": Kind("neuron", "neurons", "N", find_neurons, NEURON_SIGNALS),
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
        """The usual short name, such as `"L3H7"`; without index where a layer has one only."""
        kind = KINDS[self.kind]
        return f"L{self.layer}{kind.letter}{self.index if kind.numbered else ''}"


def find_sites(
    model: nn.Module, nodes: Kinds = "heads", signal: Signals = None
) -> tuple[Site, ...]:
    """Find the sites of all nodes of one kind, or of several, in layer order.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        nodes: a kind of node, one of `KINDS`, or several.
        signal: what the sites read of a node, one of the kind's `signals`; of several kinds a
            mapping from kind to signal. The first of each kind by default.

    Returns:
        The sites, kind by kind; together with their indices they are the nodes, as `nodes_of` lists
        them.

    Raises:
        UnsupportedModelError: the nodes of this model, or this signal of them, cannot be read.
        ValueError: there is no such kind or signal, or a kind is named twice.
    """
    asked = checked_signals(nodes, signal)
    finders = [partial(KINDS[kind].find, model, read) for kind, read in asked.items()]
    return tuple(site for sites in found_in_one_pass(finders) for site in sites)


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


def checked_signals(nodes: Kinds, signal: Signals = None) -> dict[str, str]:
    """What is to be read of each kind: from kind to signal, in the order asked for.

    Args:
        nodes: a kind of node, one of `KINDS`, or several.
        signal: see `find_sites`.

    Raises:
        ValueError: there is no such kind or signal, a kind is named twice, or none is.
    """
    one = isinstance(nodes, str) or not isinstance(nodes, Sequence)
    kinds: list[str] = [nodes] if one else list(nodes)  # type: ignore[list-item]
    if not kinds:
        raise ValueError("nodes: no kind of node is named; give one or several, such as 'heads'")
    for kind in kinds:
        checked_kind(kind)
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"nodes: {kinds} names a kind twice; give each once")
    if signal is None or isinstance(signal, Mapping):
        chosen = dict(signal or {})
    elif len(kinds) == 1:
        chosen = {kinds[0]: signal}
    else:
        raise ValueError(
            f"signal: {signal!r} for {len(kinds)} kinds of nodes; give a mapping from kind to "
            f"signal, such as {{{kinds[0]!r}: {next(iter(KINDS[kinds[0]].signals))!r}}}"
        )
    others = [kind for kind in chosen if kind not in kinds]
    if others:
        raise ValueError(
            f"signal: {others[0]!r} is none of the kinds of nodes asked for, {kinds}; leave it out "
            "or add it to nodes"
        )
    return {kind: _checked_signal(kind, chosen.get(kind)) for kind in kinds}


def _checked_signal(kind: str, signal: str | None) -> str:
    signals = KINDS[kind].signals
    if signal is None:
        return next(iter(signals))
    if not isinstance(signal, str) or signal not in signals:
        raise ValueError(
            f"signal: {signal!r} is none of {kind}; use {' or '.join(map(repr, signals))}"
        )
    return signal


def nodes_of(sites: Iterable[Site]) -> tuple[Node, ...]:
    """The nodes of these sites, site by site."""
    return tuple(Node(s.layer, index, s.kind) for s in sites for index in range(s.count))
