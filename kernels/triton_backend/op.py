"""The kernels as a torch operator: `torch.ops.synkern.gaussian_mmi`.

Outputs have fixed shapes, so the operator traces, exports and is captured in a CUDA graph; how many
pairs it could not trust is a number on the device. Reading that number, which the rescue needs,
waits for the device and is left to `backend.run`.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch

from ..engine.all_pairs import request_for
from ..engine.first_derivative import REFUSAL
from ..formulas.estimators import GaussianMMI
from ..formulas.unit_vectors import Segments
from .gradient import series_gradient
from .launch import fill, path_for
from .plan import plan


@torch.library.custom_op("synkern::gaussian_mmi", mutates_args=())
def gaussian_mmi(
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    names: str,
    per_trial: bool,
    single: bool,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums of atoms over trials, and the pairs that need the stable path.

    Args:
        past: (trials, nodes, samples) float64 unit vectors, see `segments.standardise`.
        future: likewise.
        constant: (trials, nodes) bool.
        names: atoms separated by commas, closed under exchange of x and y.
        per_trial: keep trials apart.
        single: arithmetic and output in float32, with promotion, instead of float64.
        capacity: of the list.

    Returns:
        (atoms, nodes, nodes), or (atoms, trials, nodes, nodes): nats, zero on the diagonal and
        where a pair is on the list or has a constant node. Then the list, (capacity,) int64 keys
        (trial * nodes + row) * nodes + column in no certain order, and its length, (1,) int64: if
        that is beyond the capacity, entries are missing.
    """
    wanted = tuple(names.split(","))
    dtype = "float32" if single else "float64"
    marked = past.new_empty(capacity, dtype=torch.int64)
    count = past.new_zeros(1, dtype=torch.int64)
    chosen = plan(wanted)
    path = path_for(past.shape[1], past.shape[2], per_trial, chosen)
    out = fill(
        path,
        past,
        future,
        constant,
        marked,
        count,
        plan=chosen,
        per_trial=per_trial,
        dtype=dtype,
    )
    return out, marked, count


@gaussian_mmi.register_fake
def _(
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    names: str,
    per_trial: bool,
    single: bool,
    capacity: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del future, constant
    trials, nodes, _ = past.shape
    shape = [len(names.split(",")), *([trials] if per_trial else []), nodes, nodes]
    return (
        past.new_empty(shape, dtype=torch.float32 if single else torch.float64),
        past.new_empty(capacity, dtype=torch.int64),
        past.new_empty(1, dtype=torch.int64),
    )


@torch.library.custom_op("synkern::gaussian_mmi_backward", mutates_args=())
def gaussian_mmi_backward(
    upstream: torch.Tensor,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    names: str,
    per_trial: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient with respect to past and future, float64; waits for the device.

    Raises:
        ValueError: the list of the forward pass was cut off by its capacity.
    """
    length = int(count)
    if length > len(marked):
        raise ValueError(
            f"capacity is {len(marked)}, but {length} pairs need the stable path; without all of "
            "them there is no gradient: give a larger capacity"
        )
    wanted = tuple(names.split(","))
    request = request_for(wanted, per_trial=per_trial, dtype="float64", estimator=GaussianMMI())
    by_name = dict(zip(wanted, upstream.to(torch.float64), strict=True))
    positions = unpack(marked[:length], past.shape[1])
    return series_gradient(Segments(past, future, constant), request, positions, by_name)


@gaussian_mmi_backward.register_fake
def _(
    upstream: torch.Tensor,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    names: str,
    per_trial: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    del upstream, constant, marked, count, names, per_trial
    return torch.empty_like(past), torch.empty_like(future)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    past, future, constant, ctx.names, ctx.per_trial, _, _ = inputs
    ctx.save_for_backward(past, future, constant, *output[1:])


def _backward(ctx: Any, upstream: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    gradient = gaussian_mmi_backward(upstream, *ctx.saved_tensors, ctx.names, ctx.per_trial)
    return *gradient, None, None, None, None, None


def _no_second(ctx: Any, *_: Any) -> NoReturn:
    raise RuntimeError(REFUSAL)


gaussian_mmi.register_autograd(_backward, setup_context=_save)
gaussian_mmi_backward.register_autograd(_no_second)


def unpack(keys: torch.Tensor, nodes: int) -> torch.Tensor:
    """(pairs, 3) trial, row, column of keys of the list."""
    return torch.stack([keys // (nodes * nodes), keys // nodes % nodes, keys % nodes], -1)
