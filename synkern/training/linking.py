"""One weight, some numbers of which are parameters of their own while a block runs.

The weight keeps all numbers as they are now, the trained ones too, and is frozen: what runs, and
what is saved, is the weight itself. Where gradients are wanted, its module is handed the weight
under a gradient function that passes on to each parameter its part of the weight's gradient; so no
product is computed otherwise than without a mask, and no weight is put together anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from synkern.models.slices import Where
from synkern.training.errors import TrainingMaskError
from synkern.training.parts import Part

Pairs: TypeAlias = list[tuple[Where, Where]]
"""Indices into a weight, each with that of the same numbers in the parameter."""
FEW = 4
"""From so many rows or columns in a run on, copying runs takes less time than copying by index."""


def in_runs(where: Where) -> Pairs:
    """An index as slices, where it is of runs of rows or columns, as of heads."""
    axis = next((i for i, index in enumerate(where) if isinstance(index, Tensor)), None)
    if axis is None:
        return [(where, ())]
    rows = cast(Tensor, where[axis])
    breaks = ((rows.diff() != 1).nonzero().flatten() + 1).tolist()
    ends = [0, *breaks, len(rows)]
    if len(rows) < FEW * (len(ends) - 1):
        return [(where, ())]

    def along(first: int, count: int) -> Where:
        run = slice(first, first + count)
        return tuple(run if i == axis else index for i, index in enumerate(where))

    return [(along(int(rows[i]), j - i), along(i, j - i)) for i, j in pairwise(ends)]


def _put(weight: Tensor, pairs: Pairs, part: Tensor) -> None:
    for there, here in pairs:
        weight[there] = part[here]


def _taken(weight: Tensor, pairs: Pairs, shape: torch.Size) -> Tensor:
    """The numbers of a weight, as a copy: a view would keep the whole weight in memory."""
    numbers = weight.new_empty(shape)
    for there, here in pairs:
        numbers[here] = weight[there]
    return numbers


class _Passed(torch.autograd.Function):
    """A weight as it is, whose gradient goes to its parts."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, places: Sequence[Pairs], *parts: Tensor) -> Tensor:
        ctx.places, ctx.shapes = places, [part.shape for part in parts]
        # Not a view to autograd, which would follow changes in place; yet it shares the count of
        # them, so that a step between forward and backward is noticed as it is without a mask.
        return weight.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        asked = zip(ctx.places, ctx.shapes, ctx.needs_input_grad[2:], strict=True)
        own = (_taken(gradient, pairs, shape) if needed else None for pairs, shape, needed in asked)
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
        self.names = [part.parameter_name for part in parts]
        self.places = [_moved(in_runs(part.where), weight.device) for part in parts]
        self.parameters = [
            nn.Parameter(_taken(weight.detach(), pairs, weight[part.where].shape))
            for part, pairs in zip(parts, self.places, strict=True)
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
        for pairs, parameter in zip(self.places, parameters, strict=True):
            _put(weight, pairs, parameter)

    def _write_again(self) -> None:
        """Write what should be there already, uncounted.

        Something may have changed the parameters through `.data`, which torch does not count.
        """
        weight, parameters = self._now(self.module)
        for pairs, parameter in zip(self.places, parameters, strict=True):
            _put(weight.data, pairs, parameter.data)

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
        self.places = [_moved(pairs, weight.device) for pairs in self.places]
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
            module.__dict__[self.name] = _passed(weight, self.places, *parameters)

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
        for name, pairs, own in zip(self.names, self.places, self.parameters, strict=True):
            here = _moved(pairs, weight.device)
            state[f"{prefix}{name}"] = _taken(weight.detach(), here, own.shape)


def _moved(pairs: Pairs, device: torch.device) -> Pairs:
    """Indices by tensors on the device of what they index."""
    if all(not isinstance(i, Tensor) or i.device == device for there, _ in pairs for i in there):
        return pairs
    return [
        (tuple(i.to(device) if isinstance(i, Tensor) else i for i in there), here)
        for there, here in pairs
    ]
