"""Contenders: synkern's backends, and the common form in which peers stand beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench.cases.shapes import TAU
from bench.cases.workloads import WORKLOADS, Workload
from synkern.decomposition import BACKENDS
from synkern.kernels import Wanted

Values = Mapping[str, Any]
Compute = Callable[[Any, "np.ndarray | None"], Any]


@dataclass(frozen=True)
class Contender:
    """One way to compute: a backend of synkern, or a peer.

    Attributes:
        name: of the backend or the peer.
        compute: given a workload and a dtype, a function of a series and of pairs (None: all)
            that is timed.
        values: its output as `gate.check` takes it; not timed.
        workloads: names of the workloads that it can do.
        obstacle: why it cannot run here and what would help, None if it can.
        dtypes: that it computes in.
        device: where.
        peer: whether it is not synkern.
        all_pairs: whether it takes all pairs at once; else they are sampled.
        fixed: number of pairs to time, of contenders whose calls take seconds before the first
            pair; they are not warmed up, and measured on the smallest shape alone. None: as many as
            fit.
        about_zero: whether it takes moments about zero, not about the means of past and future.
    """

    name: str
    compute: Callable[[Workload, str], Compute]
    values: Callable[[Workload, Any], Values]
    workloads: frozenset[str]
    obstacle: Callable[[], str | None] = lambda: None
    dtypes: tuple[str, ...] = ("float64", "float32")
    device: str = "cpu"
    peer: bool = False
    all_pairs: bool = True
    fixed: int | None = None
    about_zero: bool = False

    def take(self, series: np.ndarray) -> Any:
        """A series as the contender wants it; not timed."""
        if self.device == "cuda":
            return torch.from_numpy(np.array(series)).to("cuda")
        return torch.from_numpy(series) if self.name == "torch" and not self.peer else series


def backends() -> list[Contender]:
    """Backends of synkern that can run here, on each device."""
    contenders = []
    for backend in BACKENDS:
        if backend.status().why and "TRITON_INTERPRET" in str(backend.status().why):
            continue  # A time of the interpreter says nothing.
        workloads = frozenset(
            workload.name
            for workload in WORKLOADS
            if not backend.lacks(
                Wanted((workload.kind, workload.redundancy), by_node=workload.by_node)
            )
        )
        for device in backend.status().devices:
            contenders.append(
                Contender(
                    name=backend.name,
                    compute=_phiid(backend.name),
                    values=_values,
                    workloads=workloads,
                    device=device,
                )
            )
    return contenders


def missing_backends() -> dict[str, str]:
    """Why those that cannot run here at all do not."""
    return {
        backend.name: f"{status.why}; {status.remedy}"
        for backend in BACKENDS
        if not (status := backend.status()).available
    }


def _phiid(backend: str) -> Callable[[Workload, str], Compute]:
    def compute(workload: Workload, dtype: str) -> Compute:
        def call(series: Any, pairs: np.ndarray | None = None) -> Any:
            return workload.decompose(series, pairs, tau=TAU, backend=backend, dtype=dtype)

        return call

    return compute


def _values(workload: Workload, result: Any) -> Values:
    return {atom: _host(result[atom]) for atom in workload.atoms}


def _host(array: Any) -> np.ndarray:
    return np.asarray(array.cpu() if isinstance(array, torch.Tensor) else array)
