"""Whether a model, a machine and a disk have room for a study, asked before it begins.

A text that the model was not made for, or memory that a machine does not have, would otherwise be
found out after hours, by the end of the process, or not at all.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern import _memory
from synkern._faces import Later
from synkern.analysis.scores import RANKINGS
from synkern.study.errors import ArgumentError, StudyError
from synkern.study.numerals import size
from synkern.study.settings import AVERAGED, Settings

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

# The least that a study of any model keeps of a generated token: its id, and a norm for each head
# of a model with three layers.
_LEAST_PER_TOKEN = 8 + 3 * 4
# Of a bootstrap draw: how often each prompt counts, as an integer and as a float, and ...
_PER_PROMPT_OF_A_DRAW = 16
# ... the mean of each layer by each ranking and by synergy, raw, in excess and unrelated.
_PROFILES = len(RANKINGS) + 3
# float64 matrices of the nodes that each prompt has at the height of an analysis: two atoms as they
# come, and half of each twice, as pairs are kept, with what is valid and in excess; and matrices of
# all prompts together: means, p, q, z, tallies, temporaries.
_MATRICES_PER_PROMPT = 5
_MATRICES = 24
# Copies of the recorded series, float32, that are alive at once: batches and whole, and as float64.
_COPIES_OF_SERIES = 4
# Figures and page.
_REPORT_BYTES = 8e6
_FEWER = "use fewer prompts (max_prompts)"


@dataclass(frozen=True)
class Model:
    """What of a model decides how much a study of it takes.

    Attributes:
        nodes: those that are studied.
        layers: layers that have any.
        context: tokens that it can take, prompt and answer together; None where it has no limit.
        cache_bytes: of the keys and values of one token in one text.
        prompt_tokens: length of every prompt inside the chat template, by prompt.
        parameters: its weights.
    """

    nodes: int
    layers: int
    context: int | None
    cache_bytes: int
    prompt_tokens: tuple[int, ...]
    parameters: int


def check_arguments(settings: Settings) -> None:
    """Refuse what no model could be studied with, before anything is loaded.

    Raises:
        ArgumentError: more tokens, or more bootstrap draws, than memory.
    """
    texts = len(settings.asked)
    free = _memory.available()
    for needed, what, remedy in (
        (
            texts * settings.new_tokens * _LEAST_PER_TOKEN,
            f"new_tokens = {settings.new_tokens} for each of {texts} prompts",
            f"lower new_tokens, or {_FEWER}",
        ),
        (
            settings.bootstrap * (texts * _PER_PROMPT_OF_A_DRAW + 3 * 8 * _PROFILES),
            f"bootstrap = {settings.bootstrap} with {texts} prompts",
            "lower bootstrap",
        ),
    ):
        if free is not None and needed > free:
            raise ArgumentError(
                f"{what} takes at least {size(needed)} of memory, and "
                f"{size(free)} are available; {remedy}"
            )


def check_context(settings: Settings, model: Model) -> None:
    """Refuse texts that are longer than the model was made for.

    Raises:
        StudyError: a prompt and its answer have more tokens than the model's context.
    """
    longest = int(np.argmax(model.prompt_tokens))
    prompt = model.prompt_tokens[longest]
    if model.context is None or prompt + settings.new_tokens <= model.context:
        return
    room = model.context - prompt
    lower = f"lower new_tokens to {room} or less, or " if room > settings.tau else ""
    raise StudyError(
        f"prompt {longest} has {prompt} tokens, so that with new_tokens = {settings.new_tokens} "
        f"its text has {prompt + settings.new_tokens}, and the context of model "
        f"{settings.model!r} is {model.context} tokens; {lower}shorten the prompt or leave it out"
    )


def check_recording(settings: Settings, model: Model) -> None:
    """Refuse a recording that does not fit into memory.

    Raises:
        StudyError: keys and values of a batch, or the series of all prompts, are too large.
    """
    batch = min(settings.batch_size, len(settings.asked))
    length = max(model.prompt_tokens) + settings.new_tokens
    # While a layer's cache grows by a token, old and new are both there.
    cache = batch * length * model.cache_bytes * (1 + 1 / max(1, model.layers))
    series = _COPIES_OF_SERIES * series_bytes(settings, model.nodes)
    if settings.averaged:  # only those of a batch are in memory, and then go to a file
        series = series * batch // len(settings.asked)
    on_gpu = settings.on_gpu
    if on_gpu:
        _refuse_without(
            _memory.available(torch.empty(0, device=settings.device)),
            cache,
            f"the keys and values of batch_size = {batch} texts of {length} tokens",
            f"on {settings.device!r}",
            "lower batch_size or new_tokens",
        )
    _refuse_without(
        _memory.available(),
        series + (0 if on_gpu else cache),
        f"recording {model.nodes} {settings.words.many} at new_tokens = {settings.new_tokens} in "
        f"batches of batch_size = {batch} (texts of up to {length} tokens)",
        "of memory",
        f"lower batch_size or new_tokens, or {_FEWER}",
    )


def check_control(model: Model) -> None:
    """Refuse a control that does not fit into memory beside the model that is there already.

    Raises:
        StudyError: its weights are too large.
    """
    _refuse_without(
        _memory.available(),
        4 * model.parameters,  # drawn in float32, whatever they become
        f"the control, {model.parameters:,} random weights beside the trained ones,",
        "of memory",
        "leave it out with --no-control (control=False)",
    )


def check_analysis(settings: Settings, nodes: int, matrices: int, out: Path) -> None:
    """Refuse a study whose decompositions do not fit into memory, or its files on the disk.

    Args:
        settings: of the study.
        nodes: of the model.
        matrices: of all pairs that the study keeps for each model.
        out: folder of the study.

    Raises:
        StudyError: matrices of all pairs, or the arrays of the study, are too large.
    """
    texts, many = len(settings.asked), settings.words.many
    # Averaged by node there are no matrices, but of every prompt the means of each node.
    matrix = 8 * nodes * (texts if settings.averaged else nodes)
    by_prompt = _MATRICES_PER_PROMPT * texts if settings.average == "trials" else 0
    _refuse_without(
        _memory.available(),
        matrix * (_MATRICES + (0 if settings.averaged else by_prompt)),
        f"decomposing all pairs of {nodes} {many} for {texts} prompts",
        "of memory",
        _FEWER
        if settings.averaged
        else f"{_FEWER}, pool them (average = 'moments'), or average pairs by node (pairs = "
        f"{AVERAGED!r})",
    )
    kept = texts * settings.new_tokens * (4 * nodes + 8) + matrix * matrices
    # The old file stays until the new one is complete.
    _refuse_without(
        shutil.disk_usage(out).free,
        2 * kept * (2 if settings.control else 1) + _REPORT_BYTES,
        f"keeping a study of {nodes} {many} and {texts} prompts",
        f"on the disk of {str(out)!r}",
        "make room, or name a folder on another disk",
    )


def series_bytes(settings: Settings, nodes: int) -> int:
    """Bytes of the series of so many nodes of one model, float32."""
    return 4 * len(settings.asked) * settings.new_tokens * nodes


def cache_bytes_of(config: Any, layers: int, element: int) -> int:
    """Bytes of the keys and values of one token, at most: models may share or compress them."""
    heads = getattr(config, "num_attention_heads", 0)
    width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(1, heads)
    kept = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * layers * kept * width * element)


def _refuse_without(free: int | None, needed: float, what: str, where: str, remedy: str) -> None:
    if free is not None and needed > free:
        raise StudyError(
            f"{what} takes about {size(needed)} {where}, and {size(free)} are available; {remedy}"
        )
