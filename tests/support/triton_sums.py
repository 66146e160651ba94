"""Kernels of Gaussian MMI, launched by themselves."""

import torch

from synkern.kernels.triton_backend.mmi import fill
from synkern.kernels.triton_backend.plan import plan


def kernel_sums(segments, names, path, *, capacity=4096, **options):
    """Sums of the trusted pairs, the list of the others and its length."""
    marked, count = torch.full((capacity,), -1), torch.zeros(1, dtype=torch.int64)
    out = fill(path, *segments, marked, count, plan=plan(names), **options)
    return out, marked, int(count)
