"""Plain greedy generation, whatever a model's own settings ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def greedy(model: Any, new_tokens: int, pad_token: int | None) -> Iterator[None]:
    """Give the model fresh generation settings for a while.

    Passing settings to `generate` is not enough: what they leave open is filled in from the
    model's own, where temperatures warn and repetition penalties change a greedy answer.

    Args:
        model: a transformers causal language model.
        new_tokens: the most that it may generate.
        pad_token: what follows an end token in a batch.
    """
    own = model.generation_config
    model.generation_config = type(own)(
        do_sample=False,
        num_beams=1,
        use_cache=True,
        max_new_tokens=new_tokens,
        bos_token_id=own.bos_token_id,
        eos_token_id=own.eos_token_id,
        pad_token_id=pad_token,
    )
    try:
        yield
    finally:
        model.generation_config = own
