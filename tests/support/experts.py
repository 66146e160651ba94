"""What sites of experts deliver in one pass of a tiny model."""

import contextlib

import torch

from support.tiny_models import prompts

IDS = prompts(3, 7)

# A product of n terms in float32 is off by up to n * 2**-24 of the sum of their sizes, which for
# random terms is about sqrt(n) times the sum itself; the widths of hidden and inner states are
# n = 48 + 64 at most.
CLOSE = {"rtol": 112**1.5 * 2**-24, "atol": 1e-6}


def run(model, ids=IDS):
    with torch.no_grad():
        return model(ids)


def read(model, sites):
    """What the sites deliver in one pass, read."""
    values = {}
    with contextlib.ExitStack() as stack:
        for site in sites:
            stack.enter_context(
                site.watch(lambda given, layer=site.layer: values.update({layer: given}))
            )
        run(model)
    return [(site.read(values[site.layer]), site.routed(values[site.layer])) for site in sites]
