"""`replay`: the time series of every attention head, read from finished text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from synkern.attention import OutputProjection, causal_lm, find_output_projections, is_compiled
from synkern.decoding import RecordingError, refuse_right_padding, refuse_training, token_ids
from synkern.recording import (
    Recording,
    head_norms,
    nodes_of,
    refuse_not_finite,
    sole_reader,
    text_lengths,
    warn_of_early_ends,
)


def replay(
    model: nn.Module,
    sequences: Tensor,
    *,
    new_tokens: int,
    attention_mask: Tensor | None = None,
    eos_token_id: int | list[int] | None = None,
) -> Recording:
    """Read the head norms of finished texts in one forward pass.

    Gives what `record` gives for the same texts, up to rounding, and works however they were
    written: by assisted decoding, beam search, another program or a person.

    Args:
        model: a decoder-only causal language model of transformers in evaluation mode, or a module
            that holds one.
        sequences: token ids (trials, prompt + new_tokens) as `model.generate` returns them, padded
            on the left.
        new_tokens: how many tokens at the end of each row were generated.
        attention_mask: 0 at the padding, of shape (trials, prompt) or that of `sequences`; may be
            left out for a single row without padding.
        eos_token_id: the id or ids at which a text ends, for `Recording.lengths`; by default those
            of the model's generation configuration. An empty list: none.

    Returns:
        `Recording` of one trial per row.

    Raises:
        UnsupportedModelError: the heads cannot be read.
        RecordingError: the model is in training mode or being recorded, or a norm is not finite.
        ValueError: shapes that do not fit, a mask missing, padding on the right.

    Warns:
        UserWarning: texts ended before the last step.
    """
    language_model = causal_lm(model)
    sequences, mask = _checked_texts(language_model, sequences, new_tokens, attention_mask)
    refuse_training(language_model)
    with sole_reader(language_model):
        projections = find_output_projections(model)
        # The last token is never fed while generating; the new_tokens positions before it are those
        # of steps 1 ... new_tokens.
        series = _read(model, projections, sequences[:, :-1], mask[:, :-1], new_tokens)
    recording = Recording(nodes_of(projections))
    by_step = series.transpose(0, 1)
    refuse_not_finite(by_step, recording.nodes, first_step=1)
    if eos_token_id is None:
        eos_token_id = language_model.generation_config.eos_token_id
    lengths = text_lengths(sequences[:, -new_tokens:-1].T, token_ids(eos_token_id), by_step)
    runs = [(series, lengths)]
    recording.fill(runs)
    warn_of_early_ends(runs, stacklevel=3)
    return recording


def _read(
    model: nn.Module,
    projections: Sequence[OutputProjection],
    fed: Tensor,
    mask: Tensor,
    steps: int,
) -> Tensor:
    """Head norms (trials, steps, nodes) at the last `steps` positions of the tokens fed."""
    language_model = causal_lm(model)
    norms: dict[int, Tensor] = {}

    arguments: dict[str, Any] = {"input_ids": fed, "attention_mask": mask, "use_cache": False}
    accepted = inspect.signature(type(language_model).forward).parameters
    if "position_ids" in accepted:
        arguments["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        arguments["logits_to_keep"] = 1
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for index, projection in enumerate(projections):

            def read(
                _: nn.Module,
                args: tuple[Any, ...],
                index: int = index,
                projection: OutputProjection = projection,
            ) -> None:
                norms[index] = head_norms(args[0][:, -steps:], projection)

            stack.callback(projection.module.register_forward_pre_hook(read).remove)
        language_model(**arguments)
    if len(norms) != len(projections):
        missing = [p.name for i, p in enumerate(projections) if i not in norms]
        raise RecordingError(f"the forward pass did not run the output projections {missing}")

    device = norms[0].device
    return torch.cat([norms[i].to(device) for i in range(len(projections))], dim=-1)


def _checked_texts(
    model: Any, sequences: Tensor, new_tokens: int, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The arguments of `replay`, checked, on the model's device, the mask as long as the texts."""
    if sequences.dim() != 2 or sequences.is_floating_point():
        raise ValueError(
            f"sequences: expected token ids (trials, prompt + new_tokens), got {sequences.dtype} "
            f"of shape {tuple(sequences.shape)}"
        )
    trials, length = sequences.shape
    if not 1 <= new_tokens < length:
        raise ValueError(
            f"new_tokens: {new_tokens} of sequences {length} tokens long; it must be at least 1 "
            "and leave at least one token of prompt"
        )
    prompt = length - new_tokens
    if attention_mask is None:
        if trials > 1:
            raise ValueError(
                f"attention_mask: missing for {trials} texts, which may be padded by any token; "
                "pass that of the prompts, or torch.ones_like(sequences) if none is padded"
            )
        config = model.generation_config
        pads = {*token_ids(config.pad_token_id)} - {*token_ids(config.bos_token_id)}
        if pads & set(sequences[:, 0].tolist()):
            raise ValueError(
                "attention_mask: missing, while the text begins with the padding token; pass the "
                "attention_mask of the prompt"
            )
        mask = torch.ones_like(sequences)
    elif attention_mask.shape == (trials, length):
        mask = attention_mask
    elif attention_mask.shape == (trials, prompt):
        mask = nn.functional.pad(attention_mask, (0, new_tokens), value=1)
    else:
        raise ValueError(
            f"attention_mask: shape {tuple(attention_mask.shape)} fits neither the prompts "
            f"{(trials, prompt)} nor the sequences {(trials, length)}"
        )
    refuse_right_padding(mask[:, :prompt])
    return sequences.to(model.device), mask.to(model.device)
