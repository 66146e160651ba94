"""A model of which some numbers train and all others are frozen, while a block runs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from synkern.interventions.interrupts import Interrupts
from synkern.training.errors import TrainingMaskError
from synkern.training.linking import LinkedWeight, write
from synkern.training.parts import Part

_MASKED: WeakSet[nn.Module] = WeakSet()
"""The language models of which only some nodes train now."""

MARK = "trained_numbers"
"""In an optimizer's state of a parameter: a number that says which numbers of a model it is."""


@contextmanager
def masked(
    model: nn.Module, inner: nn.Module, parts: Sequence[Part]
) -> Iterator[list[nn.Parameter]]:
    """Let only parts of weights train in the `with` block; yields their parameters.

    Afterwards the weights hold what was trained, and all else is as it was, also after an exception
    or Ctrl-C.

    Args:
        model: what all parameters of are frozen.
        inner: the causal language model in it.
        parts: what trains.

    Raises:
        TrainingMaskError: parts of this model train already.
    """
    interrupts, stack = Interrupts(), ExitStack()
    try:
        try:
            interrupts.hold()
            if inner in _MASKED:
                raise TrainingMaskError(
                    f"model: some nodes of this {type(inner).__name__} train already; finish that "
                    "mask first, or choose all nodes in one"
                )
            by_weight: dict[tuple[int, str], list[Part]] = {}
            for part in parts:
                by_weight.setdefault((id(part.module), part.name), []).append(part)
            linked = [LinkedWeight(of_weight) for of_weight in by_weight.values()]
            _MASKED.add(inner)
            stack.callback(_MASKED.discard, inner)
            _freeze(model, stack)
            _Steps(model, inner, linked, by_weight.values()).attach(stack)
            for weight in linked:
                weight.attach(stack)
            # What begins here sees the numbers as they are, whatever changed them.
            stack.callback(
                inner.base_model.register_forward_pre_hook(
                    partial(_at_a_beginning, linked), with_kwargs=True
                ).remove
            )
            stack.callback(write, linked)
            interrupts.release()
            yield [p for weight in linked for p in weight.parameters]
        finally:
            # Were Ctrl-C to come before this, the outer block would still be gone through.
            interrupts.hold()
    finally:
        try:
            stack.close()
        finally:
            interrupts.release()


def _freeze(model: nn.Module, stack: ExitStack) -> None:
    """Freeze all parameters of a model until the stack is closed."""
    wanted = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}

    def unfreeze() -> None:
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in wanted:
                parameter.requires_grad_(wanted[name])

    stack.callback(unfreeze)
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def _at_a_beginning(
    linked: Sequence[LinkedWeight], _: nn.Module, __: Any, given: Mapping[str, Any]
) -> None:
    """Write what trains before a pass, but those that go on with a text, as one for every token."""
    cache = given.get("past_key_values")
    if cache is None or not cache.get_seq_length():
        write(linked, counted=False)


class _Steps:
    """Looks at every step of optimizers: that nothing else trains, and that weights follow."""

    def __init__(
        self,
        model: nn.Module,
        inner: nn.Module,
        linked: Sequence[LinkedWeight],
        parts: Iterable[Sequence[Part]],
    ) -> None:
        self._frozen = {id(p): name for name, p in model.named_parameters()}
        self._linked = linked
        names = {module: name for name, module in inner.named_modules()}
        self._marks = {
            id(parameter): zlib.crc32(
                f"{names[part.module]}.{part.name} {part.of} {[*map(str, part.nodes)]}".encode()
            )
            for weight, own in zip(linked, parts, strict=True)
            for parameter, part in zip(weight.parameters, own, strict=True)
        }

    def attach(self, stack: ExitStack) -> None:
        """Look until the stack is closed."""
        stack.callback(register_optimizer_step_pre_hook(self._before).remove)
        stack.callback(register_optimizer_step_post_hook(self._after).remove)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        frozen = [p for p in held if id(p) in self._frozen]
        moving = next((p for p in frozen if p.grad is not None), None)
        ours = [p for p in held if id(p) in self._marks]
        what = f"optimizer: {type(optimizer).__name__}"
        if moving is not None:
            why = (
                "was made to train under the mask; leave requires_grad as the mask set it"
                if moving.requires_grad
                else "is frozen, but has a gradient from before; call zero_grad() before the mask"
            )
            raise TrainingMaskError(
                f"{what} would change {self._frozen[id(moving)]}, which {why}, or make the "
                "optimizer of mask.parameters()"
            )
        if frozen and not ours:
            raise TrainingMaskError(
                f"{what} holds frozen parameters of the model alone, so that nothing would train; "
                "make the optimizer, or the trainer, after the mask"
            )
        for parameter in ours:
            mark = optimizer.state.get(parameter, {}).get(MARK, self._marks[id(parameter)])
            if mark != self._marks[id(parameter)]:
                raise TrainingMaskError(
                    f"{what} goes on from a checkpoint of other nodes, or of another model: its "
                    "moments would be those of other numbers; choose the nodes of the checkpoint, "
                    "or begin without its optimizer state"
                )

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        ours = [
            p for group in optimizer.param_groups for p in group["params"] if id(p) in self._marks
        ]
        if ours:
            write(self._linked)  # torch does not count what its fused optimizers change
        for parameter in ours:
            state = optimizer.state.get(parameter)
            if state:
                state[MARK] = self._marks[id(parameter)]
