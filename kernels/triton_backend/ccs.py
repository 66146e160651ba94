"""Gaussian CCS of all pairs: the launch of `device.ccs`."""

from __future__ import annotations

import torch

from ..contract import Rectangle
from ..formulas import uncorrelated
from .configurations import Launch
from .device.ccs import ccs_kernel
from .launch import bits, interleaved, launch_tiles, least_trusted, own_correlations

LAUNCH = Launch(16, 8)
"""One pair a thread: its 33 coefficients, weights and means and 7 sums are 80 registers. Source:
ahead-of-time compilation for sm_90 with triton 3.6.0 and 3.9.0, no spills. Not yet timed."""


def fill(
    past: torch.Tensor,
    future: torch.Tensor,
    constant: torch.Tensor,
    marked: torch.Tensor,
    count: torch.Tensor,
    *,
    names: tuple[str, ...],
    per_trial: bool,
    dtype: str,
    rectangle: Rectangle | None = None,
    launch: Launch = LAUNCH,
) -> torch.Tensor:
    """Launch on the device and current stream of `past`, without waiting.

    Args:
        past: (trials, nodes, samples) float64 unit vectors, see `unit_vectors.UnitVectors`.
        future: likewise.
        constant: (trials, nodes) bool.
        marked: (capacity,) int64, filled with the first entries of the list of untrusted pairs.
        count: (1,) int64 zero, becomes the length of that list.
        names: atoms, for all pairs closed under exchange of x and y.
        per_trial: keep trials apart.
        dtype: of the output.
        rectangle: the pairs; None: all.
        launch: how.

    Returns:
        (atoms, rows, columns) sums over trials in nats, or (atoms, trials, rows, columns).
    """
    samples = past.shape[-1]
    return launch_tiles(
        ccs_kernel,
        {
            "both": interleaved(past, future),
            "own": own_correlations(past, future),
            "marked": marked,
            "count": count,
            "samples": samples,
            "capacity": len(marked),
            "limit": least_trusted(samples, "float64")[0],
            "resolution": bits(uncorrelated.resolution(samples)),
            "local_resolution": bits(uncorrelated.local_resolution(samples)),
        },
        constant,
        names=names,
        per_trial=per_trial,
        dtype=dtype,
        launch=launch,
        rectangle=rectangle,
    )
