"""Memory that shows when it was never written."""

import torch


def poison_memory(monkeypatch):
    """From now on `torch.empty` is full of NaN, or of the most negative int64."""
    empty = torch.empty

    def poisoned(*shape, **options):
        memory = empty(*shape, **options)
        if memory.dtype.is_floating_point:
            return memory.fill_(torch.nan)
        return memory.fill_(-(2**63)) if memory.dtype == torch.int64 else memory

    monkeypatch.setattr(torch, "empty", poisoned)
