"""`replay`: the time series of every node of a language model, read from finished text."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models import upstream, upstream_torch
from synkern.models.language_model import causal_lm
from synkern.models.nodes import Kinds, Signals, checked_signals, find_sites, nodes_of
from synkern.models.sites import Site
from synkern.recording.decoding import (
    refuse_no_texts,
    refuse_right_padding,
    refuse_training,
    setting_of,
    token_ids,
    tokens_of_longest,
    too_long,
    warn_of_context,
)
from synkern.recording.fed import read_beside
from synkern.recording.reading import (
    refuse_not_finite,
    side_by_side,
    sole_reader,
    text_lengths,
    warn_of_early_ends,
)
from synkern.recording.recording import Recording, RecordingError, Texts
from synkern.recording.responses import BatchTokens
from synkern.recording.store import opened, refuse_too_large


def replay(
    model: nn.Module,
    sequences: Tensor,
    *,
    new_tokens: int,
    nodes: Kinds = "heads",
    signal: Signals = None,
    store: str | os.PathLike[str] | None = None,
    attention_mask: Tensor | None = None,
    eos_token_id: int | list[int] | None = None,
    model_inputs: Mapping[str, Any] | None = None,
) -> Recording:
    """Read the activity of a model's nodes in finished texts in one forward pass.

    Gives what `record` gives for the same texts, up to rounding, and works however they were
    written: by assisted decoding, beam search, another program or a person. Positions count from 0
    at the first token that is no padding, as in `generate`; a loop of one's own that left them to
    a model which counts otherwise (RoBERTa, from 2) is replayed with them in `model_inputs`.

    Args:
        model: a decoder-only causal language model of transformers in evaluation mode, or a module
            that holds one.
        sequences: token ids (trials, prompt + new_tokens) as `model.generate` returns them, padded
            on the left.
        new_tokens: how many tokens at the end of each row were generated.
        nodes: whose activity; see `synkern.record`.
        signal: what to read of a node; see `synkern.record`.
        store: a file for the series, .npy or .zarr, see `synkern.record`. They are in memory as
            well until they are written, as these texts are one batch.
        attention_mask: 0 at the padding, of shape (trials, prompt) or that of `sequences`; may be
            left out for a single row without padding.
        eos_token_id: the id or ids at which a text ends, for `Recording.lengths`; by default those
            of the model's generation configuration. An empty list: none.
        model_inputs: what else the model was given, by the name of its argument: the images of a
            text with images (`pixel_values`, `image_grid_thw`, ...). What has one value per token
            (`token_type_ids`, `mm_token_type_ids`, `position_ids`) may be that of the prompts and
            is continued as `generate` does; under any other name, give it for all of `sequences`.
            None for an argument says that there was none.

    Returns:
        `Recording` of one trial per row.

    Raises:
        UnsupportedModelError: these nodes, or this signal, cannot be read in this model.
        RecordingError: the model is in training mode or being recorded, a value is not finite,
            texts are longer than a table of learned positions, or an adapter prepends a soft
            prompt, which is no part of `sequences` (`record` reads it).
        TypeError: `sequences` or a mask that is no tensor, `new_tokens` that is no integer.
        MemoryError, MissingExtraError, FileExistsError, OSError: as `synkern.record`, for `store`.
        ValueError: a kind of node or a signal that there is not, tokens that the model does not
            have, shapes that do not fit, a mask missing, padding on the right; an entry of
            `model_inputs` that the model does not take; tokens in place of an image, a video or a
            sound that is not in `model_inputs`.

    Warns:
        UserWarning: texts ended before the last step, or are longer than the context that the model
            was made for (its `max_position_embeddings`).
    """
    signals = checked_signals(nodes, signal)
    language_model = causal_lm(model)
    _refuse_soft_prompt(model)
    sequences, mask = _checked_texts(language_model, sequences, new_tokens, attention_mask)
    given = dict(model_inputs or {})
    _refuse_missing_media(language_model, sequences[:, :-new_tokens], given)
    others = _fed_along(language_model, given, sequences, new_tokens)
    refuse_training(language_model)
    longest = tokens_of_longest(mask[:, :-1], sequences.shape[1] - 1)
    context = upstream.context_length(language_model)
    if context is not None and longest > context and upstream.has_learned_positions(language_model):
        raise RecordingError(too_long(language_model, longest, context))
    with ExitStack() as stack:
        stack.enter_context(sole_reader(language_model))
        kept = opened(stack, store)
        sites = find_sites(model, tuple(signals), signals)
        nodes_read = sum(site.count for site in sites)
        needed = 2 * 4 * len(sequences) * new_tokens * nodes_read  # of each site, and joined
        refuse_too_large(needed, sequences, nodes_read)
        # The last token is never fed while generating; the new_tokens positions before it are those
        # of steps 1 ... new_tokens.
        fed = {upstream.INPUT_IDS: sequences[:, :-1], upstream.MASK: mask[:, :-1], **others}
        series, routed = _read(model, sites, fed, new_tokens)
        recording = Recording(nodes_of(sites), signals)
        by_step = series.transpose(0, 1)
        refuse_not_finite(by_step, recording.nodes, first_step=1)
        if eos_token_id is None:
            eos_token_id = setting_of(language_model, "eos_token_id")
        lengths = text_lengths(sequences[:, -new_tokens:-1].T, token_ids(eos_token_id), by_step)
        counts = None if routed is None else routed.sum(1)
        if kept is None:
            runs = [Texts(series, lengths, counts)]
        else:
            runs = kept.whole([kept.keep(series, lengths, counts)])
    recording.fill(runs, [_tokens(given, sequences, mask, new_tokens, lengths)])
    warn_of_early_ends(runs)
    warn_of_context(language_model, longest)
    return recording


def _tokens(
    given: Mapping[str, Any], sequences: Tensor, mask: Tensor, new_tokens: int, lengths: Tensor
) -> BatchTokens | str:
    """The tokens of the texts, or what else was read with them."""
    why = read_beside(given, sequences, mask, strict=True)
    prompt = sequences.shape[1] - new_tokens
    # Clones: they may be the caller's.
    texts, kept = sequences.clone(), mask.clone()
    return why or BatchTokens(texts[:, :prompt], kept[:, :prompt], texts[:, prompt:], lengths)


def _refuse_soft_prompt(model: nn.Module) -> None:
    method = upstream.soft_prompt(model)
    if method is not None:
        raise RecordingError(
            f"model: {type(model).__name__} prepends learned vectors to every text ({method}), "
            "which are no token ids, so that synkern.replay cannot read what the model read; "
            "generate inside synkern.record instead (which reads vectors before the prompt, but "
            "not a prefix laid into the cache), or pass the model inside the adapter if the text "
            "was written without it"
        )


def _refuse_missing_media(model: Any, prompts: Tensor, given: Mapping[str, Any]) -> None:
    """Check that what stands in the place of tokens of the prompts is given."""
    for place in upstream.placeholders(model):
        carried = any(place.is_carried_by(name) for name in given)
        if not carried and bool((prompts == place.token).any()):
            row = int((prompts == place.token).any(1).nonzero()[0, 0])
            raise ValueError(
                f"sequences: row {row} holds token {place.token}, in whose place "
                f"{type(model).__name__} reads {place.kind} data ({place.name}), and none is "
                "given: pass what generate was given beside the tokens, as "
                "model_inputs={'pixel_values': ...} or the like; for a text written without any, "
                "model_inputs={'pixel_values': None}"
            )


def _fed_along(
    model: Any, given: Mapping[str, Any], sequences: Tensor, new_tokens: int
) -> dict[str, Any]:
    """The entries of `model_inputs` for the tokens that are fed, on the model's device."""
    own = (upstream.INPUT_IDS, upstream.INPUT_EMBEDS, upstream.MASK, upstream.USE_CACHE)
    taken = upstream.forward_arguments(model)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    names = [name for name, p in taken.items() if p.kind not in kinds and name not in own]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(
            f"model_inputs: {', '.join(unknown)} is nothing that {type(model).__name__} takes "
            f"beside the tokens and their mask; it takes {', '.join(names)}"
        )
    along = {}
    for name, value in given.items():
        if upstream.caches_in((value,)):
            raise ValueError(
                f"model_inputs: {name} is a cache, but replay reads whole texts: leave it out and "
                "pass the whole text as sequences"
            )
        fitted = value
        if isinstance(value, Tensor):
            if not upstream.carries_no_tokens(name):
                fitted = _for_fed_tokens(name, value, sequences, new_tokens)
            fitted = fitted.to(sequences.device)
        along[name] = fitted
    return along


def _for_fed_tokens(name: str, value: Tensor, sequences: Tensor, new_tokens: int) -> Tensor:
    """A value per token for all tokens but the last; others as they are."""
    trials, length = sequences.shape
    prompt = length - new_tokens
    extend = upstream.EXTENDED_PER_TOKEN.get(name)
    if value.dim() < 2 or (extend is None and (value.dim() > 2 or len(value) != trials)):
        return value
    if value.shape[-1] == length:
        return value[..., :-1]
    if value.shape[-1] == prompt and extend is not None:
        for _ in range(new_tokens - 1):
            value = torch.cat([value, extend(value[..., -1:])], dim=-1)
        return value
    if value.shape[-1] == prompt or extend is not None:
        raise ValueError(
            f"model_inputs: {name} has shape {tuple(value.shape)} for sequences {trials} x "
            f"{length} of which {new_tokens} tokens were generated; give it for every token: "
            f"(..., {length})"
        )
    return value


def _read(
    model: nn.Module, sites: Sequence[Site], fed: Mapping[str, Any], steps: int
) -> tuple[Tensor, Tensor | None]:
    """The activity (trials, steps, nodes) at the last `steps` positions of the tokens fed.

    Beside it stands where a node took part, as `side_by_side` returns it.

    `fed` are the arguments of the model: ids, mask, and what belongs to them.
    """
    language_model = causal_lm(model)
    found: dict[int, tuple[Tensor, Tensor | None]] = {}

    arguments: dict[str, Any] = {**fed, upstream.USE_CACHE: False}
    accepted = upstream.forward_arguments(language_model)
    media = any(upstream.carries_no_tokens(name) and v is not None for name, v in fed.items())
    left_to_model = media and upstream.places_images_itself(language_model)
    if upstream.POSITIONS in accepted and not left_to_model:
        positions = ((fed[upstream.MASK] != 0).long().cumsum(-1) - 1).clamp(min=0)
        arguments.setdefault(upstream.POSITIONS, positions)
    if upstream.LAST_LOGITS_ONLY in accepted:
        arguments[upstream.LAST_LOGITS_ONLY] = 1
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if upstream_torch.is_compiled(model):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for index, site in enumerate(sites):

            def read(values: Tensor, index: int = index, site: Site = site) -> None:
                own = values[:, -steps:]
                found[index] = site.read(own), site.routed(own)

            stack.callback(site.watch(read).remove)
        language_model(**arguments)
    missing = [site.name for i, site in enumerate(sites) if i not in found]
    if missing:
        raise RecordingError(f"the forward pass did not run the modules {missing}, which are read")
    return side_by_side([found[i] for i in range(len(sites))])


def _refuse_no_ids(model: Any, sequences: Any) -> None:
    """Check that `sequences` are token ids (trials, tokens) of the model."""
    if not isinstance(sequences, Tensor):
        raise TypeError(
            f"sequences: {type(sequences).__name__} is no tensor; give the sequences that generate "
            "returns, or torch.tensor(...) of token ids"
        )
    if sequences.dim() != 2 or sequences.dtype not in (torch.int64, torch.int32):
        raise ValueError(
            "sequences: expected token ids (trials, prompt + new_tokens), int64 or int32, got "
            f"{sequences.dtype} of shape {tuple(sequences.shape)}"
        )
    refuse_no_texts("sequences", sequences)
    vocabulary = upstream.vocabulary_size(model)
    unknown = (sequences < 0) | (sequences >= vocabulary)
    for place in upstream.placeholders(model):  # which need not be among the tokens
        unknown &= sequences != place.token
    if bool(unknown.any()):
        raise ValueError(
            f"sequences: token {int(sequences[unknown][0])} is none of the tokens 0 to "
            f"{vocabulary - 1} of {type(model).__name__}; give ids of the model's own tokenizer"
        )


def _checked_texts(
    model: Any, sequences: Tensor, new_tokens: int, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The arguments of `replay`, checked, on the model's device, the mask as long as the texts."""
    _refuse_no_ids(model, sequences)
    if isinstance(new_tokens, bool) or not isinstance(new_tokens, Integral):
        raise TypeError(f"new_tokens: {new_tokens!r} is no integer; give the number of tokens")
    if attention_mask is not None and not isinstance(attention_mask, Tensor):
        raise TypeError(
            f"attention_mask: {type(attention_mask).__name__} is no tensor; give torch.tensor(...)"
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
        pad, start = (setting_of(model, f"{kind}_token_id") for kind in ("pad", "bos"))
        pads = {*token_ids(pad)} - {*token_ids(start)}
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
    device = upstream.inputs_device(model)
    return sequences.to(device), mask.to(device)
