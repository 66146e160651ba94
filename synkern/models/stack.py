"""The decoder layers of a language model: the modules that hand a stream on, one to the next.

No list of architectures is kept: one tiny forward pass is watched. The layers are the members of a
list of modules, each of which is given what the one before returned, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError
from synkern.models.probe import PROBE_LENGTH, looks_ahead
from synkern.models.survey import STREAM, MemberCalls, Place, survey


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


def find_stack(model: Any) -> tuple[Layer, ...]:
    """Find the decoder layers that a pass of a few tokens runs, in their order.

    Args:
        model: the causal language model itself.

    Raises:
        UnsupportedModelError: there is no such list of layers, or more than one; a layer runs
            several times in a pass, looks at later tokens, or returns what is not finite.
    """
    names = {module: name for name, module in model.named_modules()}
    called = survey(model).members
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
        stacks = [s for s in stacks if None not in _entries([ran[member] for member in s[1]])]
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
    texts = list(pairwise(layer.output.shape)).index(STREAM)  # streams may stand before them
    if looks_ahead(layer.output.movedim((texts, texts + 1), (0, 1))):
        raise UnsupportedModelError(
            f"{what} looks ahead: in {layer.what} an earlier token sees later ones, so what is "
            "read while a text is written is not what the finished text gives. If it was trained "
            "as a decoder, say so in its configuration (is_decoder=True for Bert and its kin). "
            f"{ANY_SERIES}"
        )


def _hands_on(calls: MemberCalls) -> bool:
    """Whether a module returned a tensor of texts and tokens shaped like one that it was given."""
    output = calls.output
    return isinstance(output, Tensor) and output.is_floating_point() and bool(calls.given)


def _entries(calls: list[MemberCalls]) -> list[Place | None]:
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
