"""One weight, some numbers of which are parameters of their own while a block runs.

The weight keeps all numbers as they are now, the trained ones too, and is frozen: what runs, and
what is saved, is the weight itself. Where gradients are wanted, its module is handed the weight
under a gradient function that passes on to each parameter its part of the weight's gradient; so no
product is computed otherwise than without a mask, and no weight is put together anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn

from synkern.training.errors import TrainingMaskError
from synkern.training.parts import Part
from synkern.training.places import Place, place_of


class _Passed(torch.autograd.Function):
    """A weight as it is, whose gradient goes to its parts."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, places: Sequence[Place], *_: Tensor) -> Tensor:
        ctx.places = places
        # Not a view to autograd, which would follow changes in place; yet it shares the count of
        # them, so that a step between forward and backward is noticed as it is without a mask.
        return weight.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        asked = zip(ctx.places, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(place.taken(gradient) if needed else None for place, needed in asked)


_passed: Callable[..., Tensor] = _Passed.apply


class LinkedWeight:
    """A frozen weight with the parameters that some of its numbers train as."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Copy the numbers of the parts, all of one weight, into parameters.

        The model is not touched before `attach`.
        """
        self.module, self.name = parts[0].module, parts[0].name
        weight = self.module.get_parameter(self.name)
        self.names = [part.parameter_name for part in parts]
        self.places = [place_of(part.where).on(weight.device) for part in parts]
        self.parameters = [nn.Parameter(place.taken(weight.detach())) for place in self.places]
        self._written = self._versions()
        self._copied: list[tuple[Tensor, Tensor]] = []
        self._copied_at: list[int] = []

    def attach(self, stack: ExitStack) -> None:
        """Let the parameters train in the weight's place until the stack is closed."""
        module, names = self.module, self.names

        def saved(_: nn.Module, state: dict[str, Any], prefix: str, __: Any) -> None:
            for name in names:
                state.pop(f"{prefix}{name}", None)

        stack.callback(self._detach)
        for name, parameter in zip(names, self.parameters, strict=True):
            module.register_parameter(name, parameter)
        for handle in (
            module.register_forward_pre_hook(self._before),
            module.register_forward_hook(self._after, always_call=True),
            module.register_state_dict_pre_hook(self._before_saving),
            module.register_state_dict_post_hook(saved),
            module.register_load_state_dict_pre_hook(self._before_loading),
        ):
            stack.callback(handle.remove)

    def _detach(self) -> None:
        self.module.__dict__.pop(self.name, None)
        for name in self.names:
            self.module._parameters.pop(name, None)

    def copies(self) -> list[tuple[Tensor, Tensor]]:
        """What has to be copied now for the weight to hold the parameters: whereto, and what.

        Of both views without a count of changes. What no view can be of is copied at once.
        """
        weight, parameters = self._now(self.module)
        at = [held.data_ptr() for held in (weight, *parameters)]
        if at != self._copied_at:  # moved, or of another type; else nothing is made anew
            self.places = [place.on(weight.device) for place in self.places]
            self._copied_at, self._copied = (
                at,
                [
                    pair
                    for place, parameter in zip(self.places, parameters, strict=True)
                    if place.is_view
                    for pair in place.views(weight.data, parameter.data)
                ],
            )
        for place, parameter in zip(self.places, parameters, strict=True):
            if not place.is_view:
                weight.data[place.runs[0]] = parameter.data
        return self._copied

    def count(self) -> nn.Parameter:
        """Take the parameters for written; returns the weight, a change of which is to count."""
        self._written = self._versions()
        return cast(nn.Parameter, self.module._parameters[self.name])

    def _versions(self) -> list[int]:
        return [p._version for p in self.parameters]

    def _now(self, module: nn.Module) -> tuple[nn.Parameter, list[nn.Parameter]]:
        """The weight and the parameters as they are in the module.

        Raises:
            TrainingMaskError: they are others than they were.
        """
        held = cast(dict[str, nn.Parameter], module._parameters)
        weight = held.get(self.name)
        parameters = [held.get(name) for name in self.names]
        same = all(now is own for now, own in zip(parameters, self.parameters, strict=True))
        if module is not self.module or type(weight) is not nn.Parameter or not same:
            raise TrainingMaskError(
                f"model: {type(self.module).__name__}.{self.name} or what trains of it was "
                "exchanged while some nodes train, as by FSDP, DeepSpeed, DataParallel, or loading "
                "with assign=True; train on one device a process (DDP is fine), and make and "
                "load the model before the mask"
            )
        return weight, self.parameters

    def _before(self, module: nn.Module, _: Any) -> None:
        if self._versions() != self._written:
            write([self])
        if torch.is_grad_enabled():
            weight, parameters = self._now(module)
            # Found before `_parameters`, where the weight stays as what is saved.
            module.__dict__[self.name] = _passed(weight, self.places, *parameters)

    def _after(self, module: nn.Module, *_: Any) -> None:
        module.__dict__.pop(self.name, None)

    def _before_saving(self, *_: Any) -> None:
        write([self], counted=False)

    def _before_loading(
        self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any
    ) -> None:
        """Let what is loaded hold the parameters too: they are in its weight."""
        weight = state.get(f"{prefix}{self.name}", module._parameters[self.name])
        if not isinstance(weight, Tensor) or weight.shape != module.get_parameter(self.name).shape:
            return  # which torch says more of
        for name, place in zip(self.names, self.places, strict=True):
            state[f"{prefix}{name}"] = place.on(weight.device).taken(weight.detach())


def write(linked: Iterable[LinkedWeight], *, counted: bool = True) -> None:
    """Write the parameters into their weights, in place.

    Args:
        linked: the weights.
        counted: whether torch is to count it as a change. Not where it should be there already, yet
            something may have changed the parameters through `.data`, which torch does not count.
    """
    weights = [*linked]
    copies = [pair for weight in weights for pair in weight.copies()]
    if copies:
        torch._foreach_copy_([there for there, _ in copies], [here for _, here in copies])
    if counted:
        torch.autograd.graph.increment_version([weight.count() for weight in weights])
