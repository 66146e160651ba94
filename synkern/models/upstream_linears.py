"""What synkern reads of linear layers of torch, transformers and peft beyond what they promise.

As in `synkern.models.upstream`, each has a test of its own in tests/models/test_upstream.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from synkern.models.upstream import import_llm


def plain_linear_weight(module: nn.Module) -> Tensor | None:
    """The weight (outputs, inputs) of a linear layer that multiplies by it and nothing else.

    None for all other modules, as those of quantised models, which may say to be linear layers.
    """
    # A plain parameter: a tensor of a class of its own may hold something else than it shows.
    weight = getattr(module, "weight", None)
    if type(weight) is not nn.Parameter or not weight.is_floating_point() or weight.dim() != 2:
        return None
    forward = getattr(type(module), "forward", None)
    if forward is nn.Linear.forward:
        return weight
    # GPT-2's, which keeps its weight the other way round.
    return weight.T if forward is import_llm("transformers.pytorch_utils").Conv1D.forward else None


def inputs_first(module: nn.Module, name: str) -> bool | None:
    """Whether the inputs are the axis before the last of a weight, as of GPT-2's layers.

    Of the weights of a layer's experts, which are stacks of matrices, the module says it.

    Args:
        module: a linear layer, or the experts of a layer.
        name: of the weight in it.

    Returns:
        None if it is not known.
    """
    weight = getattr(module, name)
    if weight.dim() == 3:
        told = getattr(module, "is_transposed", None)
        return told if isinstance(told, bool) else None
    plain = plain_linear_weight(module)
    return None if plain is None or name != "weight" else plain is not weight


def adapter_around(model: nn.Module, linear: nn.Module) -> nn.Module | None:
    """The adapter of peft around a linear layer, if what it adds is not in the layer's weight."""
    for module in model.modules():
        if module.__dict__.get("_modules", {}).get("base_layer") is linear:
            idle = getattr(module, "merged", False) or getattr(module, "disable_adapters", False)
            return None if idle else module
    return None


def adapter_in(module: nn.Module) -> nn.Module | None:
    """An adapter of peft in a module, itself included, that adds to what a layer's weight makes."""
    for inner in module.modules():
        base = inner.__dict__.get("_modules", {}).get("base_layer")
        if base is not None and adapter_around(inner, base) is not None:
            return inner
    return None


def is_lora(module: nn.Module) -> bool:
    """Whether a module is an adapter of peft's LoRA that adds to what a layer's weight makes."""
    inside = module.__dict__.get("_modules", {})
    idle = getattr(module, "merged", False) or getattr(module, "disable_adapters", False)
    return {"base_layer", "lora_A", "lora_B"} <= inside.keys() and not idle


def lora_factors(adapter: Any) -> tuple[nn.Linear, nn.Linear]:
    """The factors A and B of an adapter of peft's LoRA, which adds B A x times a number.

    Raises:
        ValueError: it adds something else; the message says what.
    """
    active = [name for name in adapter.active_adapters if name in adapter.lora_A]
    if len(active) != 1:
        raise ValueError(f"has {len(active)} active adapters ({', '.join(active)}) and not one")
    (name,) = active
    variant = adapter.lora_variant.get(name)
    if variant is not None:
        kind = getattr(variant, "__name__", type(variant).__name__)
        raise ValueError(f"is a variant of LoRA ({kind})")
    factors = adapter.lora_A[name], adapter.lora_B[name]
    if any(type(f) is not nn.Linear or plain_linear_weight(f) is None for f in factors):
        raise ValueError("has factors that are no plain linear layers")
    return factors


@contextmanager
def lora_idle(adapters: Iterable[Any]) -> Iterator[None]:
    """Let adapters of LoRA add nothing in the `with` block; what trains of them is left."""
    # Not through peft's own functions, which freeze factors and make all of them train afterwards.
    idle = list(adapters)
    for adapter in idle:
        adapter._disable_adapters = True
    try:
        yield
    finally:
        for adapter in idle:
            adapter._disable_adapters = False


def why_not_editable(parameter: nn.Parameter) -> str | None:
    """Why a change in place of a parameter would be lost, impossible or meaningless; else None."""
    # The class is that of what a parameter was made of, where that has one of its own.
    if type(parameter) is not nn.Parameter:
        return (
            f"is a {type(parameter).__name__}, as of a sharded or quantised model, and cannot be "
            "changed in part; load the model whole, on one device, without quantization_config"
        )
    if parameter.is_meta:
        return (
            "is offloaded, so that a change would be lost; load the model where it fits into memory"
        )
    if not parameter.is_floating_point() or parameter.dtype.itemsize < 2:
        return (
            f"holds {str(parameter.dtype).removeprefix('torch.')}, as of a quantised model, whose "
            "numbers mean nothing alone; load the model without quantization_config"
        )
    if parameter.is_inference():
        return (
            "was made in torch.inference_mode() and cannot be changed outside of it; load the "
            "model outside of it"
        )
    return None
