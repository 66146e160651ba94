"""Sites of the shared experts of a language model: what every token gets beside the routed ones.

All shared experts of a layer are one module. It is told by what it does: it is given what
the module that holds the routed experts is given, and what that returns is the sum of theirs and
its own, which may pass a gate of its own (a sigmoid of one number per token, as in Qwen2-MoE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.probe import PROBE_BATCH, PROBE_LENGTH, in_the_pass, probed
from synkern.models.routing import Routing, Texts, argument, find_routing
from synkern.models.signals import Signal
from synkern.models.sites import Handles, VectorSite
from synkern.models.upstream_torch import outside_graphs

SHARED_SIGNALS = {
    "norm": Signal(
        "L2 norm of what the shared experts of a layer add, all of them together, after their gate "
        "where they have one"
    ),
}
"""What can be read of the shared experts of a layer."""


@dataclass(frozen=True, eq=False)
class SharedSite(VectorSite):
    """The shared experts of one layer: values (trials, positions, width), after their gate."""

    texts: Texts
    gate: nn.Module | None
    """Whose sigmoid multiplies what the module returns; it is given what the module is given."""

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """Hand what the shared experts add in every call to `receive`: see `Site.watch`."""
        shape: list[torch.Size] = []

        def returned(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            gate = self._gate(args[0], output)
            added = output if gate is None else gate * output
            receive(added.reshape(*shape[0], -1))

        hook = self.module.register_forward_hook(outside_graphs(returned))
        return Handles(self.texts.follow(shape), hook)

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Add `change(values)` in every call: see `Site.edit`.

        Where there is a gate, the module returns the change divided by it; where that is 0, nothing
        can be put in place. What is left as it was stays so bit for bit.
        """
        shape: list[torch.Size] = []

        def returned(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            gate = self._gate(args[0], output)
            added = output if gate is None else gate * output
            values = added.reshape(*shape[0], -1)
            new = change(values)
            if new is values:
                return None
            new = new.reshape(output.shape)
            # What is left as it was stays so bit for bit, which a product that is divided does not.
            kept = new == added if gate is None else (new == added) | (gate == 0)
            return torch.where(kept, output, new if gate is None else new / gate)

        hook = self.module.register_forward_hook(outside_graphs(returned))
        return Handles(self.texts.follow(shape), hook)

    def _gate(self, given: Tensor, output: Tensor) -> Tensor | None:
        if self.gate is None:
            return None
        gate: Tensor = torch.sigmoid(self.gate.forward(given))
        return gate.reshape(*output.shape[:-1], 1)


def find_shared_experts(model: nn.Module, signal: str = "norm") -> tuple[SharedSite, ...]:
    """Find the sites of the shared experts: of all layers that have some, in layer order.

    Runs two forward passes of a few tokens; the model is left as it was.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `SHARED_SIGNALS`.

    Raises:
        UnsupportedModelError: there are none, or not where their sum with the routed ones is seen.
    """
    language_model = causal_lm(model)
    routing = find_routing(language_model)
    blocks = probed(language_model, partial(_blocks_watched, routing=routing))
    names = {module: name for name, module in language_model.named_modules()}
    sites = []
    for layer, block in zip(routing, blocks, strict=True):
        found = block.shared()
        if found is not None:
            module, gate, width = found
            sites.append(
                SharedSite(
                    "shared_experts",
                    layer.layer,
                    names[module],
                    module,
                    1,
                    width,
                    texts=layer.texts,
                    gate=gate,
                )
            )
    if not sites:
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} has no shared experts that synkern can see: "
            f"beside the experts in {names[routing[0].texts.module]} no module returns what is "
            f"added to theirs. {ANY_SERIES}"
        )
    return tuple(sites)


@dataclass
class _Block:
    """What the module around the experts of one layer, and those in it, returned."""

    inside: list[tuple[nn.Module, Tensor | None, Tensor]] = field(default_factory=list)
    """Module, what it was given, and what it returned, rows of tokens each; outermost last."""
    given: Tensor | None = None
    experts: Tensor | None = None
    output: Tensor | None = None

    def shared(self) -> tuple[nn.Module, nn.Module | None, int] | None:
        """The module whose output is added to the experts', the module of its gate, its width."""
        if self.given is None or self.experts is None or self.output is None:
            return None
        if self.experts.shape != self.output.shape:
            return None
        output, experts = self.output.double(), self.experts.double()
        # Sums are known up to their rounding.
        size = float(output.norm() + experts.norm())
        tolerance = 4 * torch.finfo(self.output.dtype).eps * size

        def added(own: Tensor) -> bool:
            """Whether the output is this and the experts', times a number perhaps."""
            if own.shape != output.shape or own.norm() <= tolerance:
                return False
            rest = output - own
            scale = (rest * experts).sum() / experts.square().sum()
            routed = scale * experts
            return bool(routed.norm() > tolerance and (rest - routed).norm() <= tolerance)

        for module, given, own in reversed(self.inside):
            if given is None or not torch.equal(given, self.given):
                continue  # as what norms the sum
            if added(own.double()):
                return module, None, own.shape[-1]
            for gate, asked, said in self.inside:
                alone = said.shape[-1] == 1 and asked is not None and torch.equal(asked, given)
                if alone and added(said.double().sigmoid() * own):
                    return module, gate, own.shape[-1]
        return None


@contextmanager
def _blocks_watched(model: nn.Module, routing: tuple[Routing, ...]) -> Iterator[list[_Block]]:
    """Note what modules around and beside the experts return in a pass through `model`."""
    blocks = [_Block() for _ in routing]

    def watch(block: _Block, layer: Routing, module: nn.Module) -> RemovableHandle:
        def returned(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
        ) -> None:
            rows = _rows(output[0] if isinstance(output, tuple) and output else output)
            if not in_the_pass() or rows is None:
                return
            if module is layer.module:
                block.experts = rows
            elif module is layer.texts.module:
                block.given = _rows(argument(layer.texts.place, args, kwargs))
                block.output = rows
            else:
                block.inside.append((module, _rows(args[0]) if args else None, rows))

        return module.register_forward_hook(returned, with_kwargs=True)

    with ExitStack() as stack:
        for block, layer in zip(blocks, routing, strict=True):
            own = set(layer.module.modules()) - {layer.module}
            for module in layer.texts.module.modules():
                if module not in own:
                    stack.callback(watch(block, layer, module).remove)
        yield blocks


def _rows(value: Any) -> Tensor | None:
    """A copy of the rows of all tokens, if that is what this holds."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() < 2:
        return None
    rows = value.flatten(0, -2)
    return rows.clone() if len(rows) == PROBE_BATCH * PROBE_LENGTH else None
