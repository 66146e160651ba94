"""Texts as a model reads them, to see what its nodes do in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from synkern.interventions.calls import InterventionError, uncompiled
from synkern.models import upstream
from synkern.models.sites import Site
from synkern.recording.responses import Responses
from synkern.tasks.tokens import asked, batches, padded


def fed(texts: Responses, place: int) -> tuple[int, ...]:
    """The tokens of one text that are read: all but the last, which predicts nothing."""
    return texts.prompts[place] + texts.responses[place][:-1]


def read_texts(
    model: Any,
    texts: Responses,
    sites: Sequence[Site],
    receive: Callable[[int, Tensor, list[int]], None],
    batch_size: int,
) -> None:
    """Let a model read texts, and hand on what its sites are given.

    Args:
        model: a causal language model of transformers, or a module that holds one; in evaluation
            mode meanwhile.
        texts: what is read, all but the last token of each.
        sites: of this model.
        receive: is given the index of a site, its values (texts of a batch, positions, ...) and
            which texts these are. Text begins at position 0; what is beyond its end is padding.
        batch_size: texts at a time.

    Raises:
        ValueError: a batch size below 1, tokens that the model does not have, or an adapter that
            prepends vectors to every text.
        InterventionError: a module of a site did not run.
    """
    with ExitStack() as stack:
        stack.enter_context(uncompiled())
        inside = stack.enter_context(asked(model))
        _refuse_unknown_tokens(inside, texts)
        rows = [fed(texts, place) for place in range(len(texts))]
        device = upstream.inputs_device(inside)
        for places in batches(rows, batch_size):
            ids, mask = padded([rows[place] for place in places], "right", device)
            given = {upstream.INPUT_IDS: ids, upstream.MASK: mask, upstream.USE_CACHE: False}
            if upstream.LAST_LOGITS_ONLY in upstream.forward_arguments(inside):
                given[upstream.LAST_LOGITS_ONLY] = 1
            read_by: set[int] = set()

            def read(values: Tensor, index: int, places: list[int], done: set[int]) -> None:
                done.add(index)
                receive(index, values, places)

            with ExitStack() as watching:
                for index, site in enumerate(sites):
                    taken = partial(read, index=index, places=places, done=read_by)
                    watching.callback(site.watch(taken).remove)
                inside(**given)
            missed = [site.name for index, site in enumerate(sites) if index not in read_by]
            if missed:
                raise InterventionError(
                    f"{type(inside).__name__} read texts without running {', '.join(missed)}"
                )


def at_responses(values: Tensor, texts: Responses, places: Sequence[int]) -> Tensor:
    """Of values (texts of a batch, positions, ...) those that the tokens of responses follow on.

    These are the last position of the prompt, and the position of every token of the response but
    the last.

    Returns:
        (tokens of the responses, ...), text by text.
    """
    rows: list[int] = []
    positions: list[int] = []
    for row, place in enumerate(places):
        first, count = len(texts.prompts[place]) - 1, len(texts.responses[place])
        rows += [row] * count
        positions += range(first, first + count)
    where = torch.tensor([rows, positions], device=values.device)
    return values[where[0], where[1]]


def _refuse_unknown_tokens(model: Any, texts: Responses) -> None:
    vocabulary = upstream.vocabulary_size(model)
    for place, text in enumerate(zip(texts.prompts, texts.responses, strict=True)):
        highest = max(map(max, text))
        if highest >= vocabulary:
            raise ValueError(
                f"texts: token {highest} in text {place} (from 0), but the model has tokens 0 to "
                f"{vocabulary - 1} only; give texts of the model's own tokenizer"
            )
