"""Torch tensors that are taken, and as what: kinds of tensor, dtypes, functional transforms.

Imported when the first tensor is met, see `synkern._arrays`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch.autograd import forward_ad

from synkern._exact import WHOLE, too_large
from synkern._forks import one_thread_after_fork
from synkern.kernels import first_derivative

_WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WHOLE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
_FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

_NO_VMAP = (
    "torch.func.vmap hides how many series there are, and each call checks and counts its own: "
    "pass the batch as the trials of one call, with average=None, or loop over it"
)
_NO_FORWARD_MODE = (
    "gradients flow in reverse mode only, and this asks for forward mode (torch.func.jvp, jacfwd, "
    "hessian, forward_ad): use torch.func.grad, jacrev or autograd"
)


def tensor_taken(tensor: torch.Tensor, argument: str) -> torch.Tensor:
    """Return a tensor as all code here can read it: strided, real, no lazy view, with values.

    Inside `torch.func.grad` it stays what that made of it, if a gradient flows; see `run_whole`.

    Args:
        tensor: the caller's.
        argument: name of the argument, for messages.

    Raises:
        TypeError: a kind of tensor that is not taken; one that `torch.func.vmap` or a derivative in
            forward mode is at work on.
        ValueError: a tensor without values.
    """
    one_thread_after_fork()
    check_kind(tensor, argument)
    if tensor.is_meta:
        raise ValueError(
            f"{argument} is on the device 'meta', which holds shapes and no values; make it on the "
            "CPU, or on a GPU"
        )
    if tensor.dtype not in _FLOATING and tensor.is_floating_point():
        tensor = _from_eight_bits(tensor, argument)
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if forward_ad.unpack_dual(tensor).tangent is not None:
        raise TypeError(f"{argument}: {_NO_FORWARD_MODE}")
    if transformed(tensor):
        apply: Any = _Taken.apply
        tensor = apply(tensor, argument, lambda plain: None)
    return tensor


def exact(tensor: torch.Tensor, argument: str, *, offset_free: bool) -> torch.Tensor:
    """`_exact.exact` of a tensor."""
    if tensor.dtype not in (torch.int64, torch.uint64) or not tensor.numel():
        return tensor
    least = torch.iinfo(torch.int64).min
    signed, zero = tensor, 0
    if tensor.dtype == torch.uint64:  # in the same order, from the least signed number on
        signed, zero = tensor.view(torch.int64) ^ least, least
    low, high = (int(end) - zero for end in torch.aminmax(signed))
    if low >= -WHOLE and high <= WHOLE:
        return tensor
    if offset_free:
        above = signed - signed.amin(tuple(range(tensor.ndim - 1)))  # negative if it overflows
        if not bool(((above < 0) | (above > WHOLE)).any()):
            return above
    raise too_large(argument, high if abs(high) > abs(low) else low, offset_free)


def as_numpy(tensor: torch.Tensor, argument: str) -> Any:
    """Share the memory of a tensor on the host, without a gradient; also inside `torch.func`."""
    try:
        return tensor.numpy()
    except RuntimeError:  # There `numpy` fails whatever the tensor.
        host: list[Any] = []
        apply: Any = _Taken.apply
        apply(tensor, argument, lambda plain: host.append(plain.numpy()))
        if not host:
            raise
        return host[0]


def outside_transforms(tensor: torch.Tensor, argument: str, function: str) -> torch.Tensor:
    """Detach a tensor, for a function without a gradient; see `_arrays`."""
    check_kind(tensor, argument)
    detached = tensor.detach()
    if transformed(detached):
        raise TypeError(
            f"{function} has no gradient and does not work inside a transform of torch.func; call "
            "it outside"
        )
    return detached


def check_kind(tensor: torch.Tensor, argument: str) -> None:
    """Raise TypeError on a kind of tensor that is not taken, and say what to make of it."""
    if tensor.is_nested:
        raise TypeError(
            f"{argument} is a nested tensor, whose parts differ in length; cut them to one length "
            "and torch.stack them, or pass them one by one"
        )
    if tensor.layout is not torch.strided:
        raise TypeError(f"{argument} has layout {tensor.layout}; pass {argument}.to_dense()")
    if tensor.is_quantized:
        raise TypeError(f"{argument} is quantised, {tensor.dtype}; pass {argument}.dequantize()")
    if torch.masked.is_masked_tensor(tensor):
        raise TypeError(
            f"{argument} is a masked tensor, whose masked entries would count as data; "
            f"fill them first: {argument}.to_tensor(value)"
        )
    if tensor.dtype in _WHOLE or tensor.is_floating_point() or tensor.dtype in _WHOLE_UNSIGNED:
        return
    remedy = f"pass {argument}.real, .imag or .abs()" if tensor.is_complex() else "convert it first"
    raise TypeError(f"{argument} must hold real numbers; got dtype {tensor.dtype}: {remedy}")


def _from_eight_bits(tensor: torch.Tensor, argument: str) -> torch.Tensor:
    """Eight bits or fewer as float32, which holds them exactly: little else works on them."""
    try:
        return tensor.float()
    except (RuntimeError, NotImplementedError) as error:
        raise TypeError(
            f"{argument} has dtype {tensor.dtype}, which torch does not convert; unpack it to "
            "torch.float32 first"
        ) from error


def transformed(tensor: torch.Tensor) -> bool:
    """Whether it stands for another tensor inside a transform of `torch.func`.

    Such a tensor has no memory of its own.
    """
    try:
        return tensor.data_ptr() == 0 and tensor.numel() > 0 and not tensor.is_meta
    except RuntimeError:
        return True


class _Taken(torch.autograd.Function):
    """The tensor itself; tells what it stands for below the transforms, where `forward` runs."""

    @staticmethod
    def forward(
        tensor: torch.Tensor, argument: str, tell: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        tell(tensor.detach())
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.argument, _ = inputs

    @staticmethod
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return upstream, None, None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> NoReturn:
        raise TypeError(f"{ctx.argument}: {_NO_FORWARD_MODE}")

    @staticmethod
    def vmap(info: Any, in_dims: Any, tensor: Any, argument: str, tell: Any) -> NoReturn:
        raise TypeError(f"{argument}: {_NO_VMAP}")


def run_whole(run: Callable[[Any], Any], series: torch.Tensor, *, differentiable: bool) -> Any:
    """Run a backend on a tensor, also inside a transform; see `_arrays`."""
    # At a transform all that is done to any tensor comes out as one of the transform's.
    if not transformed(series.view_as(series)):
        return run(series)
    found: list[Any] = []

    def atoms_of(plain: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = run(plain)
        told = {name: getattr(pairs, name).cpu().numpy() for name in ("constant", "flagged")}
        found.append(replace(pairs, **told))
        return tuple(pairs.atoms.values())

    apply: Any = _Whole.apply
    atoms = apply(atoms_of, series, differentiable)
    return replace(found[0], atoms=dict(zip(found[0].atoms, atoms, strict=True)))


class _Whole(torch.autograd.Function):
    """Atoms of a series; the backward pass computes them again, with autograd's record."""

    @staticmethod
    def forward(
        atoms_of: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
        series: torch.Tensor,
        differentiable: bool,
    ) -> tuple[torch.Tensor, ...]:
        return atoms_of(series)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.atoms_of, series, differentiable = inputs
        ctx.save_for_backward(series)
        if not differentiable:
            ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        def of_series(series: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, ...]:
            leaf = series.detach().requires_grad_()
            with torch.enable_grad():
                atoms = ctx.atoms_of(leaf)
            return torch.autograd.grad(atoms, leaf, weights)

        return None, *first_derivative.gradient(of_series, *ctx.saved_tensors, *upstream), None

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> NoReturn:
        raise RuntimeError(first_derivative.REFUSAL)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *_: Any) -> NoReturn:
        raise TypeError(f"series: {_NO_VMAP}")
