"""The kernels as a torch operator: `torch.ops.synkern.gaussian_mmi`.

Outputs have fixed shapes, so the operator traces, exports and is captured in a CUDA graph; how many
pairs it could not trust is a number on the device. Reading that number, which the rescue needs,
waits for the device and is left to `backend.run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from ..contract import Limits, Rectangle
from ..engine.all_pairs import request_for
from ..engine.first_derivative import REFUSAL
from ..engine.libraries import torch_library
from ..engine.marks import unpack
from ..formulas.estimators import GaussianMMI
from ..formulas.unit_vectors import UnitVectors
from .gradient import series_gradient
from .launch import Area, capability
from .mmi import fill, path_for
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
    workspace: int = Limits.workspace,
    bounds: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums of atoms over trials, and the pairs that need the stable path.

    Args:
        past: (trials, nodes, samples) float64 unit vectors, see `formulas.unit_vectors`.
        future: likewise.
        constant: (trials, nodes) bool.
        names: atoms separated by commas; for all pairs closed under exchange of x and y.
        per_trial: keep trials apart.
        single: arithmetic and output in float32, with promotion, instead of float64.
        capacity: of the list.
        workspace: bytes of moments that may be held at once.
        bounds: of a rectangle of pairs: row start and stop, column start and stop; None: all pairs.

    Returns:
        (atoms, nodes, nodes), or (atoms, trials, nodes, nodes), or of a rectangle (..., rows,
        columns) in place of (..., nodes, nodes): nats, zero on the diagonal of all pairs and where
        a pair is on the list or has a constant node. Then the list, (capacity,) int64 keys (trial *
        nodes + row) * nodes + column in no certain order, nodes numbered as those of `past`, and
        its length, (1,) int64: if that is beyond the capacity, entries are missing.
    """
    wanted = tuple(names.split(","))
    dtype = "float32" if single else "float64"
    marked = past.new_empty(capacity, dtype=torch.int64)
    count = past.new_zeros(1, dtype=torch.int64)
    chosen = plan(wanted)
    rectangle = _rectangle(bounds)
    path = path_for(
        Area(past.shape[1], rectangle),
        past.shape[2],
        per_trial,
        chosen,
        workspace,
        dtype=dtype,
        capability=capability(past),
    )
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
        rectangle=rectangle,
        workspace=workspace,
    )
    return out, marked, count


def bounds_of(rectangle: Rectangle | None) -> list[int] | None:
    """What the operator is told of a rectangle."""
    if rectangle is None:
        return None
    return [end for side in rectangle for end in (side.start, side.stop)]


def _rectangle(bounds: Sequence[int] | None) -> Rectangle | None:
    if bounds is None:
        return None
    row_start, row_stop, column_start, column_stop = bounds
    return Rectangle(slice(row_start, row_stop), slice(column_start, column_stop))


@gaussian_mmi.register_fake
def _(
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    names: str,
    per_trial: bool,
    single: bool,
    capacity: int,
    workspace: int = Limits.workspace,
    bounds: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del future, constant, workspace
    trials, nodes, _ = past.shape
    sides = Area(nodes, _rectangle(bounds)).shape
    shape = [len(names.split(",")), *([trials] if per_trial else []), *sides]
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
    bounds: Sequence[int] | None = None,
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
    request = request_for(
        wanted,
        per_trial=per_trial,
        dtype="float64",
        estimator=GaussianMMI(),
        rectangle=_rectangle(bounds),
    )
    by_name = dict(zip(wanted, upstream.to(torch.float64), strict=True))
    positions = unpack(torch_library(), marked[:length], past.shape[1])
    return series_gradient(UnitVectors(past, future, constant), request, positions, by_name)


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
    bounds: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    del upstream, constant, marked, count, names, per_trial, bounds
    return torch.empty_like(past), torch.empty_like(future)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    past, future, constant, ctx.names, ctx.per_trial, _, _, _, ctx.bounds = inputs
    ctx.save_for_backward(past, future, constant, *output[1:])


def _backward(ctx: Any, upstream: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    options = ctx.names, ctx.per_trial, ctx.bounds
    gradient = gaussian_mmi_backward(upstream, *ctx.saved_tensors, *options)
    return *gradient, *[None] * 7


def _no_second(ctx: Any, *_: Any) -> NoReturn:
    raise RuntimeError(REFUSAL)


gaussian_mmi.register_autograd(_backward, setup_context=_save)
gaussian_mmi_backward.register_autograd(_no_second)
