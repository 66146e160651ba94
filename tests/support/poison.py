"""Memory that shows when it was never written."""

import torch


def poison_memory(monkeypatch):
    """From now on `torch.empty` is full of NaN, or of the most negative whole numbers."""
    empty = torch.empty

    def poisoned(*shape, **options):
        memory = empty(*shape, **options)
        if memory.dtype.is_floating_point:
            return memory.fill_(torch.nan)
        return memory.fill_(0 if memory.dtype == torch.uint8 else torch.iinfo(memory.dtype).min)

    monkeypatch.setattr(torch, "empty", poisoned)
