"""Sites of the neurons of MLP blocks: what enters each block's down projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synkern.models.blocks import Block, find_blocks
from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.signals import Signal
from synkern.models.sites import SideBySideSite

NEURON_SIGNALS = {
    "activation": Signal("signed value of each neuron, which enters the down projection"),
}
"""What can be read of a neuron."""


@dataclass(frozen=True, eq=False)
class NeuronSite(SideBySideSite):
    """The neurons of one block: values (trials, positions, neurons), written as width 1."""

    def read(self, values: Tensor) -> Tensor:
        """The values themselves: (..., neurons) of any float type to float32."""
        return values.detach().float()


def find_neurons(model: nn.Module, signal: str = "activation") -> tuple[NeuronSite, ...]:
    """Find the sites of all neurons of the MLP blocks: the down projections, in layer order.

    The down projection is the last linear layer of a block: its output is that of the block, bit
    for bit. What enters it are the neurons: behind the activation function, the gate, and any norm.

    Runs two forward passes of a few tokens, as `synkern.models.heads.find_heads` does.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `NEURON_SIGNALS`.

    Raises:
        UnsupportedModelError: a block has no one down projection, as a mixture of experts has none;
            or the blocks cannot be found (see `synkern.models.blocks.find_mlps`).
    """
    language_model = causal_lm(model)
    names = {module: name for name, module in language_model.named_modules()}
    sites = []
    for block in find_blocks(language_model):
        if block.of_experts or block.down is None:
            raise _no_neurons(language_model, block)
        down, count = block.down
        sites.append(NeuronSite("neurons", block.layer.index, names[down], down, count, 1))
    return tuple(sites)


def _no_neurons(model: Any, block: Block) -> UnsupportedModelError:
    what = f"model: {type(model).__name__}: {block.name} ({type(block.module).__name__})"
    if block.of_experts:
        return UnsupportedModelError(
            f"{what} is a mixture of experts: every expert has neurons of its own and no one down "
            "projection takes them all. Record nodes='experts' instead, or the whole block with "
            "nodes='mlps'."
        )
    return UnsupportedModelError(
        f"{what} has no down projection, a linear layer that takes (texts, tokens, neurons) once "
        "and returns what the block returns, bit for bit: it scales or norms that, or its output "
        f"is 0. Record the whole block with nodes='mlps'. {ANY_SERIES}"
    )
