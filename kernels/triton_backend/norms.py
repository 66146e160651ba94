"""Norms of the heads that `synkern.record` holds, by `head_norms_kernel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from .configurations import OPTIONS
from .device.norms import head_norms_kernel
from .launch import on_device

ELEMENTS = 4096
"""Elements of a program: 32 numbers a thread."""

WARPS = 4

NORM_TYPES = {
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


def stacked_head_norms(held: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """Norms of every head, at least in float32 arithmetic: float32 (steps, trials, heads).

    Args:
        held: of every step (trials, heads * width), of one shape, floating type and device.
        width: values of a head.
    """
    first = held[0]
    trials, values = first.shape
    # Held in a list while their addresses are in use.
    contiguous = [tensor.contiguous() for tensor in held]
    addresses = torch.tensor(
        [tensor.data_ptr() for tensor in contiguous], dtype=torch.int64, device="cpu"
    )
    heads = values // width
    out = _empty(first, (len(held), trials, heads))
    sizes = block(width)
    with on_device(first):
        head_norms_kernel[(len(held) * triton.cdiv(trials * heads, sizes["VECTORS"]),)](
            addresses=addresses.to(first.device),
            out=out,
            vectors=trials * heads,
            width=width,
            STORED=NORM_TYPES[first.dtype],
            DTYPE=tl.float64 if first.dtype == torch.float64 else tl.float32,
            num_warps=WARPS,
            **OPTIONS,
            **sizes,
        )
    return out


def block(width: int) -> dict[str, int]:
    """Heads and values of a program."""
    lanes = triton.next_power_of_2(width)
    return {"VECTORS": max(1, ELEMENTS // lanes), "WIDTH": lanes}


def _empty(like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)
