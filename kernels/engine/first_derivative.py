"""First derivatives, and an error in place of all that would need a second one.

A backward pass that computes by hand leaves nothing behind that autograd could differentiate, while
the ordinary operations around it do: without a word, a second derivative would be that of the
surroundings alone. So every gradient leaves through `gradient`, which puts in its place a node that
raises when it is differentiated. `create_graph=True` itself does no harm, and is not refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

REFUSAL = (
    "synkern computes first derivatives only, and this needs a second one (a Hessian, a penalty on "
    "a gradient, a derivative through an inner step): detach the gradient, or take differences of "
    "two gradients"
)
"""What a second derivative ends with."""


def gradient(
    compute: Callable[..., tuple[torch.Tensor, ...]], *tensors: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """What `compute` makes of the tensors, inside a backward pass, and no derivative of it.

    Args:
        compute: the gradient; linear in nothing that autograd or a functional transform has to see.
        tensors: all that it depends on, upstream gradients included: a derivative with respect to
            any of them raises RuntimeError. A batch of them (`torch.func.jacrev`) is computed one
            by one.
    """
    apply: Any = _Gradient.apply
    found: tuple[torch.Tensor, ...] = apply(compute, *tensors)
    return found


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(
        compute: Callable[..., tuple[torch.Tensor, ...]], *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return compute(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> NoReturn:
        raise RuntimeError(REFUSAL)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> NoReturn:
        raise RuntimeError(REFUSAL)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], compute: Any, *tensors: torch.Tensor
    ) -> tuple[tuple[torch.Tensor, ...], tuple[int, ...]]:
        several = [
            gradient(
                compute,
                *(
                    tensor if dim is None else tensor.select(dim, k)
                    for tensor, dim in zip(tensors, in_dims[1:], strict=True)
                ),
            )
            for k in range(info.batch_size)
        ]
        stacked = tuple(torch.stack(each) for each in zip(*several, strict=True))
        return stacked, (0,) * len(stacked)
