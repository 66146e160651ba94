"""What a model was given to read: tokens alone, or something beside or instead of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synkern.models import upstream

_TYPES = ("token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class Prompts:
    """The prompts of one batch: (texts, tokens), padded on the left, and their mask, if any."""

    ids: Tensor
    mask: Tensor | None


def read_beside(
    given: Mapping[str, Any], ids: Tensor, mask: Tensor | None, *, strict: bool = False
) -> str | None:
    """What a call of a model was given beside its tokens, in words; None if nothing that matters.

    Args:
        given: arguments of the call by name.
        ids: the tokens (texts, tokens).
        mask: 0 at the padding, of the shape of `ids`; None where there is none.
        strict: whether an argument that is not known matters.
    """
    media = media_in(given)
    if media is not None:
        return media
    for name, value in given.items():
        if value is None or name in (upstream.INPUT_IDS, upstream.MASK):
            continue
        if name in _TYPES:
            if isinstance(value, Tensor) and bool((value != 0).any()):
                return f"{name} other than 0 were read as well"
        elif name == upstream.POSITIONS:
            if strict and not _counts(value, ids, mask):
                return "the positions are not those counted from 0 at the first token"
        elif (strict and isinstance(value, Tensor)) or (isinstance(value, Mapping) and value):
            return f"{name} was read as well"
    return None


def media_in(given: Mapping[str, Any]) -> str | None:
    """Which images, sounds and the like are among arguments, in words; None if there are none."""
    for name, value in given.items():
        if value is not None and upstream.carries_no_tokens(name):
            return f"{name} were read as well"
    return None


def _counts(positions: Any, ids: Tensor, mask: Tensor | None) -> bool:
    """Whether positions are those of the tokens of each text, counted from 0."""
    kept = torch.ones_like(ids) if mask is None else (mask != 0).long()
    usual = (kept.cumsum(-1) - 1).to(getattr(positions, "device", None))
    if not isinstance(positions, Tensor) or positions.shape[-1] > usual.shape[-1]:
        return False
    # Of fewer, the prompt's alone, which are continued.
    usual, kept = usual[:, : positions.shape[-1]], kept[:, : positions.shape[-1]]
    if positions.dim() != 2 or len(positions) not in (1, len(usual)):
        return False
    return bool(((positions == usual) | (kept.to(usual.device) == 0)).all())


def prompts_of(
    names: Sequence[str], args: tuple[Any, ...], kwargs: Mapping[str, Any], asked: Mapping[str, Any]
) -> Prompts | str:
    """The prompts of a call of a model that begins texts, or why they are not known.

    Args:
        names: of the arguments of the model's forward, in their order.
        args: of the call.
        kwargs: of the call.
        asked: what `generate` was given, by name; empty in a loop of one's own.
    """
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    ids = given.get(upstream.INPUT_IDS)
    if not isinstance(ids, Tensor):
        return "the prompts were given as embeddings (as by an adapter with a soft prompt)"
    mask = given.get(upstream.MASK)
    if mask is not None and not (isinstance(mask, Tensor) and mask.shape == ids.shape):
        # Of another form, as for a static cache: generate made it of what it was given itself.
        mask = asked.get(upstream.MASK)
        if not isinstance(mask, Tensor) or mask.dim() != 2 or mask.shape[1] != ids.shape[1]:
            return "the attention mask does not say which tokens of the prompts are padding"
        mask = mask.repeat_interleave(len(ids) // len(mask), dim=0)
    beside = media_in(asked) or read_beside(given, ids, mask)
    if beside is not None:
        return beside
    # Clones: a caller's own loop may reuse the buffers.
    return Prompts(ids.clone(), None if mask is None else mask.clone())
