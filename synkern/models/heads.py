"""Sites of attention heads of a language model: the input of each output projection.

A head's output `softmax(q kᵀ / sqrt(d)) v` is the input of the layer's output projection, split by
head. No list of architectures is kept: one tiny forward pass is watched, and the projection is the
layer whose input is the attention's output, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.probe import PROBE_BATCH, PROBE_LENGTH, in_the_pass, looks_ahead, probed
from synkern.models.sites import VectorSite
from synkern.models.upstream import layer_index, observed_attention


@dataclass
class Attention:
    """One call of an attention layer during the probe."""

    module: nn.Module
    output: Tensor  # (batch, sequence, heads, width)
    weights: Tensor | None
    """(batch, heads, queries, keys) where the implementation gives them."""
    weights_place: int | None = None
    """Where they are in what the module returns; None if it does not return them."""
    projection: nn.Module | None = None
    near_misses: list[nn.Module] = field(default_factory=list)
    layer: int = -1
    """The layer's own index."""


def find_heads(model: nn.Module) -> tuple[VectorSite, ...]:
    """Find the sites of the attention heads: the output projections of all layers, in layer order.

    Their values are (batch, sequence, heads * width), head after head. With latent attention the
    width is that of the values, not that of queries and keys.

    Runs one forward pass of a few tokens without gradient and cache, in evaluation mode; the model
    and transformers are left as they were. Attention in other parts (a vision tower) is not run and
    so not found.

    Args:
        model: a causal language model of transformers, or a module that holds one.

    Returns:
        One site per attention layer. Its module is a linear layer of any kind: `nn.Linear`,
        transformers' `Conv1D`, a quantised one.

    Raises:
        UnsupportedModelError: heads cannot be read this way: a gate or a norm between attention and
            projection, attention that bypasses transformers' interface, attention to later tokens,
            an encoder-decoder, no attention at all.
    """
    language_model = causal_lm(model)
    names = {module: name for name, module in language_model.named_modules()}
    return tuple(head_site(call, names) for call in find_attention(language_model))


def head_site(call: Attention, names: Mapping[nn.Module, str]) -> VectorSite:
    """The site of the heads of one attention layer that `find_attention` found."""
    module = call.projection
    assert module is not None
    return VectorSite("heads", call.layer, names[module], module, *call.output.shape[2:])


def find_attention(language_model: Any) -> tuple[Attention, ...]:
    """Find the attention layers and their output projections, in layer order: see `find_heads`."""
    calls = probed(language_model, _attention_watched)
    if not calls:
        raise _no_attention(language_model)
    for call in calls:
        if call.projection is None:
            raise _no_projection(language_model, call)
        if looks_ahead(call.output):
            raise _not_causal(language_model, call)
    modules = [call.projection for call in calls if call.projection is not None]
    names = {module: name for name, module in language_model.named_modules()}
    shared = next((m for m in modules if modules.count(m) > 1), None)
    if shared is not None:
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} uses {names[shared]} in "
            f"{modules.count(shared)} attention calls of one forward pass, so its heads do not "
            f"belong to one layer. {ANY_SERIES}"
        )
    for call, layer in zip(calls, _layer_indices(calls), strict=True):
        call.layer = layer
    return tuple(sorted(calls, key=lambda call: call.layer))


def _layer_indices(calls: list[Attention]) -> list[int]:
    """The layers' own indices, which a cache needs, or the order of the calls without them."""
    own = [layer_index(call.module) for call in calls]
    indices = [index for index in own if index is not None]
    return indices if len(set(indices)) == len(calls) else list(range(len(calls)))


@contextmanager
def _attention_watched(model: nn.Module) -> Iterator[list[Attention]]:
    """Note the attention calls of a pass through `model`, each with its output projection."""
    calls: list[Attention] = []
    inside = set(model.modules())

    def attention_ran(module: nn.Module, output: Any, weights: Any) -> None:
        if module not in inside or not in_the_pass():
            return
        # A clone: a gate that multiplies in place would otherwise change what is compared.
        if isinstance(output, Tensor) and output.dim() == 4:
            weights = weights if isinstance(weights, Tensor) else None
            calls.append(Attention(module, output.clone(), weights))

    def layer_entered(module: nn.Module, args: tuple[Any, ...]) -> None:
        if not in_the_pass() or not calls or calls[-1].projection is not None or not args:
            return
        call, entered = calls[-1], args[0]
        joined = call.output.flatten(2)
        if not isinstance(entered, Tensor) or entered.shape != joined.shape:
            return
        if torch.equal(entered, joined.to(entered.dtype)):
            call.projection = module
        elif module in set(call.module.modules()):
            call.near_misses.append(module)

    def returned(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if (
            not in_the_pass()
            or not calls
            or calls[-1].module is not module
            or calls[-1].weights is None
        ):
            return
        if isinstance(output, tuple):
            of_this = [i for i, value in enumerate(output) if value is calls[-1].weights]
            calls[-1].weights_place = of_this[0] if of_this else None

    with ExitStack() as stack:
        stack.enter_context(observed_attention(attention_ran))
        for module in inside:
            stack.callback(module.register_forward_hook(returned).remove)
            if has_weight_matrix(module):
                handle = module.register_forward_pre_hook(layer_entered)
                stack.callback(handle.remove)
        yield calls
    for call in calls:
        if call.output.shape[:2] != (PROBE_BATCH, PROBE_LENGTH):
            call.projection = None


def has_weight_matrix(module: nn.Module) -> bool:
    """Whether this is a leaf with a matrix: a linear layer, quantised or not, but not a norm."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return next(module.children(), None) is None and any(t.dim() > 1 for t in tensors)


def _no_attention(model: Any) -> UnsupportedModelError:
    kinds = {
        type(m).__name__ for m in model.modules() if re.search("attention", type(m).__name__, re.I)
    }
    if kinds:
        found = (
            f"its attention ({', '.join(sorted(kinds))}) does not go through transformers' "
            "attention interface, which is where synkern sees the heads"
        )
    else:
        found = (
            "no attention layer was found: a state-space or recurrent model has no heads to read"
        )
    return UnsupportedModelError(f"model: {type(model).__name__}: {found}. {ANY_SERIES}")


def _no_projection(model: Any, call: Attention) -> UnsupportedModelError:
    names = {module: name for name, module in model.named_modules()}
    heads, width = call.output.shape[2:]
    what = (
        f"model: {type(model).__name__}: no layer takes the output of {names[call.module]} "
        f"({type(call.module).__name__}, {heads} heads of width {width}) as its input"
    )
    if not torch.isfinite(call.output).all():
        what += (
            f"; it holds {'NaN' if torch.isnan(call.output).any() else 'infinity'}, which equals "
            "nothing: weights of the model are not finite, or its numbers are too large for "
            f"{str(call.output.dtype).removeprefix('torch.')}"
        )
    elif call.near_misses:
        what += (
            f"; {names[call.near_misses[-1]]} takes one of the same shape but other values, so a "
            "gate or a norm lies between attention and output projection, and what the projection "
            "reads is not a head's output"
        )
    return UnsupportedModelError(f"{what}. {ANY_SERIES}")


def _not_causal(model: Any, call: Attention) -> UnsupportedModelError:
    names = {module: name for name, module in model.named_modules()}
    return UnsupportedModelError(
        f"model: {type(model).__name__} looks ahead: at {names[call.module]} an earlier token "
        "attends to later ones, so what is read while a text is written is not what the finished "
        "text gives. If it was trained as a decoder, say so in its configuration "
        f"(is_decoder=True for Bert and its kin). {ANY_SERIES}"
    )
