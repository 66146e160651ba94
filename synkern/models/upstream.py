"""What synkern reads of other libraries beyond what they promise, in one place.

Names of arguments, fields and configuration entries, private attributes, the order in which things
are called: a library may change each of them in any release. Each has a test of its own in
tests/models/test_upstream.py, which says what has moved. What belongs to GGUF files alone is in
synkern/models/upstream_gguf.py.

Beside it lie what it reads of linear layers, in synkern/models/upstream_linears.py, and of torch
alone, in synkern/models/upstream_torch.py.

Files under kernels/ cannot import this one. What they read so (CuPy they use as documented):

- kernels/triton_backend/ahead.py, which compiles for GPUs that are not there: `arg_names` of a
  kernel, `triton.compiler.ASTSource` and its arguments, `triton.backends.compiler.GPUTarget`,
  `triton.knobs.nvidia.dump_ptxas_log` and `triton.knobs.compilation.always_compile`; of what is
  compiled `asm["ttir"]`, `asm["amdgcn"]` and `metadata.shared`, and the words of ptxas' log.

And synkern/study/stages/recording.py states `_attn_implementation` and `_commit_hash` of a
configuration and `is_quantized` of a model, and hides the progress bars of
`transformers.utils.logging`.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# --- transformers: the arguments of a call of the model ------------------------------------------

INPUT_IDS = "input_ids"
INPUT_EMBEDS = "inputs_embeds"
MASK = "attention_mask"
POSITIONS = "position_ids"
USE_CACHE = "use_cache"
LAST_LOGITS_ONLY = "logits_to_keep"
# Positions under the names they have or had; every one counts.
_POSITIONS = (POSITIONS, "cache_position")
# Given where several texts are packed into one row.
_PACKED = "cu_seq_lens_q"

# Entries with one value per token, and how `generate` makes that of a generated token: from the
# value of the token before.
EXTENDED_PER_TOKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "token_type_ids": lambda last: last,
    "mm_token_type_ids": torch.zeros_like,
    POSITIONS: lambda last: last + 1,
}

# --- transformers: settings of generate ----------------------------------------------------------

# Those under which calls and generated tokens do not correspond, with the values that leave them
# off.
REFUSED_SETTINGS: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "assistant_model": (None,),
    "assistant_early_exit": (None,),
    "prompt_lookup_num_tokens": (None, 0),
    "prefill_chunk_size": (None,),
    USE_CACHE: (None, True),
    "guidance_scale": (None, 1, 1.0),
    "penalty_alpha": (None, 0, 0.0),
    "custom_generate": (None,),
}
CACHE_KIND = "cache_implementation"
PACKING_CACHE = "paged"
# Those that end single texts of a batch, out of sight of the calls.
ENDING_SETTINGS = ("stop_strings", "stopping_criteria")

# --- transformers: what from_pretrained says of a checkpoint when asked --------------------------

MISSING_WEIGHTS = "missing_keys"
UNUSED_WEIGHTS = "unexpected_keys"
WEIGHTS_OF_OTHER_SHAPE = "mismatched_keys"


def wants_to_run_code(error: Exception) -> bool:
    """Whether from_pretrained refused a model as code that comes with it may not run."""
    return isinstance(error, ValueError) and "trust_remote_code" in str(error)


def import_llm(name: str) -> Any:
    """Import a package that only language models need.

    Raises:
        ImportError: it is missing; the message names what to install.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"synkern's language-model part needs the package {name.partition('.')[0]!r}, which "
            f'cannot be imported ({error}); install it with: pip install "synkern[llm]"'
        ) from error


@dataclass(frozen=True)
class ModelCall:
    """The arguments of one call of a causal language model, as far as they tell what it is."""

    ids: Tensor | None
    embeds: Tensor | None
    mask: Any
    positions: tuple[Tensor, ...]
    use_cache: bool | None
    packed: bool
    caches: tuple[Any, ...]
    """Distinct objects that keep what the model has read, whatever their arguments are called."""
    strangers: tuple[str, ...]
    """Arguments of kinds that are neither data nor such a cache, as "name (type)"."""


def forward_arguments(model: Any) -> dict[str, inspect.Parameter]:
    """The parameters of the model's own forward, without self."""
    parameters = dict(inspect.signature(type(model).forward).parameters)
    parameters.pop("self", None)
    return parameters


def read_call(names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]) -> ModelCall:
    """Read one call of a model whose forward takes arguments of these `names`, in their order.

    Caches are told by what they are: their argument has been renamed before.
    """
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    others = {name: v for name, v in given.items() if name not in (INPUT_IDS, INPUT_EMBEDS, MASK)}
    positions = (given.get(name) for name in _POSITIONS)
    return ModelCall(
        ids=given.get(INPUT_IDS),
        embeds=given.get(INPUT_EMBEDS),
        mask=given.get(MASK),
        positions=tuple(p for p in positions if isinstance(p, Tensor)),
        use_cache=given.get(USE_CACHE),
        packed=_PACKED in given,
        caches=caches_in((*args, *kwargs.values())),
        strangers=tuple(f"{n} ({type(v).__name__})" for n, v in others.items() if _is_strange(v)),
    )


def caches_in(values: Any) -> tuple[Any, ...]:
    """The distinct caches among values, also inside containers and the outputs of models."""
    found: dict[int, Any] = {}

    def look(value: Any) -> None:
        if _is_cache(value):
            found[id(value)] = value
        elif isinstance(value, Mapping):
            look(tuple(value.values()))
        elif isinstance(value, list | tuple):
            for item in value:
                look(item)

    look(values)
    return tuple(found.values())


def _is_cache(value: Any) -> bool:
    """Whether this keeps what a model has read: transformers' own, or one that counts tokens."""
    if isinstance(value, Tensor | nn.Module | type):
        return False
    cache = import_llm("transformers").Cache
    return isinstance(value, cache) or callable(getattr(value, "get_seq_length", None))


def cached_tokens(cache: Any) -> int:
    """The number of tokens that a cache holds."""
    return int(cache.get_seq_length())


def _is_strange(value: Any) -> bool:
    """Whether this may be a cache of a kind unknown here: an object, or tensors layer by layer."""
    if value is None or isinstance(value, Tensor | bool | int | float | str | bytes):
        return False
    if isinstance(value, torch.dtype | torch.device):
        return False
    if isinstance(value, list | tuple | Mapping):
        items = value.values() if isinstance(value, Mapping) else value
        return any(isinstance(v, list | tuple | Mapping) or _is_strange(v) for v in items)
    return not _is_cache(value)


def keeps_a_cache(model: Any, call: ModelCall) -> bool:
    """Whether the model keeps what it reads in this call, for the next."""
    if call.use_cache is None:
        return bool(getattr(text_config(model), USE_CACHE, True))
    return bool(call.use_cache)


def generated_sequences(output: Any) -> Tensor:
    """The token ids that generate returned, whatever else it was asked to return."""
    sequences: Tensor = getattr(output, "sequences", output)
    return sequences


# --- transformers: configuration -----------------------------------------------------------------


def text_config(model: Any) -> Any:
    """The configuration of the part of a model that writes text."""
    return model.config.get_text_config(decoder=True)


def special_tokens(model: Any) -> set[int]:
    """Token ids to which a configuration gives a meaning, such as "an image here"."""
    special: set[int] = set()
    for config in (model.config, text_config(model)):
        for name, value in config.to_dict().items():
            if name.endswith(("_token_id", "_token_index")):
                special.update(value if isinstance(value, list) else [value])
    return special


_PLACEHOLDER = re.compile(r"(image|video|audio|speech)_token_(?:id|index)$")
# What the arguments that carry each kind of thing have in their names.
_CARRIERS = {
    "image": ("pixel", "image"),
    "video": ("pixel", "video"),
    "audio": ("audio", "input_features", "input_values"),
    "speech": ("speech", "audio", "input_features", "input_values"),
}


@dataclass(frozen=True)
class Placeholder:
    """A token in whose place a model reads something that is no text."""

    name: str
    """Name in the configuration, such as "image_token_id"."""
    token: int
    kind: str

    def is_carried_by(self, argument: str) -> bool:
        """Whether an argument of this name brings what stands in the token's place."""
        return any(part in argument for part in _CARRIERS[self.kind])


def placeholders(model: Any) -> tuple[Placeholder, ...]:
    """The tokens in whose place this model reads images, videos or sounds."""
    found = []
    for name, value in model.config.to_dict().items():
        kind = _PLACEHOLDER.match(name)
        if kind and isinstance(value, int):
            found.append(Placeholder(name, value, kind[1]))
    return tuple(found)


def carries_no_tokens(argument: str) -> bool:
    """Whether an argument brings images, sounds and the like, which have axes of their own."""
    return any(part in argument for parts in _CARRIERS.values() for part in parts)


def places_images_itself(model: Any) -> bool:
    """Whether the positions of tokens depend on the images, and the model works them out."""
    return any(hasattr(module, "get_rope_index") for module in model.modules())


def context_length(model: Any) -> int | None:
    """The number of tokens that a model was made for; None where its configuration says none."""
    config = text_config(model)
    length = getattr(config, "max_position_embeddings", None)
    if not isinstance(length, int) or length <= 0:
        return None
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if isinstance(rope, Mapping):
        # Stretched positions: some configurations state the length before, some that after.
        before, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
        if isinstance(factor, int | float) and factor > 1:
            length = max(length, int((before or length) * factor))
    return length


def has_learned_positions(model: Any) -> bool:
    """Whether positions are rows of a table, which ends with the context.

    Told by an embedding, beside that of the tokens, of as many rows as the context has tokens; some
    tables begin with a few rows more.
    """
    length, tokens = context_length(model), _token_embedding(model)
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    return length is not None and any(
        isinstance(module, nn.Embedding)
        and module is not tokens
        and 0 <= module.num_embeddings - length <= 2
        for module in decoder.modules()
    )


def vocabulary_size(model: Any) -> int:
    """The number of token ids that a model can read."""
    table = getattr(_token_embedding(model), "weight", None)
    if isinstance(table, Tensor) and table.dim() == 2:
        return table.shape[0]
    return int(text_config(model).vocab_size)


def _token_embedding(model: Any) -> Any:
    """The module that turns token ids into vectors; None where a model does not tell."""
    try:
        return model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None


# --- transformers: the attention interface -------------------------------------------------------


@contextmanager
def observed_attention(
    seen: Callable[[nn.Module, Any, Any], None],
    asked: Callable[[nn.Module, Sequence[Any]], None] | None = None,
) -> Iterator[None]:
    """Call `seen(module, output, weights)` after every call through transformers' interface.

    The weights (batch, heads, queries, keys) are there where the implementation gives them.

    Models ask the interface for a function at every call and hand it their own eager one as a
    fall-back, so this sees every implementation.

    Args:
        seen: is called after every call.
        asked: is called before it with the module and what it hands to the function: queries, keys
            and values, (batch, heads, positions, width) each.
    """
    interface = import_llm("transformers.modeling_utils").AttentionInterface
    get_interface = interface.get_interface

    def observed(self: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        attend = get_interface(self, *args, **kwargs)

        def attend_and_tell(module: nn.Module, *inputs: Any, **options: Any) -> Any:
            if asked is not None:
                asked(module, (*inputs, *(options[n] for n in _ATTENDED if n in options))[:3])
            result = attend(module, *inputs, **options)
            seen(module, *result[:2])
            return result

        return attend_and_tell

    interface.get_interface = observed
    try:
        yield
    finally:
        interface.get_interface = get_interface


# The first arguments of an attention function behind the module, under their names.
_ATTENDED = ("query", "key", "value")


def layer_index(attention: nn.Module) -> int | None:
    """The layer that an attention module says it belongs to, if it does."""
    index = getattr(attention, "layer_idx", None)
    return index if isinstance(index, int) else None


# --- transformers: experts -----------------------------------------------------------------------


def experts_in(module: nn.Module) -> int | None:
    """How many experts a module holds: as it says, or as many as it has matrices in one weight."""
    stacks = [len(p) for p in module.parameters() if p.dim() == 3]
    count = getattr(module, "num_experts", max(stacks, default=None))
    return count if isinstance(count, int) else None


def experts_forward(module: nn.Module) -> Callable[..., Tensor]:
    """The forward that runs experts one by one, kept beside the one that a configuration chose.

    If there is one; and one put on the module itself, as by accelerate to fetch weights, stays.
    """
    plain = getattr(type(module).forward, "__wrapped__", None)
    if plain is None or "forward" in vars(module):
        return module.forward
    return functools.partial(plain, module)


# --- accelerate and peft -------------------------------------------------------------------------


def inputs_device(model: Any) -> torch.device:
    """The device on which a model expects its inputs.

    accelerate leaves the weights that it offloads on the device "meta" and says in hooks of its own
    where they are put to compute.
    """
    for module in (model, _token_embedding(model), *model.modules()):
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):
            device = getattr(each, "execution_device", None)
            if device is not None and not isinstance(device, Mapping):
                found = torch.device(device)
                if found.type != "meta":
                    return found
    devices = (tensor.device for tensor in (*model.parameters(), *model.buffers()))
    return next((device for device in devices if device.type != "meta"), torch.device("cpu"))


def soft_prompt(model: nn.Module) -> str | None:
    """The method by which an adapter of peft prepends vectors to every text; None if none does."""
    for module in model.modules():
        configs, active = getattr(module, "peft_config", None), getattr(module, "active_adapter", 0)
        if isinstance(configs, Mapping) and isinstance(active, str) and active in configs:
            config = configs[active]
            if getattr(config, "is_prompt_learning", False):
                kind = config.peft_type
                return str(getattr(kind, "value", kind))
    return None


# --- transformers: models on several devices -----------------------------------------------------


def is_split_over_devices(model: nn.Module) -> bool:
    """Whether single layers are split over devices, so that a module sees some of its nodes only.

    What places whole layers, or gathers a layer before it runs (as FSDP does), splits none.
    """
    plans = (model, getattr(getattr(model, "config", None), "distributed_config", None))
    return any((getattr(p, name, None) or 1) > 1 for p in plans for name in ("tp_size", "ep_size"))
