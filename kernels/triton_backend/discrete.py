"""Discrete ΦID of all pairs: bits packed to words, and the launch of `device.discrete`."""

from __future__ import annotations

import torch
import triton

from ..contract import Rectangle
from ..engine.libraries import torch_library
from ..formulas.discrete import RESOLUTION, Bits, tables_of
from .configurations import OPTIONS, Launch
from .device.discrete import discrete_kernel, pack_kernel
from .launch import bits, launch_tiles, on_device

LAUNCHES = {"MMI": Launch(16, 8), "CCS": Launch(16, 4)}
"""Tiles by redundancy. Source: compiled ahead of time for sm_90 with triton 3.6.0 and 3.9.0; of
8 x 8 and 16 x 16 pairs and one or two a thread, the largest that spills in neither; not timed."""

WORD = 32
"""Samples of a word."""

PACKED_NODES, PACKED_WARPS = 32, 4
"""Nodes and warps of a program that packs words: 8 numbers a thread. Modelled, not timed."""


def fill(
    features: Bits,
    redundancy: str,
    *,
    names: tuple[str, ...],
    per_trial: bool,
    dtype: str,
    rectangle: Rectangle | None = None,
    launch: Launch | None = None,
) -> torch.Tensor:
    """Launch on the device and current stream of the bits, without waiting.

    Args:
        features: see `formulas.discrete.binarise`.
        redundancy: "MMI" or "CCS".
        names: atoms, for all pairs closed under exchange of x and y.
        per_trial: keep trials apart.
        dtype: of the output; the arithmetic is float64.
        rectangle: the pairs; None: all.
        launch: None for the frozen one.

    Returns:
        (atoms, rows, columns) sums over trials in bits, or (atoms, trials, rows, columns); zero on
        the diagonal of all pairs and where a pair has a constant node.
    """
    tables = tables_of(torch_library(), features)
    past, future = packed(features.past), packed(features.future)
    return launch_tiles(
        discrete_kernel,
        {
            "past": past,
            "future": future,
            "table": tables.surprisal if redundancy == "CCS" else tables.entropy,
            "samples": features.samples,
            "words": past.shape[1],
            "resolution": bits(max(features.samples**-2, RESOLUTION)),
            "CCS": redundancy == "CCS",
        },
        features.constant,
        names=names,
        per_trial=per_trial,
        dtype=dtype,
        launch=launch or LAUNCHES[redundancy],
        rectangle=rectangle,
    )


def packed(values: torch.Tensor) -> torch.Tensor:
    """(trials, words, nodes) int32 of (trials, nodes, samples) of 0 and 1; the first bit is lowest.

    Bits beyond the last sample are 0.
    """
    trials, nodes, samples = values.shape
    words = triton.cdiv(samples, WORD)
    out = torch.empty(trials, words, nodes, dtype=torch.int32, device=values.device)
    with on_device(values):
        pack_kernel[(trials * triton.cdiv(nodes, PACKED_NODES),)](
            values=values.contiguous(),
            out=out,
            samples=samples,
            words=words,
            nodes=nodes,
            NODES=PACKED_NODES,
            WORD=WORD,
            num_warps=PACKED_WARPS,
            **OPTIONS,
        )
    return out
