"""Backend `triton`: a kernel for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..contract import Estimator, Nodes, Pairs, Request, Totals
from ..engine.first_derivative import gradient
from ..engine.gathered_rectangle import decompose_gathered
from ..engine.gradient import add_rescued, totals_with_gradient
from ..engine.libraries import torch_library
from ..engine.marks import rescue
from ..formulas.discrete import Bits
from ..formulas.estimators import Discrete, GaussianCCS, PersistenceMMI
from ..formulas.moments import Moments
from ..formulas.unit_vectors import Segments
from . import ccs, discrete
from .launch import fill, fill_from_moments, path_for
from .node_means import decompose_nodes
from .op import gaussian_mmi, unpack
from .plan import plan
from .unit_vectors import unit_vectors

CAPACITY = 1 << 16
"""Of the list of pairs for the stable path at first; if it overflows, the kernel runs again."""


_LIB = torch_library()


def run(source: torch.Tensor | Moments, request: Request) -> Pairs | Nodes:
    """Atoms of a (trials, time, nodes) tensor or of moments, where it is; see `Pairs`, `Nodes`."""
    device = source.like.device if isinstance(source, Moments) else source.device
    with torch.autocast(device.type, enabled=False):
        features = _features(source, request.estimator, request.tau, request.pooled)
        return decompose_gathered(_LIB, features, request, _totals, decompose_nodes)


def _features(
    series: torch.Tensor | Moments, estimator: Estimator, tau: int, pooled: str | None
) -> Any:
    """Of the estimator; unit vectors by their own kernel, but for a gradient."""
    if isinstance(series, Moments) or isinstance(estimator, Discrete):
        return estimator.features(_LIB, series, tau, pooled)
    if torch.is_grad_enabled() and series.requires_grad:
        return estimator.features(_LIB, series, tau, pooled)
    return unit_vectors(series, tau, pooled)


def _totals(features: Any, request: Request) -> Totals:
    """`eager.totals`, by the kernel for these features."""
    if isinstance(request.estimator, Discrete):
        return _discrete_totals(features, request)
    if isinstance(features, Moments):
        return _rescued(_from_moments(features, request), features, request)
    if not isinstance(request.estimator, GaussianCCS | PersistenceMMI):
        return _mmi_totals(features, request)
    if features.past.requires_grad:
        # There is no kernel for this gradient; both passes are those of the torch backend.
        return totals_with_gradient(features, request)
    kernel = _ccs if isinstance(request.estimator, GaussianCCS) else _persistence
    return _rescued(kernel(features, request), features, request)


class _Listed(NamedTuple):
    """What a kernel leaves: sums of the trusted pairs, the list of others, its length."""

    sums: torch.Tensor
    keys: torch.Tensor
    length: torch.Tensor


Kernel = Callable[[int], _Listed]
"""A kernel, by the capacity of its list."""


def _mmi_totals(features: Segments, request: Request) -> Totals:
    def kernel(capacity: int) -> _Listed:
        names, single = ",".join(request.names), request.dtype == "float32"
        return _Listed(*gaussian_mmi(*features, names, request.per_trial, single, capacity))

    sums, marked = _complete(kernel, features)
    apply: Any = _Rescue.apply
    *atoms, flagged, rescued = apply(*features, sums, marked, request)
    return Totals(dict(zip(request.names, atoms, strict=True)), flagged, rescued)


def _persistence(features: Segments, request: Request) -> Kernel:
    chosen = plan(request.names)
    _, nodes, samples = features.past.shape
    path = path_for(nodes, samples, request.per_trial, chosen)

    def kernel(capacity: int) -> _Listed:
        keys, length = _list(features, capacity)
        sums = fill(
            path,
            *features,
            keys,
            length,
            plan=chosen,
            per_trial=request.per_trial,
            dtype=request.dtype,
            alone=True,
            tolerances=request.estimator.tolerance(features),
        )
        return _Listed(sums, keys, length)

    return kernel


def _from_moments(features: Moments, request: Request) -> Kernel:
    def kernel(capacity: int) -> _Listed:
        keys, length = _list(features, capacity)
        sums = fill_from_moments(
            features,
            keys,
            length,
            plan=plan(request.names),
            per_trial=request.per_trial,
            dtype=request.dtype,
            alone=isinstance(request.estimator, PersistenceMMI),
        )
        return _Listed(sums, keys, length)

    return kernel


def _ccs(features: Segments, request: Request) -> Kernel:
    def kernel(capacity: int) -> _Listed:
        keys, length = _list(features, capacity)
        sums = ccs.fill(
            *features,
            keys,
            length,
            names=request.names,
            per_trial=request.per_trial,
            dtype=request.dtype,
        )
        return _Listed(sums, keys, length)

    return kernel


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


def _rescued(kernel: Kernel, features: Segments | Moments, request: Request) -> Totals:
    """Without a gradient: the sums of a kernel, and what it could not do from the stable path."""
    sums, marked = _complete(kernel, features)
    by_name = dict(zip(request.names, sums, strict=True))
    return Totals(by_name, *rescue(_LIB, features, request, by_name, marked))


def _list(features: Segments | Moments, capacity: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An empty list and its length."""
    keys = features.past.new_empty(capacity, dtype=torch.int64)
    return keys, features.past.new_zeros(1, dtype=torch.int64)


def _complete(kernel: Kernel, features: Segments | Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and the list of a kernel, (pairs, 3); it runs again if that overflows its capacity."""
    capacity = CAPACITY
    while True:
        sums, keys, count = kernel(capacity)
        length = int(count)
        if length <= capacity:
            nodes = features.constant.shape[1]
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
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        *by_atom, _, _ = upstream
        compute = functools.partial(_rescued_gradient, ctx.request)
        shares = gradient(compute, *ctx.saved_tensors, *by_atom)
        return *shares, None, torch.stack(by_atom), None, None


def _rescued_gradient(
    request: Request,
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    rescued: torch.Tensor,
    *upstream: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the rescued pairs; `upstream` in the order of the names of the request."""
    segments = Segments(past, future, constant)
    doubles = (part.to(torch.float64) for part in upstream)
    by_name = dict(zip(request.names, doubles, strict=True))
    total = torch.zeros_like(past), torch.zeros_like(future)
    with torch.autocast(past.device.type, enabled=False):
        add_rescued(segments, request, rescued, by_name, total)
    return total


def _alone(atom: torch.Tensor) -> torch.Tensor:
    """The same memory, but no view to autograd, which would not let one of several change."""
    out = atom.new_empty(0)
    return out.set_(atom.untyped_storage(), atom.storage_offset(), atom.shape, atom.stride())
