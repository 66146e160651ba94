"""A model of which some numbers train and all others are frozen, while a block runs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from synkern.interventions.interrupts import Interrupts
from synkern.models.upstream import cached_tokens, caches_in
from synkern.training.errors import TrainingMaskError
from synkern.training.linking import LinkedWeight, write
from synkern.training.parts import Part

_MASKED: WeakSet[nn.Module] = WeakSet()
"""The language models of which only some nodes train now."""

MARK = "trained_numbers"
"""In an optimizer's state of a parameter: a number that says which numbers of a model it is."""


@contextmanager
def masked(model: nn.Module, inner: Any, parts: Sequence[Part]) -> Iterator[list[nn.Parameter]]:
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
    """Freeze all parameters of a model until the stack is closed, and set their gradients aside.

    Gradients from before would be clipped together with those of what trains.
    """
    wanted = {name: p.requires_grad for name, p in model.named_parameters(remove_duplicate=False)}

    def unfreeze() -> None:
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if name in wanted:
                parameter.requires_grad_(wanted[name])

    aside = [(p, p.grad) for p in model.parameters()]

    def give_back() -> None:
        for parameter, gradient in aside:
            parameter.grad = None if gradient is None else gradient.to(parameter)

    stack.callback(unfreeze)
    stack.callback(give_back)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None


def _at_a_beginning(
    linked: Sequence[LinkedWeight], _: nn.Module, args: Any, given: Mapping[str, Any]
) -> None:
    """Write what trains before a pass, but those that go on with a text, as one for every token."""
    if not any(map(cached_tokens, caches_in((*args, *given.values())))):
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
        self._model = model
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
        ours = [p for p in held if id(p) in self._marks]
        frozen = [p for p in held if id(p) in self._frozen]
        what = f"optimizer: {type(optimizer).__name__}"
        self._refuse_others(what, [p for p in held if id(p) not in self._marks])
        if frozen and not ours:
            raise TrainingMaskError(
                f"{what} holds frozen parameters of the model alone, so that nothing would train; "
                "make the optimizer, or the trainer, after the mask"
            )
        if ours:
            self._refuse_still(what)
        for parameter in ours:
            mark = optimizer.state.get(parameter, {}).get(MARK, self._marks[id(parameter)])
            if mark != self._marks[id(parameter)]:
                raise TrainingMaskError(
                    f"{what} goes on from a checkpoint of other nodes, or of another model: its "
                    "moments would be those of other numbers; choose the nodes of the checkpoint, "
                    "or begin without its optimizer state"
                )

    def _refuse_others(self, what: str, others: Sequence[Tensor]) -> None:
        """Refuse to change parameters of the model that are not of the chosen nodes."""
        moving = [p for p in others if p.grad is not None]
        names = {id(p): self._frozen[id(p)] for p in moving if id(p) in self._frozen}
        why = "was made to train under the mask; leave requires_grad as the mask set it"
        if moving and not names:
            now = {id(p): name for name, p in self._model.named_parameters()}
            names = {id(p): now[id(p)] for p in moving if id(p) in now}
            why = "is new in the model; add adapters and other layers before the mask"
        if names:
            raise TrainingMaskError(
                f"{what} would change {next(iter(names.values()))}, which {why}, or make the "
                "optimizer of mask.parameters()"
            )

    def _refuse_still(self, what: str) -> None:
        """Refuse to train a part of the chosen nodes alone."""
        for weight in self._linked:
            for name, parameter in zip(weight.names, weight.parameters, strict=True):
                if not parameter.requires_grad:
                    raise TrainingMaskError(
                        f"{what} would not change all of the chosen nodes: {name} of a "
                        f"{type(weight.module).__name__} was frozen under the mask, as adapters "
                        "freeze what they are added to; add them before the mask, and leave "
                        "requires_grad as the mask set it"
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
