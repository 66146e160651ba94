"""The first stage of a study: recording the heads of a model while it answers the prompts.

Like the other stages it takes settings and what the stage before it left, and returns arrays by
name together with facts about how they came about. Names of arrays begin with the weights they
belong to.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from synkern.models import UnsupportedModelError, find_sites, nodes_of
from synkern.models.upstream import context_length, is_out_of_memory
from synkern.recording import RecordingError
from synkern.study.folder import MissingPackageError, StudyError
from synkern.study.room import Model, cache_bytes_of
from synkern.study.settings import Settings

TRAINED = "trained"
CONTROL = "random"

Arrays = dict[str, NDArray[Any]]
Facts = dict[str, Any]

# Elements of each parameter that enter the fingerprint of a model's weights.
_SAMPLED = 4096


class Models:
    """The model of a study with its own and with random weights, loaded when first asked for."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        models = importlib.import_module("synkern.models.language_model")
        settings = self._settings
        try:
            # Like our own bars: a log, which may be on a full disk, gets none.
            with _loading_bars(settings.progress and _is_terminal(sys.stderr)):
                loaded: tuple[Any, Any] = models.load(
                    settings.model,
                    dtype=settings.dtype,
                    device=settings.device,
                    trust_remote_code=settings.trust_remote_code,
                )
        except ImportError as error:
            raise MissingPackageError(
                f"model {settings.model!r} cannot be loaded: {_shortened(error)}"
            ) from error
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise StudyError(
                f"model {settings.model!r} cannot be loaded ({_shortened(error)}); give "
                "smollm2-135m, the folder of a transformers model, or a name on the hub"
            ) from error
        model, tokenizer = loaded
        if tokenizer.pad_token_id is None:
            raise StudyError(
                f"the tokenizer of model {settings.model!r} has neither a padding token nor an end "
                "token, so prompts of different lengths cannot be answered together; set its "
                "pad_token and save it"
            )
        if settings.control and getattr(model, "is_quantized", False):
            raise StudyError(
                f"model {settings.model!r} is quantised, and quantised weights cannot be drawn at "
                "random for the control; leave it out with --no-control (control=False), or give "
                "the model without quantisation"
            )
        config = model.config.get_text_config(decoder=True)
        if config.num_hidden_layers < 3:
            raise StudyError(
                f"model {settings.model!r} has {config.num_hidden_layers} layer(s); a profile over "
                "depth needs at least 3: choose a deeper model"
            )
        return loaded

    def inspect(self) -> Model:
        """What decides how much a study takes: its heads, its context, the lengths of the prompts.

        Raises:
            StudyError: the model cannot be loaded, or its heads cannot be read.
        """
        settings = self._settings
        model, tokenizer = self._loaded
        generation = importlib.import_module("synkern.recording.answers")
        with _explained(settings):
            heads = nodes_of(find_sites(model, "heads"))
            lengths = generation.prompt_lengths(tokenizer, [p.text for p in settings.prompts])
        config = model.config.get_text_config(decoder=True)
        layers = len({head.layer for head in heads})
        return Model(
            nodes=len(heads),
            layers=layers,
            context=context_length(model),
            cache_bytes=cache_bytes_of(config, layers, model.dtype.itemsize),
            prompt_tokens=lengths,
            parameters=sum(p.numel() for p in model.parameters()),
        )

    def get(self, weights: str) -> tuple[Any, Any]:
        """The model with `weights`, and the tokenizer."""
        model, tokenizer = self._loaded
        if weights == CONTROL:
            models = importlib.import_module("synkern.models.language_model")
            model = models.randomly_initialised(model, self._settings.seed)
        return model, tokenizer


def _shortened(error: Exception) -> str:
    """What went wrong, but not every class of model that would have been right."""
    return textwrap.shorten(str(error), 300, placeholder=" ...")


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


@contextmanager
def _loading_bars(shown: bool) -> Iterator[None]:
    """Leave the progress bars of transformers as they are, or hide them for a while."""
    logging = importlib.import_module("transformers.utils.logging")
    if shown or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """Say of what a model or its tokenizer raises whose fault it is, and what would help."""
    jinja2 = importlib.import_module("jinja2")
    try:
        yield
    except (UnsupportedModelError, RecordingError) as error:
        raise StudyError(f"model {settings.model!r} cannot be recorded: {error}") from error
    except jinja2.TemplateError as error:
        raise StudyError(
            f"the chat template of model {settings.model!r} cannot be used with one turn of "
            f"the user ({type(error).__name__}: {error}); correct or remove it in the model's "
            "folder"
        ) from error
    except torch.OutOfMemoryError as error:
        raise StudyError(
            f"batch_size = {settings.batch_size} does not fit on {settings.device!r}; lower it"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise StudyError(
            f"model {settings.model!r} cannot be recorded: there is not enough memory "
            f"({_shortened(error)}); lower batch_size (now {settings.batch_size}) or new_tokens "
            f"(now {settings.new_tokens}), use fewer prompts, or leave the control out"
        ) from error


def record_heads(
    settings: Settings,
    models: Models,
    weights: str,
    batch_done: Callable[[NDArray[Any], float], None],
) -> tuple[Arrays, Facts]:
    """Let the model answer the prompts and record its heads.

    Args:
        settings: of the study.
        models: of the study.
        weights: whose heads.
        batch_done: called with the series of every batch, (trials, time, nodes), and the seconds
            since the model began to answer.

    Raises:
        StudyError: the model cannot be loaded, recorded, or held in memory, or its chat template
            cannot be used.
    """
    generation = importlib.import_module("synkern.recording.answers")
    started = time.perf_counter()
    with _explained(settings):
        model, tokenizer = models.get(weights)
    loaded = time.perf_counter()
    total = len(settings.prompts) * settings.new_tokens
    with settings.bar(f"{weights}: answering", total, "token") as bar, _explained(settings):
        answers = generation.record_answers(
            model,
            tokenizer,
            [prompt.text for prompt in settings.prompts],
            new_tokens=settings.new_tokens,
            batch_size=settings.batch_size,
            progress=bar.update,
            batch_done=lambda series: batch_done(series, time.perf_counter() - loaded),
        )
    finished = time.perf_counter()
    template = getattr(tokenizer, "chat_template", None)
    facts: Facts = {
        "seconds": {
            "loading": round(loaded - started, 3),
            "answering": round(finished - loaded, 3),
        },
        "model": _model_facts(model),
        "layers": len(np.unique(answers.layer)),
        "chat_template": None if template is None else _sha256(str(template).encode()),
        "answers_ended_early": int((answers.natural_end != generation.NEVER).sum()),
    }
    arrays: Arrays = {
        "norms": answers.series,
        "layer": answers.layer,
        "head": answers.index,
        "tokens": answers.tokens,
        "natural_end": answers.natural_end,
        "inputs": np.array(answers.inputs),
        "answers": np.array(answers.texts),
    }
    return named(weights, arrays), facts


def named(weights: str, arrays: Arrays) -> Arrays:
    """Arrays under the names that tell whose they are."""
    return {f"{weights}_{name}": array for name, array in arrays.items()}


def _model_facts(model: Any) -> Facts:
    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if name not in ("_name_or_path", "transformers_version")
    }
    return {
        "class": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "attention": getattr(model.config, "_attn_implementation", None),
        "hub_commit": getattr(model.config, "_commit_hash", None),
        "config_sha256": _sha256(json.dumps(config, sort_keys=True, default=str).encode()),
        "weights_sha256_of_sample": _weights_fingerprint(model),
    }


def _weights_fingerprint(model: Any) -> str | None:
    """SHA-256 over name, shape and some evenly spaced elements of every parameter.

    A sample, because hashing all of a large model takes longer than recording it: a change of a few
    weights between the sampled ones does not show. None for weights that are not in memory.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return None
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        values = parameter.detach().reshape(-1)
        values = values[:: max(1, len(values) // _SAMPLED)]
        digest.update(values.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
