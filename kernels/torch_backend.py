"""Backend `torch`: the eager engine on torch tensors of any device, differentiable.

The gradient is not left to autograd's record of the forward pass, which would keep every temporary
of every tile: the backward pass computes each tile again and differentiates it alone, so that the
memory of both passes is bounded.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from .contract import Estimator, Nodes, Pairs, Request, Tile, Totals, smallest_trusted
from .engine.all_pairs import decompose, pair_mask, request_for, rescue_parts, tiles, totals
from .engine.chosen_pairs import decompose_chosen
from .engine.first_derivative import gradient
from .engine.node_means import decompose_nodes
from .formulas.unit_vectors import Segments
from .lattice import swap_nodes


class _Torch:
    xp: Any = torch

    def zeros(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        return torch.zeros(shape, dtype=getattr(torch, dtype), device=like.device)

    def arange(self, stop: int, like: Any) -> Any:
        return torch.arange(stop, device=like.device)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.to(getattr(torch, dtype))

    def keep(self, values: Any, mask: Any) -> Any:
        # Bytes are converted with vector instructions, truth values one by one.
        return values * mask.view(torch.uint8)

    def add_at(self, target: Any, index: tuple[Any, ...], values: Any) -> None:
        target.index_put_(index, values, accumulate=True)


_LIB = _Torch()


def run(
    series: torch.Tensor,
    *,
    estimator: Estimator,
    tau: int,
    pooled: str | None,
    names: Sequence[str],
    per_trial: bool,
    dtype: str,
    pairs: torch.Tensor | None = None,
    reduce: str | None = None,
) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) tensor, on its device; see `Pairs`, `Nodes`."""
    if dtype == "float32" and torch.get_float32_matmul_precision() != "highest":
        raise ValueError(
            "dtype is 'float32', but torch may round float32 matrix products to TF32 or bfloat16, "
            f"as torch.get_float32_matmul_precision() is {torch.get_float32_matmul_precision()!r}; "
            "use dtype='float64' or torch.set_float32_matmul_precision('highest')"
        )
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    device: torch.device = series.device if isinstance(series, torch.Tensor) else series.past.device
    with torch.autocast(device.type, enabled=False):
        features = estimator.features(_LIB, series, tau, pooled)
        if reduce == "nodes":
            return decompose_nodes(_LIB, features, request)
        with_gradient = estimator.differentiable and features.past.requires_grad
        totals_of = _totals_with_gradient if with_gradient else functools.partial(totals, _LIB)
        if pairs is not None:
            return decompose_chosen(_LIB, features, names, request, totals_of, pairs)
        return decompose(_LIB, features, names, request, totals_of)


def _totals_with_gradient(segments: Segments, request: Request) -> Totals:
    apply: Any = _Totals.apply
    *sums, flagged, rescued = apply(*segments, request)
    return Totals(dict(zip(request.names, sums, strict=True)), flagged, rescued)


class _Totals(torch.autograd.Function):
    """`totals` with its gradient; degenerate pairs contribute nothing to it.

    Most have no value; that of coinciding nodes is a limit that has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, past: torch.Tensor, future: torch.Tensor, constant: torch.Tensor, request: Request
    ) -> tuple[torch.Tensor, ...]:
        sums, flagged, rescued = totals(_LIB, Segments(past, future, constant), request)
        ctx.save_for_backward(past, future, constant, rescued)
        ctx.request = request
        ctx.mark_non_differentiable(flagged, rescued)
        return *(sums[name] for name in request.names), flagged, rescued

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *by_atom, _, _ = upstream
        compute = functools.partial(_totals_gradient, ctx.request)
        return *gradient(compute, *ctx.saved_tensors, *by_atom), None, None


def _totals_gradient(
    request: Request,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    rescued: torch.Tensor,
    *upstream: torch.Tensor,
) -> Gradient:
    """Gradient of all tiles and of the rescued pairs; `upstream` as the names of the request."""
    segments = Segments(past, future, constant)
    by_name = {
        name: grad.to(torch.float64) for name, grad in zip(request.names, upstream, strict=True)
    }
    total = torch.zeros_like(past), torch.zeros_like(future)
    with torch.autocast(past.device.type, enabled=False):
        for tile in tiles(segments, request.estimator):
            _tile_gradient(segments, request, tile, by_name, total)
        for part in rescue_parts(segments, rescued):
            rescue_gradient(segments, request, part, by_name, total)
    return total


Gradient = tuple[torch.Tensor, torch.Tensor]  # with respect to past and future


def _tile_gradient(
    segments: Segments,
    request: Request,
    tile: Tile,
    upstream: dict[str, torch.Tensor],
    total: Gradient,
) -> None:
    """Add a tile's share to the total.

    Inputs are masked, not outputs: 0 * inf would be NaN on the way back.
    """
    # Views, not copies: another memory layout could round a pair across the limit of trust.
    leaves = past, future = [v[tile.trials].detach().requires_grad_() for v in segments[:2]]
    part = Segments(past, future, segments.constant[tile.trials])
    within = tile._replace(trials=slice(0, len(past)))
    block = request.estimator.block
    use = pair_mask(_LIB, part, within)
    with torch.no_grad():
        variance = block(_LIB, part, within, request.names, "float64").variance
        if variance is not None:
            tolerance = request.estimator.tolerance(part)["float64"]
            use &= variance >= smallest_trusted(part.samples, "float64", tolerance)
    with torch.enable_grad():
        values = block(_LIB, part, within, request.names, "float64", use).atoms
    trials = (tile.trials,) if request.per_trial else ()
    weights = [
        use
        * (
            upstream[name][*trials, tile.rows, tile.columns]
            + upstream[swap_nodes(name)][*trials, tile.columns, tile.rows].mT
        )
        for name in request.names
    ]
    for side, share in enumerate(torch.autograd.grad(values, leaves, weights)):
        total[side][tile.trials] += share


def rescue_gradient(
    segments: Segments,
    request: Request,
    part: torch.Tensor,
    upstream: dict[str, torch.Tensor],
    total: Gradient,
) -> None:
    """Add the share of pairs that the stable path resolved to the total."""
    leaves = past, future = [v.detach().requires_grad_() for v in (segments.past, segments.future)]
    with torch.enable_grad():
        leaf = Segments(past, future, segments.constant)
        values = request.estimator.listed(_LIB, leaf, part, request.names).atoms
    k, i, j = part.unbind(-1)
    trials = (k,) if request.per_trial else ()
    weights = [
        upstream[name][*trials, i, j] + upstream[swap_nodes(name)][*trials, j, i]
        for name in request.names
    ]
    for side, share in enumerate(torch.autograd.grad(values, leaves, weights)):
        total[side].add_(share)
