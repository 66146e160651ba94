"""Backend `torch`: the engine on torch tensors of any device, differentiable.

torch is imported when the backend is asked for its status or runs, so that its record can be read
where torch is not installed.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .backend import Backend
from .contract import Nodes, Pairs, Request
from .engine.all_pairs import totals
from .engine.at_samples import at_samples
from .engine.decompose import decompose
from .engine.libraries import torch_library, torch_status
from .engine.node_means import decompose_nodes


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) tensor, or of `Moments`, on its device.

    Raises:
        ValueError: float32 is asked for, and torch is told to compute with less.
    """
    lib = torch_library()
    torch = lib.xp
    if request.dtype == "float32" and torch.get_float32_matmul_precision() != "highest":
        raise ValueError(
            "dtype is 'float32', but torch may round float32 matrix products to TF32 or bfloat16, "
            f"as torch.get_float32_matmul_precision() is {torch.get_float32_matmul_precision()!r}; "
            "use dtype='float64' or torch.set_float32_matmul_precision('highest')"
        )
    device = source.device if isinstance(source, torch.Tensor) else source.like.device
    with torch.autocast(device.type, enabled=False):
        features = request.estimator.features(lib, source, request.tau, request.pooled)
        nodes_of = functools.partial(decompose_nodes, lib)
        return decompose(lib, features, request, totals_for(features, request), nodes_of)


def totals_for(features: Any, request: Request) -> Any:
    """Return `all_pairs.totals` of tensors, with its gradient where they require one."""
    if request.estimator.differentiable and features.like.requires_grad:
        # Imports torch as it is imported.
        return importlib.import_module(".engine.gradient", __package__).totals_with_gradient
    return functools.partial(totals, torch_library())


BACKEND = Backend(
    name="torch",
    summary="whole-array tiles on torch tensors of any device; differentiable",
    arrays="torch",
    run=run,
    status=torch_status,
    differentiable=True,
    shares=("cupy",),
    pointwise=at_samples,
    members=True,
)
