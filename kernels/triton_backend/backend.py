"""Backend `triton`: a kernel for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..chosen import decompose_chosen
from ..discrete import Bits
from ..eager import (
    Estimator,
    Pairs,
    Request,
    Totals,
    TotalsOf,
    decompose,
    request_for,
    rescue,
    rescue_parts,
)
from ..estimators import Discrete, GaussianCCS
from ..segments import Segments
from ..torch_backend import _LIB, _rescue_gradient, _totals_with_gradient
from . import ccs, discrete
from .op import gaussian_mmi, unpack

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
    reduce: None = None,
) -> Pairs:
    """Atoms of pairs of a (trials, time, nodes) tensor, on its device; see `Pairs`."""
    assert reduce is None, "not offered: see synkern.backends"
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    with torch.autocast(series.device.type, enabled=False):
        features = estimator.features(_LIB, series, tau, pooled)
        if isinstance(estimator, Discrete):
            totals_of: TotalsOf = _discrete_totals
        elif isinstance(estimator, GaussianCCS):
            # There is no kernel for this gradient; both passes are those of the torch backend.
            with_gradient = features.past.requires_grad
            totals_of = _totals_with_gradient if with_gradient else _ccs_totals
        else:
            totals_of = _totals
        if pairs is not None:
            return decompose_chosen(_LIB, features, names, request, totals_of, pairs)
        return decompose(_LIB, features, names, request, totals_of)


def _totals(features: Segments, request: Request) -> Totals:
    sums, marked = _sums(features, request)
    apply: Any = _Rescue.apply
    *atoms, flagged, rescued = apply(*features, sums, marked, request)
    return Totals(dict(zip(request.names, atoms, strict=True)), flagged, rescued)


def _ccs_totals(features: Segments, request: Request) -> Totals:
    def kernel(capacity: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        marked = features.past.new_empty(capacity, dtype=torch.int64)
        count = features.past.new_zeros(1, dtype=torch.int64)
        out = ccs.fill(
            *features,
            marked,
            count,
            names=request.names,
            per_trial=request.per_trial,
            dtype=request.dtype,
        )
        return out, marked, count

    sums, marked = _complete(kernel, features)
    by_name = dict(zip(request.names, sums, strict=True))
    return Totals(by_name, *rescue(_LIB, features, request, by_name, marked))


def _discrete_totals(features: Bits, request: Request) -> Totals:
    estimator = request.estimator
    assert isinstance(estimator, Discrete)
    sums = discrete.fill(
        features,
        estimator.redundancy,
        names=request.names,
        per_trial=request.per_trial,
        dtype=request.dtype,
    )
    none = torch.zeros(0, 4, dtype=torch.int64, device=sums.device)
    return Totals(dict(zip(request.names, sums, strict=True)), none, none[:, :3])


def _sums(features: Segments, request: Request) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of the trusted pairs, and (pairs, 3) of the others, sorted."""
    return _complete(
        lambda capacity: gaussian_mmi(
            *features,
            ",".join(request.names),
            request.per_trial,
            request.dtype == "float32",
            capacity,
        ),
        features,
    )


def _complete(
    kernel: Callable[[int], tuple[torch.Tensor, torch.Tensor, torch.Tensor]], features: Segments
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and the list of a kernel, which runs again if the list overflows its capacity."""
    capacity = CAPACITY
    while True:
        sums, keys, count = kernel(capacity)
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
