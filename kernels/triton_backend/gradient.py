"""Derivative of the atoms with respect to the series, by hand: the chain rule of `arithmetic`.

Inside a torch operator there is no autograd, so every step of the elimination is differentiated
here, in reverse. Tiles are computed again; nothing of the forward pass is kept but its list of
untrusted pairs, which have no share in the gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..contract import Request, Tile
from ..engine.gradient import tile_upstream
from ..engine.libraries import torch_library
from ..engine.tiles import pair_mask, tiles
from ..formulas.mmi import Correlations
from ..formulas.unit_vectors import UnitVectors
from .plan import TERMS, coefficients


class _Leaves(NamedTuple):
    """Derivatives with respect to determinants that the terms are made of."""

    past: torch.Tensor
    future: torch.Tensor
    x_a: torch.Tensor
    x_b: torch.Tensor
    y_a: torch.Tensor
    y_b: torch.Tensor
    xy_a: torch.Tensor
    xy_b: torch.Tensor
    x_ab: torch.Tensor
    y_ab: torch.Tensor
    joint: torch.Tensor


def series_gradient(
    vectors: UnitVectors,
    request: Request,
    untrusted: torch.Tensor,
    upstream: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient with respect to past and future.

    Args:
        vectors: past, future and constant nodes.
        request: as in the forward pass.
        untrusted: (pairs, 3) int64 trial, row, column of pairs without a share.
        upstream: by atom name, as `Totals.sums`.
    """
    past, future = torch.zeros_like(vectors.past), torch.zeros_like(vectors.future)
    for tile in tiles(vectors, request):
        rows, columns = tile.rows, tile.columns
        use = pair_mask(torch_library(), vectors, tile)
        _exclude(use, untrusted, tile)
        weights = {
            name: use * tile_upstream(request, upstream, name, tile) for name in request.names
        }
        x, a = vectors.past[tile.trials, rows], vectors.future[tile.trials, rows]
        y, b = vectors.past[tile.trials, columns], vectors.future[tile.trials, columns]
        g = _correlation_gradient(_correlations(x, a, y, b, use), weights)
        own_x, own_y = g.xa.sum(-1)[..., None], g.yb.sum(-2)[..., None]
        past[tile.trials, rows] += g.xy @ y + g.xb @ b + own_x * a
        future[tile.trials, rows] += g.ab @ b + g.ya @ y + own_x * x
        past[tile.trials, columns] += g.xy.mT @ x + g.ya.mT @ a + own_y * b
        future[tile.trials, columns] += g.ab.mT @ a + g.xb.mT @ x + own_y * y
    return past, future


def _exclude(use: torch.Tensor, untrusted: torch.Tensor, tile: Tile) -> None:
    """Clear the untrusted entries of a tile's mask."""
    starts = torch.tensor(
        [part.start for part in (tile.trials, tile.rows, tile.columns)], device=use.device
    )
    inside = untrusted - starts
    here = ((inside >= 0) & (inside < torch.tensor(use.shape, device=use.device))).all(-1)
    use[inside[here].unbind(-1)] = False


def _correlations(
    x: torch.Tensor, a: torch.Tensor, y: torch.Tensor, b: torch.Tensor, use: torch.Tensor
) -> Correlations:
    """(trials, rows, columns) each; 0 where there is no pair, so that nothing there is infinite."""
    values = (
        x @ y.mT,
        a @ b.mT,
        (x * a).sum(-1)[..., :, None],
        x @ b.mT,
        a @ y.mT,
        (y * b).sum(-1)[..., None, :],
    )
    return Correlations(*(torch.where(use, value, 0.0) for value in values))


def _correlation_gradient(c: Correlations, weights: dict[str, torch.Tensor]) -> Correlations:
    """Derivatives of the weighted sum of atoms with respect to the six correlations."""
    p, f = 1 - c.xy * c.xy, 1 - c.ab * c.ab
    x_a, x_b, y_a, y_b = (1 - r * r for r in (c.xa, c.xb, c.ya, c.yb))
    u, w = c.ya - c.xy * c.xa, c.yb - c.xy * c.xb
    s, t = c.xb - c.ab * c.xa, c.yb - c.ab * c.ya
    q = c.ab - c.xa * c.xb
    xy_a, xy_b, ab_xy = x_a * p - u * u, x_b * p - w * w, q * p - u * w
    x_ab, y_ab = x_a * f - s * s, y_a * f - t * t
    joint = xy_a * xy_b - ab_xy * ab_xy
    g = _determinant_gradient((p, f, x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint), weights)

    g_ab_xy = -2 * g.joint * ab_xy
    g_xy_a, g_xy_b = g.xy_a + g.joint * xy_b, g.xy_b + g.joint * xy_a
    g_p = g.past + g_xy_a * x_a + g_xy_b * x_b + g_ab_xy * q
    g_f = g.future + g.x_ab * x_a + g.y_ab * y_a
    g_x_a, g_x_b = g.x_a + g_xy_a * p + g.x_ab * f, g.x_b + g_xy_b * p
    g_y_a, g_y_b = g.y_a + g.y_ab * f, g.y_b
    g_u, g_w = -2 * g_xy_a * u - g_ab_xy * w, -2 * g_xy_b * w - g_ab_xy * u
    g_s, g_t, g_q = -2 * g.x_ab * s, -2 * g.y_ab * t, g_ab_xy * p
    return Correlations(
        xy=-2 * c.xy * g_p - c.xa * g_u - c.xb * g_w,
        ab=-2 * c.ab * g_f + g_q - c.xa * g_s - c.ya * g_t,
        xa=-2 * c.xa * g_x_a - c.xy * g_u - c.xb * g_q - c.ab * g_s,
        xb=-2 * c.xb * g_x_b - c.xy * g_w - c.xa * g_q + g_s,
        ya=-2 * c.ya * g_y_a + g_u - c.ab * g_t,
        yb=-2 * c.yb * g_y_b + g_w + g_t,
    )


def _determinant_gradient(m: tuple[torch.Tensor, ...], weights: dict[str, torch.Tensor]) -> _Leaves:
    """Through the logarithms and the maxima; a tie goes to the first of the two."""
    rows = coefficients(list(weights))
    total = [torch.zeros_like(m[0]) for _ in TERMS]
    for row, weight in zip(rows.tolist(), weights.values(), strict=True):
        for n, factor in enumerate(row):
            if factor:
                total[n] += -0.5 * factor * weight
    shares = (weight / value for weight, value in zip(total, m, strict=False))
    leaves = dict(zip(_Leaves._fields, shares, strict=True))
    value = dict(zip(_Leaves._fields, m, strict=True))
    for term, names in _MAXIMA.items():
        largest = value[names[0]]
        for name in names[1:]:
            largest = torch.maximum(largest, value[name])
        share = total[TERMS.index(term)] / largest
        free = torch.ones_like(share, dtype=torch.bool)
        for name in names:
            won = free & (value[name] == largest)
            leaves[name] = leaves[name] + torch.where(won, share, 0.0)
            free &= ~won
    return _Leaves(**leaves)


_MAXIMA = {
    "max x_a y_a": ("x_a", "y_a"),
    "max x_b y_b": ("x_b", "y_b"),
    "max x_a x_b y_a y_b": ("x_a", "x_b", "y_a", "y_b"),
    "max x_a x_b": ("x_a", "x_b"),
    "max y_a y_b": ("y_a", "y_b"),
    "max xy_a xy_b, past": ("xy_a", "xy_b"),
    "max x_ab y_ab, future": ("x_ab", "y_ab"),
}
