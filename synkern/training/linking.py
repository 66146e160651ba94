"""One weight, some numbers of which are parameters of their own while a block runs.

The weight keeps all numbers as they are now, the trained ones too, and is frozen: what runs, and
what is saved, is the weight itself. Where gradients are wanted, its module is handed the weight
under a gradient function that passes on to each parameter its part of the weight's gradient; so no
product is computed otherwise than without a mask, and no weight is put together anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn

from synkern.models.slices import Where
from synkern.training.errors import TrainingMaskError
from synkern.training.parts import Part


class _Passed(torch.autograd.Function):
    """A weight as it is, whose gradient goes to its parts."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, wheres: Sequence[Where], *parts: Tensor) -> Tensor:
        ctx.wheres = wheres
        # Not a view to autograd, which would follow changes in place; yet it shares the count of
        # them, so that a step between forward and backward is noticed as it is without a mask.
        return weight.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        # Copies: a view would keep the gradient of the whole weight in memory.
        own = (
            gradient[where].clone(memory_format=torch.contiguous_format) if needed else None
            for where, needed in zip(ctx.wheres, ctx.needs_input_grad[2:], strict=True)
        )
        return None, None, *own


_passed: Callable[..., Tensor] = _Passed.apply


class LinkedWeight:
    """A frozen weight with the parameters that some of its numbers train as."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Copy the numbers of the parts, all of one weight, into parameters.

        The model is not touched before `attach`.
        """
        self.module, self.name = parts[0].module, parts[0].name
        weight = self.module.get_parameter(self.name)
        self.wheres = [_moved(part.where, weight.device) for part in parts]
        self.names = [part.parameter_name for part in parts]
        self.parameters = [
            nn.Parameter(weight.detach()[where].clone(memory_format=torch.contiguous_format))
            for where in self.wheres
        ]
        self._written = [p._version for p in self.parameters]

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

    @torch.no_grad()
    def write(self) -> None:
        """Write the parameters into the weight, in place."""
        weight, parameters = self._now(self.module)
        self._written = [p._version for p in parameters]
        for where, parameter in zip(self.wheres, parameters, strict=True):
            weight[where] = parameter

    def _write_again(self) -> None:
        """Write what should be there already, uncounted.

        Something may have changed the parameters through `.data`, which torch does not count.
        """
        weight, parameters = self._now(self.module)
        for where, parameter in zip(self.wheres, parameters, strict=True):
            weight.data[where] = parameter.data

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
        device = weight.device
        self.wheres = [_moved(where, device) for where in self.wheres]
        return weight, self.parameters

    def _before(self, module: nn.Module, _: Any) -> None:
        weight, parameters = self._now(module)
        wanted = torch.is_grad_enabled()
        if [p._version for p in parameters] != self._written:
            self.write()
        elif wanted:
            self._write_again()
        if wanted:
            # Found before `_parameters`, where the weight stays as what is saved.
            module.__dict__[self.name] = _passed(weight, self.wheres, *parameters)

    def _after(self, module: nn.Module, *_: Any) -> None:
        module.__dict__.pop(self.name, None)

    def _before_saving(self, *_: Any) -> None:
        self._write_again()

    def _before_loading(
        self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any
    ) -> None:
        """Let what is loaded hold the parameters too: they are in its weight."""
        weight = state.get(f"{prefix}{self.name}", module._parameters[self.name])
        if not isinstance(weight, Tensor) or weight.shape != module.get_parameter(self.name).shape:
            return  # which torch says more of
        for name, where in zip(self.names, self.wheres, strict=True):
            state[f"{prefix}{name}"] = weight.detach()[_moved(where, weight.device)]


def _moved(where: Where, device: torch.device) -> Where:
    return tuple(index.to(device) if isinstance(index, Tensor) else index for index in where)
