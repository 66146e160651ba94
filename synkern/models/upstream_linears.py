"""What synkern reads of linear layers of torch, transformers and peft beyond what they promise.

As in `synkern.models.upstream`, each has a test of its own in tests/models/test_upstream.py.
"""

from __future__ import annotations

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
