"""The gradient of the engine's totals with respect to unit vectors, for torch tensors.

It is not left to autograd's record of the forward pass, which would keep every temporary of every
tile: the backward pass computes each tile again and differentiates it alone, so that the memory of
both passes is bounded.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from ..contract import Request, Tile, Totals, smallest_trusted
from ..formulas.unit_vectors import UnitVectors
from ..lattice import swap_nodes
from .all_pairs import totals
from .first_derivative import gradient
from .libraries import torch_library
from .marks import rescue_parts
from .tiles import pair_mask, place, tiles

Gradient = tuple[torch.Tensor, torch.Tensor]
"""The gradient with respect to past and future."""


def totals_with_gradient(vectors: UnitVectors, request: Request) -> Totals:
    """`all_pairs.totals`, through which first derivatives flow back."""
    apply: Any = _Totals.apply
    *sums, flagged, rescued = apply(type(vectors), *vectors, request)
    return Totals(dict(zip(request.names, sums, strict=True)), flagged, rescued)


class _Totals(torch.autograd.Function):
    """`totals` with its gradient; degenerate pairs contribute nothing to it.

    Most have no value; that of coinciding nodes is a limit that has no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kind: type[UnitVectors],
        past: torch.Tensor,
        future: torch.Tensor,
        constant: torch.Tensor,
        request: Request,
    ) -> tuple[torch.Tensor, ...]:
        vectors = kind(past, future, constant)
        sums, flagged, rescued, _ = totals(torch_library(), vectors, request)
        ctx.save_for_backward(past, future, constant, rescued)
        ctx.kind, ctx.request = kind, request
        ctx.mark_non_differentiable(flagged, rescued)
        return *(sums[name] for name in request.names), flagged, rescued

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *by_atom, _, _ = upstream
        compute = functools.partial(_totals_gradient, ctx.kind, ctx.request)
        return None, *gradient(compute, *ctx.saved_tensors, *by_atom), None, None


def _totals_gradient(
    kind: type[UnitVectors],
    request: Request,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    rescued: torch.Tensor,
    *upstream: torch.Tensor,
) -> Gradient:
    """Gradient of all tiles and of the rescued pairs; `upstream` as the names of the request."""
    vectors = kind(past, future, constant)
    by_name = {
        name: grad.to(torch.float64) for name, grad in zip(request.names, upstream, strict=True)
    }
    total = torch.zeros_like(past), torch.zeros_like(future)
    with torch.autocast(past.device.type, enabled=False):
        for tile in tiles(vectors, request):
            _add_tile(vectors, request, tile, by_name, total)
        add_rescued(vectors, request, rescued, by_name, total)
    return total


def tile_upstream(
    request: Request, upstream: dict[str, torch.Tensor], name: str, tile: Tile
) -> torch.Tensor:
    """(trials or 1, rows, columns): what the matrices' gradient says of an atom in a tile.

    Args:
        request: whose matrices these are.
        upstream: by atom name, as `Totals.sums`.
        name: of the atom.
        tile: its mirror image, where there is one, shows the atom that exchanges x and y.
    """
    rows, columns = place(request, tile)
    trials = (tile.trials,) if request.per_trial else ()
    own = upstream[name][*trials, rows, columns]
    if request.rectangle is not None:
        return own
    return own + upstream[swap_nodes(name)][*trials, columns, rows].mT


def _listed_upstream(
    request: Request, upstream: dict[str, torch.Tensor], name: str, listed: torch.Tensor
) -> torch.Tensor:
    """(pairs,): the same of (pairs, 3) trial, row, column."""
    trial, row, column = listed.unbind(-1)
    trials = (trial,) if request.per_trial else ()
    if request.rectangle is not None:
        rows, columns = request.rectangle
        return upstream[name][*trials, row - rows.start, column - columns.start]
    return upstream[name][*trials, row, column] + upstream[swap_nodes(name)][*trials, column, row]


def _add_tile(
    vectors: UnitVectors,
    request: Request,
    tile: Tile,
    upstream: dict[str, torch.Tensor],
    total: Gradient,
) -> None:
    """Add a tile's share to the total.

    Inputs are masked, not outputs: 0 * inf would be NaN on the way back.
    """
    # Views, not copies: another memory layout could round a pair across the limit of trust.
    leaves = past, future = [v[tile.trials].detach().requires_grad_() for v in vectors[:2]]
    part = type(vectors)(past, future, vectors.constant[tile.trials])
    within = tile._replace(trials=slice(0, len(past)))
    lib, of_tile = torch_library(), request.estimator.of_tile
    asked = request.names, "float64", request.limits
    use = pair_mask(lib, part, within)
    with torch.no_grad():
        variance = of_tile(lib, part, within, *asked).variance
        if variance is not None:
            tolerance = request.estimator.tolerance(part)["float64"]
            use &= variance >= smallest_trusted(part.samples, "float64", tolerance)
    with torch.enable_grad():
        values = of_tile(lib, part, within, *asked, use).atoms
    weights = [use * tile_upstream(request, upstream, name, tile) for name in request.names]
    for side, share in enumerate(torch.autograd.grad(values, leaves, weights)):
        total[side][tile.trials] += share


def add_rescued(
    vectors: UnitVectors,
    request: Request,
    rescued: torch.Tensor,
    upstream: dict[str, torch.Tensor],
    total: Gradient,
) -> None:
    """Add the share of (pairs, 3) pairs that the stable path resolved to the total."""
    for part in rescue_parts(vectors, rescued, request.limits):
        leaves = past, future = [v.detach().requires_grad_() for v in vectors[:2]]
        with torch.enable_grad():
            leaf = type(vectors)(past, future, vectors.constant)
            values = request.estimator.listed(
                torch_library(), leaf, part, request.names, request.limits
            ).atoms
        weights = [_listed_upstream(request, upstream, name, part) for name in request.names]
        for side, share in enumerate(torch.autograd.grad(values, leaves, weights)):
            total[side].add_(share)
