"""Sites of MLP blocks: what the block of each decoder layer returns.

No list of architectures is kept. The block is the module of a layer, at the layer's own level, that
takes one vector per token and returns another, treats every token by itself, and holds no
attention: found out by watching a tiny pass, and by running it again on the tokens in another
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.probe import passes_shared
from synkern.models.signals import Signal
from synkern.models.sites import OutputSite
from synkern.models.stack import Layer, find_stack
from synkern.models.survey import MIXES, PartCalls, has_stacks, matrices, own_parts, survey

MLP_SIGNALS = {
    "norm": Signal("L2 norm of each MLP block's output, before any norm or scaling behind it"),
}
"""What can be read of an MLP block."""

_EXPERTS = "The experts themselves are nodes too: nodes='experts'."


@dataclass
class Block:
    """The MLP block of a layer, and what was found out about it in the probe."""

    layer: Layer
    name: str
    module: nn.Module
    of_experts: bool
    """Whether it routes tokens to experts."""
    down: tuple[nn.Module, int] | None = None
    """Its down projection, and how many numbers enter that; None where it has no one."""


def find_mlps(model: nn.Module, signal: str = "norm") -> tuple[OutputSite, ...]:
    """Find the sites of the MLP blocks, in layer order.

    Their values are what the block returns, (trials, positions, width): before a norm or a scaling
    that some models put between the block and the stream. A mixture of experts is one block. A
    layer that has none at all, as in hybrids of one mixer per layer, is left out.

    Runs two forward passes of a few tokens, as `synkern.models.heads.find_heads` does.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `MLP_SIGNALS`.

    Raises:
        UnsupportedModelError: a layer has no one module that is its MLP block (linear layers of its
            own, a block that also adds the stream, two blocks), or the layers cannot be found.
    """
    return tuple(
        OutputSite("mlps", b.layer.index, b.name, b.module, 1, b.layer.output.shape[-1])
        for b in find_blocks(causal_lm(model))
    )


def find_blocks(model: Any) -> tuple[Block, ...]:
    """Find the MLP blocks of all layers that have one, in layer order.

    Args:
        model: the causal language model itself.

    Raises:
        UnsupportedModelError: see `find_mlps`.
    """
    with passes_shared():
        layers, seen = find_stack(model), survey(model).parts
    names = {module: name for name, module in model.named_modules()}
    parts = {layer.name: own_parts(layer.module) for layer in layers}
    found = []
    for layer in layers:
        width = layer.output.shape[-1]
        own = [p for p in parts[layer.name] if p in seen.blocks and seen.width(p) == width]
        own += [p for p in parts[layer.name] if own and _has_bare_experts(p, seen)]
        if len(own) == 1:
            (module,) = own
            down = seen.blocks[module]
            found.append(Block(layer, names[module], module, _has_experts(module), down))
        elif own or not _only_mixes(layer, parts[layer.name], seen):
            raise _no_block(model, layer, own, parts[layer.name], seen, names)
    if not found:
        raise UnsupportedModelError(
            f"model: {type(model).__name__} has no MLP blocks: its layers mix tokens and do nothing"
            f" else. {ANY_SERIES}"
        )
    return tuple(found)


def _has_experts(block: nn.Module) -> bool:
    """Whether a block holds a stack of weight matrices, or a list of modules, one per expert."""
    return has_stacks(block) or any(
        isinstance(module, nn.ModuleList) and len(module) > 1 for module in block.modules()
    )


def _has_bare_experts(part: nn.Module, seen: PartCalls) -> bool:
    """Whether a part that is no block is a mixture of experts which the layer itself routes to."""
    known = seen.blocks.keys() | seen.near_misses.keys()
    attends = bool(seen.attending & set(part.modules()))
    return part in seen.calls and part not in known and not attends and has_stacks(part)


def _only_mixes(layer: Layer, parts: Sequence[nn.Module], seen: PartCalls) -> bool:
    """Whether a layer mixes tokens and does nothing else: it has one part, which does that."""
    mixing = seen.attending | {m for m, why in seen.near_misses.items() if why == MIXES}
    working = [part for part in parts if matrices(part) and part in seen.calls]
    alone = len(working) == 1 and matrices(layer.module, recurse=False) == 0
    return alone and bool(mixing & set(working[0].modules()))


def _no_block(
    model: Any,
    layer: Layer,
    blocks: Sequence[nn.Module],
    parts: Sequence[nn.Module],
    seen: PartCalls,
    names: Mapping[nn.Module, str],
) -> UnsupportedModelError:
    def said(modules: Sequence[nn.Module]) -> str:
        return ", ".join(f"{names[m]} ({type(m).__name__})" for m in modules)

    if blocks:
        why = f"has {len(blocks)} MLP blocks beside each other, {said(blocks)}"
    else:
        why = "has no one module that is its MLP block"
        close = [part for part in parts if part in seen.near_misses]
        close = [part for part in close if seen.near_misses[part] != "holds attention"]
        linears = [p for p in parts if p in seen.calls and matrices(p) and p not in close]
        linears = [p for p in linears if not seen.attending & set(p.modules())]
        if close:
            why += "; " + "; ".join(f"{said([part])} {seen.near_misses[part]}" for part in close)
        if linears:
            why += f"; the layer itself puts {said(linears)} together"
    experts = f" {_EXPERTS}" if any(map(_has_experts, blocks)) else ""
    return UnsupportedModelError(
        f"model: {type(model).__name__}: {layer.what} {why}.{experts} {ANY_SERIES}"
    )
