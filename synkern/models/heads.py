"""Where the attention heads of a language model can be read: the input of each output projection.

A head's output `softmax(q kᵀ / sqrt(d)) v` is the input of the layer's output projection, split by
head. No list of architectures is kept: one tiny forward pass is watched, and the projection is the
layer whose input is the attention's output, bit for bit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.upstream import (
    forward_hooks,
    import_llm,
    inputs_device,
    is_compiled,
    layer_index,
    observed_attention,
    runs_the_model,
    special_tokens,
)

# Batch and length of the probe differ, so that a layout with the two swapped cannot match.
_PROBE_BATCH = 2
_PROBE_LENGTH = 3

# The attention interface belongs to a class that all models share: one probe at a time.
_PROBING = threading.Lock()

_ANY_SERIES = (
    "To analyse it all the same, compute the nodes' series (trials, time, nodes) yourself and hand "
    "it to synkern directly."
)


class UnsupportedModelError(ValueError):
    """The heads of this model cannot be read at the inputs of its output projections."""


@dataclass(frozen=True, eq=False)
class OutputProjection:
    """The output projection of one attention layer.

    Its input has shape (batch, sequence, heads * width), head after head.
    """

    layer: int
    """The layer's index in the model, from zero."""
    name: str
    """The module's dotted name in the transformers model (not in a wrapper around it)."""
    module: nn.Module
    """A linear layer of any kind: `nn.Linear`, transformers' `Conv1D`, a quantised one."""
    heads: int
    width: int
    """Values per head in the module's input; with latent attention this is the value width."""


@dataclass
class _AttentionCall:
    """One call of an attention layer during the probe."""

    module: nn.Module
    output: Tensor  # (batch, sequence, heads, width)
    projection: nn.Module | None = None
    near_misses: list[nn.Module] = field(default_factory=list)


def causal_lm(model: nn.Module) -> Any:
    """Return the transformers model inside `model`: itself, or what a wrapper holds.

    Wrappers are `torch.compile`'s module, adapters and any `nn.Module` that holds such a model.

    Raises:
        UnsupportedModelError: `model` is no module, there is none in it, or it has an encoder.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"model: {type(model).__name__} is no torch module; pass the model itself, as "
            "synkern.models.language_model.load or from_pretrained returns it"
        )
    pretrained = import_llm("transformers").PreTrainedModel
    candidates = [m for m in model.modules() if isinstance(m, pretrained)]
    found = next((m for m in candidates if m.can_generate()), candidates[0] if candidates else None)
    if found is None:
        raise UnsupportedModelError(
            f"model: {type(model).__name__} neither is nor holds a transformers PreTrainedModel. "
            f"Pass a causal language model of transformers. {_ANY_SERIES}"
        )
    if getattr(found.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"model: {type(found).__name__} is an encoder-decoder; only decoder-only language "
            f"models have one call per generated token. {_ANY_SERIES}"
        )
    return found


def find_output_projections(model: nn.Module) -> tuple[OutputProjection, ...]:
    """Find the output projection of every attention layer, in layer order.

    Runs one forward pass of a few tokens without gradient and cache, in evaluation mode; the model
    and transformers are left as they were. Attention in other parts (a vision tower) is not run and
    so not found.

    Args:
        model: a causal language model of transformers, or a module that holds one.

    Returns:
        One `OutputProjection` per attention layer.

    Raises:
        UnsupportedModelError: heads cannot be read this way: a gate or a norm between attention and
            projection, attention that bypasses transformers' interface, attention to later tokens,
            an encoder-decoder, no attention at all.
    """
    language_model = causal_lm(model)
    calls = _probe(language_model)
    if not calls:
        raise _no_attention(language_model)
    for call in calls:
        if call.projection is None:
            raise _no_projection(language_model, call)
        if _looks_ahead(call.output):
            raise _not_causal(language_model, call)
    modules = [call.projection for call in calls if call.projection is not None]
    names = {module: name for name, module in language_model.named_modules()}
    shared = next((m for m in modules if modules.count(m) > 1), None)
    if shared is not None:
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} uses {names[shared]} in "
            f"{modules.count(shared)} attention calls of one forward pass, so its heads do not "
            f"belong to one layer. {_ANY_SERIES}"
        )
    projections = [
        OutputProjection(layer, names[module], module, *call.output.shape[2:])
        for layer, module, call in zip(_layer_indices(calls), modules, calls, strict=True)
    ]
    return tuple(sorted(projections, key=lambda projection: projection.layer))


def _looks_ahead(output: Tensor) -> bool:
    """Whether an attention output of the probe depends on later tokens.

    The rows of the probe differ in the last token only, so before it they are equal up to rounding,
    which moves the last digits of the dtype; a look ahead moves the first. The square root of the
    precision lies half-way between them in digits.
    """
    first, second = output[:, :-1].double()
    tolerance = torch.finfo(output.dtype).eps ** 0.5
    return bool((first - second).norm() > tolerance * first.norm())


def _layer_indices(calls: list[_AttentionCall]) -> list[int]:
    """The layers' own indices, which a cache needs, or the order of the calls without them."""
    own = [layer_index(call.module) for call in calls]
    indices = [index for index in own if index is not None]
    return indices if len(set(indices)) == len(calls) else list(range(len(calls)))


def _probe(model: Any) -> list[_AttentionCall]:
    """Run a few tokens through `model` and pair each attention output with its projection.

    Hooks of others do not see it, unless the model cannot run without them.
    """
    with ExitStack() as stack:
        stack.enter_context(_PROBING)
        hidden = stack.enter_context(_hooks_of_others_hidden(model))
        try:
            return _watched_pass(model)
        except UnsupportedModelError:
            if not hidden:
                raise
    with _PROBING:
        return _watched_pass(model)


def _watched_pass(model: Any) -> list[_AttentionCall]:
    calls: list[_AttentionCall] = []
    inside, thread = set(model.modules()), threading.get_ident()

    def attention_ran(module: nn.Module, output: Any) -> None:
        if module not in inside or threading.get_ident() != thread:
            return
        # A clone: a gate that multiplies in place would otherwise change what is compared.
        if isinstance(output, Tensor) and output.dim() == 4:
            calls.append(_AttentionCall(module, output.clone()))

    def layer_entered(module: nn.Module, args: tuple[Any, ...]) -> None:
        if not calls or calls[-1].projection is not None or not args:
            return
        if threading.get_ident() != thread:
            return
        call, entered = calls[-1], args[0]
        joined = call.output.flatten(2)
        if not isinstance(entered, Tensor) or entered.shape != joined.shape:
            return
        if torch.equal(entered, joined.to(entered.dtype)):
            call.projection = module
        elif module in set(call.module.modules()):
            call.near_misses.append(module)

    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(_generators_kept(model))
        stack.enter_context(observed_attention(attention_ran))
        if is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for module in inside:
            if _has_weight_matrix(module):
                handle = module.register_forward_pre_hook(layer_entered)
                stack.callback(handle.remove)
        tokens = _probe_tokens(model)
        try:
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
        except Exception as error:
            raise UnsupportedModelError(
                f"model: {type(model).__name__} failed on a text of {_PROBE_LENGTH} tokens, which "
                f"synkern runs to find its attention heads ({type(error).__name__}: {error}). "
                f"Check that model(input_ids=..., use_cache=False) runs. {_ANY_SERIES}"
            ) from error
    for call in calls:
        if call.output.shape[:2] != (_PROBE_BATCH, _PROBE_LENGTH):
            call.projection = None
    return calls


@contextmanager
def _hooks_of_others_hidden(model: nn.Module) -> Iterator[bool]:
    """Keep the passes that this thread runs through `model` from hooks that others put there.

    Hooks that make a model run are left, such as those that gather its weights from several
    devices. Yields whether there are any others.
    """
    thread, inside = threading.get_ident(), set(model.modules())

    def silenced(hook: Any) -> Any:
        def only_elsewhere(module: nn.Module, *args: Any) -> Any:
            if module in inside and threading.get_ident() == thread:
                return None  # nothing is changed
            return hook(module, *args)

        return only_elsewhere

    replaced = []
    # In place and one by one: handles, other threads and the order of hooks stay good.
    for hooks in forward_hooks(inside):
        for key, hook in list(hooks.items()):
            if not runs_the_model(hook):
                hooks[key] = silenced(hook)
                replaced.append((hooks, key, hook, hooks[key]))
    try:
        yield bool(replaced)
    finally:
        for hooks, key, hook, stand_in in replaced:
            if hooks.get(key) is stand_in:  # else it was removed meanwhile
                hooks[key] = hook


@contextmanager
def _generators_kept(model: nn.Module) -> Iterator[None]:
    """Put the random number generators back that `model` may draw from."""
    gpus = {p.device.index for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus)):
        yield


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _has_weight_matrix(module: nn.Module) -> bool:
    """Whether this is a leaf with a matrix: a linear layer, quantised or not, but not a norm."""
    tensors = (*module.parameters(recurse=False), *module.buffers(recurse=False))
    return next(module.children(), None) is None and any(t.dim() > 1 for t in tensors)


def _probe_tokens(model: Any) -> Tensor:
    """Token ids (batch, length) that no configuration gives a meaning, such as "an image here".

    The rows differ in the last token only.
    """
    special = special_tokens(model)
    enough = _PROBE_LENGTH - 1 + _PROBE_BATCH
    plain = [i for i in range(enough + len(special)) if i not in special][:enough]
    first, last = plain[: _PROBE_LENGTH - 1], plain[_PROBE_LENGTH - 1 :]
    return torch.tensor([[*first, token] for token in last], device=inputs_device(model))


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
    return UnsupportedModelError(f"model: {type(model).__name__}: {found}. {_ANY_SERIES}")


def _no_projection(model: Any, call: _AttentionCall) -> UnsupportedModelError:
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
    return UnsupportedModelError(f"{what}. {_ANY_SERIES}")


def _not_causal(model: Any, call: _AttentionCall) -> UnsupportedModelError:
    names = {module: name for name, module in model.named_modules()}
    return UnsupportedModelError(
        f"model: {type(model).__name__} looks ahead: at {names[call.module]} an earlier token "
        "attends to later ones, so what is read while a text is written is not what the finished "
        "text gives. If it was trained as a decoder, say so in its configuration "
        f"(is_decoder=True for Bert and its kin). {_ANY_SERIES}"
    )
