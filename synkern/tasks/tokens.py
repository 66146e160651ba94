"""Tasks as tokens, and the state in which a model is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from synkern._warnings import warn
from synkern.models.language_model import causal_lm
from synkern.models.upstream import context_length, soft_prompt, vocabulary_size
from synkern.tasks.task import Task


def checked_tasks(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks as a tuple.

    Raises:
        ValueError: there are none.
    """
    if not tasks:
        raise ValueError("tasks: there are none; give at least one")
    return tuple(tasks)


@contextmanager
def asked(model: Any) -> Iterator[Any]:
    """The language model inside `model`, in evaluation mode and without gradients for a while.

    Raises:
        UnsupportedModelError: there is none in it.
        ValueError: an adapter prepends vectors to every text.
    """
    inside = causal_lm(model)
    if method := soft_prompt(model):
        raise ValueError(
            f"model: its adapter ({method}) prepends vectors to every text, which only the wrapper "
            "adds; merge the adapter, or use one that changes weights, such as LoRA"
        )
    training = [module for module in inside.modules() if module.training]
    inside.eval()
    try:
        with torch.inference_mode():
            yield inside
    finally:
        for module in training:
            module.training = True


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a text, of the model, which may have several, and of the tokenizer."""
    own = model.generation_config.eos_token_id
    each = [*(own if isinstance(own, list | tuple) else [own]), tokenizer.eos_token_id]
    return {int(token) for token in each if token is not None}


def tokenised(
    model: Any, tokenizer: Any, texts: Sequence[str], *, room: int = 0
) -> list[list[int]]:
    """The tokens of texts as the tokenizer makes them, without an end token that it appends.

    Args:
        model: that is to read them.
        tokenizer: its tokenizer, whose start token, if it adds one, stays.
        texts: what to tokenise.
        room: tokens that are to follow each.

    Raises:
        ValueError: a text has no tokens, tokens that the model does not have, or too many.

    Warns:
        UserWarning: the tokenizer does not know all that is in the texts.
    """
    rows = [list(row) for row in tokenizer(list(texts))["input_ids"]]
    context, vocabulary, unknown = context_length(model), vocabulary_size(model), 0
    for row, text in zip(rows, texts, strict=True):
        if row and row[-1] == tokenizer.eos_token_id:
            row.pop()
        if not row:
            raise ValueError(f"tasks: the tokenizer makes no token of {text!r}; leave it out")
        if max(row) >= vocabulary:
            raise ValueError(
                f"tokenizer: it makes token {max(row)} of {text!r}, but the model has tokens 0 to "
                f"{vocabulary - 1} only; pass the tokenizer that belongs to the model"
            )
        # The last token that is generated is never read.
        if context is not None and len(row) + max(room - 1, 0) > context:
            raise ValueError(
                f"tasks: {text[:60]!r}... has {len(row)} tokens, and {room} may follow, while the "
                f"model was made for {context}; leave it out, or ask for fewer new tokens"
            )
        unknown += tokenizer.unk_token_id is not None and tokenizer.unk_token_id in row
    if unknown:
        warn(
            f"the tokenizer does not know all that is in {unknown} of {len(rows)} texts and puts "
            f"{tokenizer.unk_token!r} there, so that the model cannot see it"
        )
    return rows


def padded(rows: Sequence[Sequence[int]], side: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor, and the attention mask, both int64 (rows, longest).

    The padding is token 0, which the mask hides.
    """
    longest = max(map(len, rows))
    ids, mask = (torch.zeros((len(rows), longest), dtype=torch.int64) for _ in range(2))
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(longest - len(row), longest)
        ids[place, where] = torch.tensor(row)
        mask[place, where] = 1
    return ids.to(device), mask.to(device)


def batches(rows: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Places of rows, batch by batch, those of one length together: little is padded.

    Raises:
        ValueError: `batch_size` is not a positive whole number.
    """
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a whole number, 1 or more; got {batch_size!r}")
    places = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    for first in range(0, len(places), batch_size):
        yield places[first : first + batch_size]
