"""The decoder layers of a language model: the modules that hand a stream on, one to the next.

No list of architectures is kept: one tiny forward pass is watched. The layers are the members of a
list of modules, each of which is given what the one before returned, bit for bit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError
from synkern.models.probe import PROBE_BATCH, PROBE_LENGTH, looks_ahead, probed
from synkern.models.sites import first_returned

Place: TypeAlias = int | str
"""Where a module is given something: a position among its arguments, or a name."""

STREAM = (PROBE_BATCH, PROBE_LENGTH)
"""How the shape of a stream begins in the probe."""


@dataclass(frozen=True)
class Layer:
    """A decoder layer, and what it was given and returned in the probe."""

    index: int
    """Place in the list of layers."""
    name: str
    module: nn.Module
    entry: Place | None
    """Where it is given the stream; None if it is not given what the layer before returned."""
    output: Tensor
    rewrites: bool
    """Whether it changes in place what it was given."""

    @property
    def what(self) -> str:
        """Name and class, for messages."""
        return f"{self.name} ({type(self.module).__name__})"


@dataclass
class _Calls:
    """The calls of one module during the probe."""

    given: dict[Place, Tensor] = field(default_factory=dict)  # what looks like the output
    output: Any = None
    rewritten: bool = False
    count: int = 0


def find_stack(model: Any) -> tuple[Layer, ...]:
    """Find the decoder layers that a pass of a few tokens runs, in their order.

    Args:
        model: the causal language model itself.

    Raises:
        UnsupportedModelError: there is no such list of layers, or more than one; a layer runs
            several times in a pass, looks at later tokens, or returns what is not finite.
    """
    names = {module: name for name, module in model.named_modules()}
    called = probed(model, _members_watched)
    ran = {module: calls for module, calls in called.items() if calls.count}
    stacks = []
    for parent in model.modules():
        members = list(parent.children()) if isinstance(parent, nn.ModuleList) else []
        members = [member for member in members if member in ran]
        if members and all(_hands_on(ran[member]) for member in members):
            stacks.append((parent, members))
    inside = {m for _, members in stacks for member in members for m in member.modules()}
    stacks = [stack for stack in stacks if stack[0] not in inside]
    if len(stacks) > 1:
        stacks = [s for s in stacks if all(_entries([ran[member] for member in s[1]]))]
    if len(stacks) != 1:
        what = " and ".join(names[parent] for parent, _ in stacks)
        raise UnsupportedModelError(
            f"model: {type(model).__name__} has "
            + (f"several lists of layers ({what})" if stacks else "no list of decoder layers")
            + ": synkern looks for one list of modules each of which takes a tensor (texts, tokens,"
            f" ...) and hands one of the same shape on to the next. {ANY_SERIES}"
        )
    ((parent, members),) = stacks
    every = list(parent.children())
    calls = [ran[member] for member in members]
    layers = tuple(
        Layer(every.index(member), names[member], member, entry, its.output, its.rewritten)
        for member, its, entry in zip(members, calls, _entries(calls), strict=True)
    )
    for layer, its in zip(layers, calls, strict=True):
        _refuse_unusual(model, layer, its.count)
    return layers


def _refuse_unusual(model: Any, layer: Layer, count: int) -> None:
    what = f"model: {type(model).__name__}"
    if count > 1:
        raise UnsupportedModelError(
            f"{what} runs {layer.what} {count} times in one pass, so that it has several values "
            f"per token. {ANY_SERIES}"
        )
    if not torch.isfinite(layer.output).all():
        raise UnsupportedModelError(
            f"{what}: {layer.what} returns NaN or infinity on a text of {PROBE_LENGTH} tokens: "
            "weights of the model are not finite, or its numbers are too large for "
            f"{str(layer.output.dtype).removeprefix('torch.')}. {ANY_SERIES}"
        )
    if tuple(layer.output.shape[:2]) == STREAM and looks_ahead(layer.output):
        raise UnsupportedModelError(
            f"{what} looks ahead: in {layer.what} an earlier token sees later ones, so what is "
            "read while a text is written is not what the finished text gives. If it was trained "
            "as a decoder, say so in its configuration (is_decoder=True for Bert and its kin). "
            f"{ANY_SERIES}"
        )


def _hands_on(calls: _Calls) -> bool:
    """Whether a module returned a tensor of texts and tokens shaped like one that it was given."""
    output = calls.output
    return isinstance(output, Tensor) and output.is_floating_point() and bool(calls.given)


def _entries(calls: list[_Calls]) -> list[Place | None]:
    """Of each member of a list, where it is given what the one before returned."""
    found: list[Place | None] = []
    for before, its in pairwise(calls):
        same = [place for place, given in its.given.items() if _equal(given, before.output)]
        found.append(same[0] if same else None)
    # The first is given the embedding, which nobody returned: where the second is given its own.
    first = found[0] if found and found[0] in calls[0].given else None
    return [next(iter(calls[0].given)) if first is None else first, *found]


def _equal(given: Tensor, returned: Any) -> bool:
    return (
        isinstance(returned, Tensor)
        and given.shape == returned.shape
        and torch.equal(given, returned.to(given))
    )


@contextmanager
def _members_watched(model: nn.Module) -> Iterator[dict[nn.Module, _Calls]]:
    """Note what the members of all lists of modules are given and return in a pass."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    called = {member: _Calls() for modules in lists for member in modules}
    thread = threading.get_ident()

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if threading.get_ident() == thread:
            called[module].given = {
                place: value.clone() for place, value in streams_among(args, kwargs).items()
            }

    def ran(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        if threading.get_ident() != thread:
            return
        calls, output = called[module], first_returned(out)
        calls.count += 1
        if isinstance(output, Tensor):
            now = streams_among(args, kwargs)
            alike = {p: v for p, v in calls.given.items() if v.shape == output.shape}
            calls.rewritten = any(not torch.equal(now[p], v) for p, v in alike.items())
            calls.given, calls.output = alike, output.clone()

    with ExitStack() as stack:
        for member in called:
            handle = member.register_forward_pre_hook(entered, with_kwargs=True)
            stack.callback(handle.remove)
            handle = member.register_forward_hook(ran, with_kwargs=True)
            stack.callback(handle.remove)
        yield called


def streams_among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Place, Tensor]:
    """The arguments of a call in the probe that may be a stream: floats for texts and tokens."""
    every: list[tuple[Place, Any]] = [*enumerate(args), *kwargs.items()]
    return {
        place: value
        for place, value in every
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.dim() > 2
        and STREAM in pairwise(value.shape)
    }
