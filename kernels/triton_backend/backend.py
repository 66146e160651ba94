"""Backend `triton`: a kernel for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..chosen import decompose_chosen
from ..eager import (
    Estimator,
    Pairs,
    Request,
    Totals,
    decompose,
    request_for,
    rescue,
    rescue_parts,
)
from ..nodes import Nodes
from ..segments import Segments
from ..torch_backend import _LIB, _rescue_gradient
from .nodes import decompose_nodes
from .op import gaussian_mmi, unpack
from .unit_vectors import unit_vectors

CAPACITY = 1 << 16
"""Of the list of pairs for the stable path at first; if it overflows, the kernel runs again."""


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
    """Gaussian MMI of a (trials, time, nodes) tensor, on its device; see `Pairs`, `Nodes`."""
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    with torch.autocast(series.device.type, enabled=False):
        if torch.is_grad_enabled() and series.requires_grad:
            features = estimator.features(_LIB, series, tau, pooled)
        else:
            features = unit_vectors(series, tau, pooled)
        if reduce == "nodes":
            return decompose_nodes(features, request)
        if pairs is not None:
            return decompose_chosen(_LIB, features, names, request, _totals, pairs)
        return decompose(_LIB, features, names, request, _totals)


def _totals(features: Segments, request: Request) -> Totals:
    sums, marked = _sums(features, request)
    apply: Any = _Rescue.apply
    *atoms, flagged, rescued = apply(*features, sums, marked, request)
    return Totals(dict(zip(request.names, atoms, strict=True)), flagged, rescued)


def _sums(features: Segments, request: Request) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of the trusted pairs, and (pairs, 3) of the others, sorted."""
    capacity = CAPACITY
    while True:
        sums, keys, count = gaussian_mmi(
            *features,
            ",".join(request.names),
            request.per_trial,
            request.dtype == "float32",
            capacity,
        )
        length = int(count)
        if length <= capacity:
            nodes = features.past.shape[1]
            return sums, unpack(keys[:length].sort().values, nodes)
        capacity = length


class _Rescue(torch.autograd.Function):
    """Sums apart, with the stable path's share, whose gradient is computed part by part.

    The sums change in place; nothing else holds them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        past: torch.Tensor,
        future: torch.Tensor,
        constant: torch.Tensor,
        sums: torch.Tensor,
        marked: torch.Tensor,
        request: Request,
    ) -> tuple[torch.Tensor, ...]:
        by_name = dict(zip(request.names, map(_alone, sums), strict=True))
        segments = Segments(past, future, constant)
        flagged, rescued = rescue(_LIB, segments, request, by_name, marked)
        ctx.mark_non_differentiable(flagged, rescued)
        ctx.save_for_backward(past, future, constant, rescued)
        ctx.request = request
        return *by_name.values(), flagged, rescued

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *by_atom, _, _ = upstream
        past, future, constant, rescued = ctx.saved_tensors
        segments = Segments(past, future, constant)
        doubles = (part.to(torch.float64) for part in by_atom)
        by_name = dict(zip(ctx.request.names, doubles, strict=True))
        gradient = torch.zeros_like(past), torch.zeros_like(future)
        with torch.autocast(past.device.type, enabled=False):
            for part in rescue_parts(segments, rescued):
                _rescue_gradient(segments, ctx.request, part, by_name, gradient)
        return *gradient, None, torch.stack(by_atom), None, None


def _alone(atom: torch.Tensor) -> torch.Tensor:
    """The same memory, but no view to autograd, which would not let one of several change."""
    out = atom.new_empty(0)
    return out.set_(atom.untyped_storage(), atom.storage_offset(), atom.shape, atom.stride())
