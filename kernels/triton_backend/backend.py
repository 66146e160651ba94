"""Backend `triton`: a kernel for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from ..contract import Key, Nodes, Pairs, Request, Totals
from ..engine.decompose import decompose
from ..engine.first_derivative import gradient
from ..engine.gradient import add_rescued, totals_with_gradient
from ..engine.libraries import torch_library
from ..engine.marks import complete, rescue, unpack
from ..formulas.discrete import Bits
from ..formulas.moments import Moments
from ..formulas.unit_vectors import UnitVectors
from . import ccs, discrete
from .launch import Area, capability
from .mmi import fill, fill_from_moments, path_for
from .node_means import decompose_nodes
from .op import bounds_of, gaussian_mmi
from .plan import plan
from .unit_vectors import unit_vectors


def run(source: torch.Tensor | Moments, request: Request) -> Pairs | Nodes:
    """Atoms of a (trials, time, nodes) tensor or of moments, where it is; see `Pairs`, `Nodes`."""
    moments = isinstance(source, Moments)
    device = source.like.device if isinstance(source, Moments) else source.device
    kernel = request.estimator.key, moments
    with torch.autocast(device.type, enabled=False):
        features: Any = source if moments else _features(source, request)
        if request.by_node:
            return NODES[kernel](features, request)
        return decompose(torch_library(), features, request, TOTALS[kernel], decompose_nodes)


def _features(series: Any, request: Request) -> Any:
    """Features of the estimator; unit vectors by their own kernel, but for a gradient."""
    wants_gradient = torch.is_grad_enabled() and series.requires_grad
    if request.estimator.key[0] == "discrete" or wants_gradient:
        lib = torch_library()
        return request.estimator.features(lib, series, request.tau, request.pooled)
    return unit_vectors(series, request.tau, request.pooled)


Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Sums of the trusted pairs; fills an empty list with the others, and its length."""


def _mmi(vectors: UnitVectors, request: Request) -> Totals:
    """Gaussian MMI from the series, through the operator, which has a gradient."""

    def kernel(keys: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        names, single = ",".join(request.names), request.dtype == "float32"
        bounds = request.limits.workspace, bounds_of(request.rectangle)
        sums: torch.Tensor
        # The operator allocates its outputs, so that it can be traced.
        sums, marked, count = gaussian_mmi(
            *vectors, names, request.per_trial, single, len(keys), *bounds
        )
        keys.copy_(marked)
        length.copy_(count)
        return sums

    sums, marked = _completed(kernel, vectors, request)
    apply: Any = _Rescue.apply
    *atoms, flagged, rescued = apply(*vectors, sums, marked, request)
    return Totals(dict(zip(request.names, atoms, strict=True)), flagged, rescued)


def _persistence(vectors: UnitVectors, request: Request) -> Totals:
    if vectors.past.requires_grad:
        return totals_with_gradient(vectors, request)
    chosen = plan(request.names)
    _, nodes, samples = vectors.past.shape
    area, workspace = Area(nodes, request.rectangle), request.limits.workspace
    path = path_for(
        area,
        samples,
        request.per_trial,
        chosen,
        workspace,
        dtype=request.dtype,
        capability=capability(vectors.past),
    )
    kernel = functools.partial(
        fill,
        path,
        *vectors,
        plan=chosen,
        per_trial=request.per_trial,
        dtype=request.dtype,
        alone=True,
        tolerances=request.estimator.tolerance(vectors),
        rectangle=request.rectangle,
        workspace=workspace,
    )
    return _rescued(kernel, vectors, request)


def _from_moments(moments: Moments, request: Request) -> Totals:
    """Gaussian MMI or the persistence reference."""
    kernel = functools.partial(
        fill_from_moments,
        moments,
        plan=plan(request.names),
        per_trial=request.per_trial,
        dtype=request.dtype,
        alone=request.estimator.key[0] == "persistence",
        rectangle=request.rectangle,
    )
    return _rescued(kernel, moments, request)


def _ccs(vectors: UnitVectors, request: Request) -> Totals:
    if vectors.past.requires_grad:
        # There is no kernel for this gradient: the engine computes both passes.
        return totals_with_gradient(vectors, request)
    kernel = functools.partial(
        ccs.fill,
        *vectors,
        names=request.names,
        per_trial=request.per_trial,
        dtype=request.dtype,
        rectangle=request.rectangle,
    )
    return _rescued(kernel, vectors, request)


def _discrete(bits: Bits, request: Request) -> Totals:
    sums = discrete.fill(
        bits,
        request.estimator.key[1],
        names=request.names,
        per_trial=request.per_trial,
        dtype=request.dtype,
        rectangle=request.rectangle,
    )
    none = torch.zeros(0, 4, dtype=torch.int64, device=sums.device)
    return Totals(dict(zip(request.names, sums, strict=True)), none, none[:, :3])


TOTALS: dict[tuple[Key, bool], Callable[[Any, Request], Totals]] = {
    (("gaussian", "MMI"), False): _mmi,
    (("gaussian", "MMI"), True): _from_moments,
    (("persistence", "MMI"), False): _persistence,
    (("persistence", "MMI"), True): _from_moments,
    (("gaussian", "CCS"), False): _ccs,
    (("discrete", "MMI"), False): _discrete,
    (("discrete", "CCS"), False): _discrete,
}
"""What sums the atoms of pairs over trials, by estimator and whether from moments."""

NODES: dict[tuple[Key, bool], Callable[[Any, Request], Nodes]] = {
    (("gaussian", "MMI"), False): decompose_nodes,
}
"""What sums them by node; `record.BY_NODE` names the same."""


def _rescued(kernel: Kernel, features: UnitVectors | Moments, request: Request) -> Totals:
    """Sums of a kernel, and from the stable path what it could not do; there is no gradient."""
    sums, marked = _completed(kernel, features, request)
    by_name = dict(zip(request.names, sums, strict=True))
    return Totals(by_name, *rescue(torch_library(), features, request, by_name, marked))


def _completed(
    kernel: Kernel, features: UnitVectors | Moments, request: Request
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums and list of a kernel, (pairs, 3) trial, row, column."""
    lib = torch_library()
    sums, keys = complete(lib, features.like, kernel, request.limits.capacity)
    return sums, unpack(lib, keys, features.constant.shape[1])


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
        vectors = UnitVectors(past, future, constant)
        flagged, rescued = rescue(torch_library(), vectors, request, by_name, marked)
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
    vectors = UnitVectors(past, future, constant)
    doubles = (part.to(torch.float64) for part in upstream)
    by_name = dict(zip(request.names, doubles, strict=True))
    total = torch.zeros_like(past), torch.zeros_like(future)
    with torch.autocast(past.device.type, enabled=False):
        add_rescued(vectors, request, rescued, by_name, total)
    return total


def _alone(atom: torch.Tensor) -> torch.Tensor:
    """The same memory, but no view to autograd, which would not let one of several change."""
    out = atom.new_empty(0)
    return out.set_(atom.untyped_storage(), atom.storage_offset(), atom.shape, atom.stride())
