"""Heads of a model with adapters of peft's LoRA: what of the factors belongs to one head."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from synkern.models.language_model import UnsupportedModelError
from synkern.models.nodes import Node
from synkern.models.slices import Slice, Where
from synkern.models.upstream_linears import inputs_first, is_lora, lora_factors


def lora_layers(model: nn.Module) -> dict[nn.Module, nn.Module]:
    """By linear layer, the adapter of LoRA around it that adds to what it makes."""
    return {m.get_submodule("base_layer"): m for m in model.modules() if is_lora(m)}


def in_factors(
    model: nn.Module,
    adapters: Mapping[nn.Module, nn.Module],
    slices: Mapping[Node, Sequence[Slice]],
) -> dict[Node, list[Slice]]:
    """What trains of adapters in the place of slices of the weights that they add to.

    An adapter adds B A to a weight: rows of it are rows of B, and columns of it columns of A. The
    other factor is fixed, and must not be 0: where it is, it is drawn, and the factor that trains
    set to 0, so that their product stays 0.

    Args:
        model: the causal language model itself.
        adapters: of it, see `lora_layers`.
        slices: of the weights of nodes.

    Returns:
        Slices of factors, by node.

    Raises:
        UnsupportedModelError: there is no adapter around a weight, or none that adds B A.
    """
    names = {module: name for name, module in model.named_modules()}
    found: dict[Node, list[Slice]] = {}
    factors: dict[str, tuple[nn.Linear, nn.Linear]] = {}
    for node, own in slices.items():
        found[node] = []
        for part in own:
            linear = model.get_submodule(part.name.rpartition(".")[0])
            what = f"model: {type(model).__name__}: {part.name}, part of which belongs to {node},"
            if linear not in adapters:
                raise UnsupportedModelError(
                    f"{what} has no adapter, though others have; give its layer one "
                    "(target_modules), or merge the adapters (merge_and_unload())"
                )
            try:
                a, b = lora_factors(adapters[linear])
            except ValueError as error:
                raise UnsupportedModelError(
                    f"{what} has an adapter that {error}, so that what belongs to one node cannot "
                    "be told; use one plain LoRA, or merge it (merge_and_unload())"
                ) from None
            of_rows, where = _in_product(linear, part.where)
            trains, fixed = (b, a) if of_rows else (a, b)
            factors[names[fixed]] = trains, fixed
            name = f"{names[trains]}.weight"
            found[node].append(Slice(name, trains.get_parameter("weight"), where, part.role))
    # Last, as nothing is refused any more.
    for name, (trains, fixed) in factors.items():
        if not bool(fixed.weight.any()):
            _draw(name, trains, fixed)
    return found


def _in_product(linear: Any, where: Where) -> tuple[bool, Where]:
    """Whether an index into a layer's weight takes outputs, and as an index (outputs, inputs)."""
    where = where[::-1] if inputs_first(linear, "weight") else where
    return where[1] == slice(None), where


@torch.no_grad()
def _draw(name: str, trains: nn.Linear, fixed: nn.Linear) -> None:
    """Give the factor that is fixed numbers as a linear layer begins with, and the other 0."""
    # Of torch's seed and the layer alone: the same whichever nodes are chosen, and no number of
    # the generator is used up, so that what is drawn later is the same too.
    seed = (torch.initial_seed() + zlib.crc32(name.encode())) % 2**63
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(fixed.weight.shape, generator=generator)
    trains.weight.zero_()
    fixed.weight.copy_((2 * numbers - 1) / math.sqrt(fixed.in_features))
