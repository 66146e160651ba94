"""Sites of MLP blocks: what the block of each decoder layer returns.

No list of architectures is kept. The block is the module of a layer, at the layer's own level, that
takes one vector per token and returns another, treats every token by itself, and holds no
attention: found out by watching a tiny pass, and by running it again on the tokens in another
order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.probe import differs, probed
from synkern.models.signals import Signal
from synkern.models.sites import OutputSite, first_returned
from synkern.models.stack import STREAM, Layer, find_stack, streams_among
from synkern.models.upstream import observed_attention

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


@dataclass
class _Call:
    """One call of a module in the probe."""

    given: Tensor | None
    output: Any


@dataclass
class _Seen:
    """What a pass told of the parts of the layers."""

    calls: dict[nn.Module, list[_Call]] = field(default_factory=dict)
    attending: set[nn.Module] = field(default_factory=set)
    blocks: dict[nn.Module, tuple[nn.Module, int] | None] = field(default_factory=dict)
    """Of the parts that are blocks, their down projections."""
    near_misses: dict[nn.Module, str] = field(default_factory=dict)
    """Of parts of a block's shape, why they are none."""


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
    layers = find_stack(model)
    names = {module: name for name, module in model.named_modules()}
    parts = {layer.name: own_parts(layer.module) for layer in layers}
    width = layers[0].output.shape[-1]
    every = [part for own in parts.values() for part in own]
    seen = probed(model, lambda inner: _parts_watched(inner, every, width))
    found = []
    for layer in layers:
        own = [part for part in parts[layer.name] if part in seen.blocks]
        own += [p for p in parts[layer.name] if own and _has_bare_experts(p, seen)]
        if len(own) == 1:
            (module,) = own
            down = seen.blocks[module]
            found.append(Block(layer, names[module], module, _has_experts(module), down))
        elif own or _has_linears_of_its_own(layer, parts[layer.name], seen):
            raise _no_block(model, layer, own, parts[layer.name], seen, names)
    if not found:
        raise UnsupportedModelError(
            f"model: {type(model).__name__} has no MLP blocks: its layers mix tokens and do nothing"
            f" else. {ANY_SERIES}"
        )
    return tuple(found)


def own_parts(layer: nn.Module) -> list[nn.Module]:
    """The modules at a layer's own level: its children, and the members of its lists."""
    parts: list[nn.Module] = []
    for child in layer.children():
        inside = own_parts(child) if isinstance(child, nn.ModuleList | nn.ModuleDict) else [child]
        parts += [part for part in inside if part not in parts]
    return parts


def matrices(module: nn.Module, *, recurse: bool = True) -> int:
    """How many tensors of two or more dimensions a module holds."""
    tensors = (*module.parameters(recurse=recurse), *module.buffers(recurse=recurse))
    return sum(tensor.dim() > 1 for tensor in tensors)


def _has_stacks(module: nn.Module) -> bool:
    """Whether a module holds weight matrices in stacks."""
    return any(p.dim() > 2 and min(p.shape[-2:]) > 1 for p in module.parameters())


def _has_experts(block: nn.Module) -> bool:
    """Whether a block holds a stack of weight matrices, or a list of modules, one per expert."""
    return _has_stacks(block) or any(
        isinstance(module, nn.ModuleList) and len(module) > 1 for module in block.modules()
    )


def _has_bare_experts(part: nn.Module, seen: _Seen) -> bool:
    """Whether a part that is no block is a mixture of experts which the layer itself routes to."""
    known = seen.blocks.keys() | seen.near_misses.keys()
    attends = bool(seen.attending & set(part.modules()))
    return part in seen.calls and part not in known and not attends and _has_stacks(part)


@contextmanager
def _parts_watched(model: nn.Module, parts: Sequence[nn.Module], width: int) -> Iterator[_Seen]:
    """Find out which parts of layers are MLP blocks, and what projects down in them."""
    seen = _Seen()
    thread, asking = threading.get_ident(), [False]
    given: dict[nn.Module, Tensor | None] = {}

    def attended(module: nn.Module, *_: Any) -> None:
        if threading.get_ident() == thread:
            seen.attending.add(module)

    def entered(module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread and not asking[0]:
            first = args[0] if args else None
            given[module] = first.clone() if isinstance(first, Tensor) else None

    def ran(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        if threading.get_ident() != thread or asking[0]:
            return
        output = first_returned(out)
        output = output.clone() if isinstance(output, Tensor) else None
        seen.calls.setdefault(module, []).append(_Call(given.pop(module, None), output))
        if module not in parts or output is None:
            return
        if not _has_a_blocks_shape(module, output, width):
            return
        asking[0] = True  # what runs from here on is no part of the pass
        try:
            why = _why_no_block(module, args, kwargs, output, seen)
            if why:
                seen.near_misses[module] = why
            else:
                seen.blocks[module] = _down_projection(module, seen.calls)
        finally:
            asking[0] = False

    inside = {module for part in parts for module in part.modules()}
    with ExitStack() as stack:
        stack.enter_context(observed_attention(attended))
        for module in inside:
            handle = module.register_forward_pre_hook(entered)
            stack.callback(handle.remove)
            handle = module.register_forward_hook(ran, with_kwargs=True)
            stack.callback(handle.remove)
        yield seen


def _has_a_blocks_shape(module: nn.Module, output: Tensor, width: int) -> bool:
    """Whether a part returns one vector per token, and holds more than one linear layer may."""
    leaf = next(module.children(), None) is None
    enough = _has_stacks(module) if leaf else matrices(module) > 1
    return enough and output.shape == (*STREAM, width)


def _why_no_block(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    output: Tensor,
    seen: _Seen,
) -> str:
    """Why a part of a block's shape is none; empty if it is one."""
    if seen.attending & set(module.modules()):
        return "holds attention"
    if len(seen.calls[module]) > 1:
        return "runs more than once in a pass"
    streams = [v for v in streams_among(args, kwargs).values() if v.shape == output.shape]
    if len(streams) != 1:
        return f"is given {len(streams)} tensors of its output's shape instead of one"
    try:
        turned = module.forward(*map(_turned, args), **{k: _turned(v) for k, v in kwargs.items()})
        again = first_returned(turned).flip(1)
    except Exception as error:  # whatever it is, it is not known to be a block
        return f"cannot be run on its own ({type(error).__name__}: {error})"
    return "mixes tokens" if differs(again, output) else ""


def _turned(value: Any) -> Any:
    """An argument with its tokens in the opposite order."""
    tokens = isinstance(value, Tensor) and tuple(value.shape[:2]) == STREAM
    return value.flip(1) if tokens else value


def _down_projection(
    block: nn.Module, calls: Mapping[nn.Module, list[_Call]]
) -> tuple[nn.Module, int] | None:
    """The last linear layer of a block, if what it returns is what the block returns.

    An adapter around a linear layer counts as the layer. Linear is what sums: the outputs for any
    two halves of the neurons add up.
    """
    (whole,) = calls[block]
    if not whole.output.any():
        return None
    for module in block.modules():
        its = calls.get(module, [])
        if module is block or len(its) != 1 or not matrices(module):
            continue
        given, output = its[0].given, its[0].output
        if (
            given is not None
            and given.shape[:-1] == STREAM
            and output is not None
            and output.shape == whole.output.shape
            and torch.equal(output, whole.output)
            and _sums(module.forward, given)
        ):
            return module, given.shape[-1]
    return None


def _sums(forward: Callable[[Tensor], Any], given: Tensor) -> bool:
    """Whether a module's output is a sum over the numbers that it is given, and a constant."""
    even = torch.arange(given.shape[-1], device=given.device) % 2 == 0
    try:
        parts = [
            first_returned(forward(values)).double()
            for values in (given * even, given * ~even, given, torch.zeros_like(given))
        ]
    except Exception:  # whatever it is, it is not known to be linear
        return False
    one, other, both, none = parts
    return not differs(one + other, both + none, dtype=given.dtype)


def _has_linears_of_its_own(layer: Layer, parts: Sequence[nn.Module], seen: _Seen) -> bool:
    """Whether a layer does more than mix tokens: by parts with matrices that mix none."""
    mixing = seen.attending | {m for m, why in seen.near_misses.items() if why == "mixes tokens"}
    return matrices(layer.module, recurse=False) > 0 or any(
        matrices(part) and part in seen.calls and not mixing & set(part.modules()) for part in parts
    )


def _no_block(
    model: Any,
    layer: Layer,
    blocks: Sequence[nn.Module],
    parts: Sequence[nn.Module],
    seen: _Seen,
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
