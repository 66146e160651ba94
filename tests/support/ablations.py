"""What a model says, to be compared with what it says when something of it was changed."""

import torch

from support.tiny_models import prompts

IDS = prompts(3, 7)


@torch.no_grad()
def logits(model, ids=IDS):
    return model(ids).logits


def close(found, expected, within=1e-6):
    """Numbers agree to this part of the largest: float32 has 1e-7."""
    off = float((found - expected).abs().max())
    assert off <= within * float(expected.abs().max()), off
