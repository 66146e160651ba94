"""The model of a study, with its own and with random weights; and its failures, explained."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from synkern import models, recording
from synkern._faces import Later
from synkern.models.options import OF_ATTENTION
from synkern.study.errors import MissingPackageError, StudyError
from synkern.study.room import Model, cache_bytes_of
from synkern.study.settings import CONTROL, Settings

if TYPE_CHECKING:
    import torch

    from synkern.models import upstream, upstream_torch
    from synkern.recording import answers
else:
    torch = Later("torch")
    upstream = Later("synkern.models.upstream")
    upstream_torch = Later("synkern.models.upstream_torch")
    answers = Later("synkern.recording.answers")


FEWEST_LAYERS = 3
"""A parabola over depth needs as many."""


class Models:
    """The model of a study with its own and with random weights, loaded when first asked for."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        settings = self._settings
        model, tokenizer = self._as_given()
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
        if config.num_hidden_layers < FEWEST_LAYERS:
            raise StudyError(
                f"model {settings.model!r} has {config.num_hidden_layers} layer(s); a profile over "
                f"depth needs at least {FEWEST_LAYERS}: choose a deeper model"
            )
        return model, tokenizer

    def _as_given(self) -> tuple[Any, Any]:
        settings = self._settings
        try:
            # Like our own bars: a log, which may be on a full disk, gets none.
            with _loading_bars(settings.progress and _is_terminal(sys.stderr)):
                model, tokenizer = models.load(
                    settings.model,
                    dtype=settings.dtype,
                    device=settings.device,
                    trust_remote_code=settings.trust_remote_code,
                )
            if (settings.nodes, settings.signal) in OF_ATTENTION:
                settings.say(f"signal {settings.signal!r} needs eager attention: it is used")
                model.set_attn_implementation("eager")
            return model, tokenizer
        except ImportError as error:
            raise MissingPackageError(
                f"model {settings.model!r} cannot be loaded: {_shortened(error)}"
            ) from error
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            raise StudyError(
                f"model {settings.model!r} cannot be loaded ({_shortened(error)}); give "
                "smollm2-135m, gemma3-270m, the folder of a transformers model, a GGUF file, or a "
                "name on the hub"
            ) from error

    def inspect(self) -> Model:
        """Return what decides how much a study takes: nodes, context, lengths of the prompts.

        Raises:
            StudyError: the model cannot be loaded, its nodes cannot be read, or too few layers have
                any.
        """
        settings = self._settings
        model, tokenizer = self._loaded
        with explained(settings):
            sites = models.find_sites(model, settings.nodes, settings.signal)
            nodes = models.nodes_of(sites)
            lengths = answers.prompt_lengths(tokenizer, [p.text for p in settings.asked])
        config = model.config.get_text_config(decoder=True)
        layers = len({node.layer for node in nodes})
        if layers < FEWEST_LAYERS:
            raise StudyError(
                f"model {settings.model!r} has {settings.words.many} in {layers} layer(s) only; a "
                f"profile over depth needs at least {FEWEST_LAYERS}: choose a deeper model, or "
                "other nodes"
            )
        # Other nodes than heads may be in fewer layers than have keys and values.
        cached = layers if settings.nodes == "heads" else config.num_hidden_layers
        return Model(
            nodes=len(nodes),
            layers=layers,
            context=upstream.context_length(model),
            cache_bytes=cache_bytes_of(config, cached, model.dtype.itemsize),
            prompt_tokens=lengths,
            parameters=sum(p.numel() for p in model.parameters()),
        )

    def get(self, weights: str) -> tuple[Any, Any]:
        """Return the model with `weights`, and the tokenizer.

        Raises:
            StudyError: the model cannot be loaded.
        """
        model, tokenizer = self._loaded
        if weights == CONTROL:
            model = models.randomly_initialised(model, self._settings.seed)
        return model, tokenizer


@contextmanager
def explained(
    settings: Settings, done: str = "recorded", fewer: str | None = None
) -> Iterator[None]:
    """Say of what a model or its tokenizer raises whose fault it is, and what would help.

    Args:
        settings: of the study.
        done: what is done with the model.
        fewer: what takes less memory beside a lower batch_size; of a recording by default.

    Raises:
        StudyError: in the place of what the model, its template or the lack of memory explains.
    """
    jinja2 = importlib.import_module("jinja2")
    less = fewer or (
        f"new_tokens (now {settings.new_tokens}), use fewer prompts, or leave the control out"
    )
    try:
        yield
    except (models.UnsupportedModelError, recording.RecordingError) as error:
        raise StudyError(f"model {settings.model!r} cannot be {done}: {error}") from error
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
        if not upstream_torch.is_out_of_memory(error):
            raise
        raise StudyError(
            f"model {settings.model!r} cannot be {done}: there is not enough memory "
            f"({_shortened(error)}); lower batch_size (now {settings.batch_size}) or {less}"
        ) from error


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
