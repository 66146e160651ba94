"""Whether a language model decodes one token per call, which is what makes a call a time step.

With a cache, T new tokens are T calls: the prompt in one call on an empty cache, whose last
position is step 1, then one token per call. Everything else is refused here rather than recorded
wrongly.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from synkern._warnings import warn
from synkern.models import upstream
from synkern.recording.recording import RecordingError

_REMEDY = (
    "Generate without it, or generate outside synkern.record and read it afterwards with "
    "synkern.replay(model, sequences, new_tokens=...)."
)


class GenerateCall:
    """The arguments of one call of `model.generate`, checked on construction."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check the arguments with which `generate` of `model` is about to be called.

        Raises:
            RecordingError: settings under which calls and tokens do not correspond, or under which
                the ends of texts cannot be seen.
            ValueError: prompts padded on the right, or that are no tensor (texts, tokens).
        """
        names = list(inspect.signature(type(model).generate).parameters)[1:]
        self.given = dict(zip(names, args, strict=False)) | dict(kwargs)
        """The arguments by name."""
        configs = (self.given.get("generation_config"), model.generation_config)
        self._configs = [config for config in configs if config is not None]
        for name, harmless in upstream.REFUSED_SETTINGS.items():
            value = self._setting(name)
            if value not in harmless:
                shown = type(value).__name__ if name == "assistant_model" else repr(value)
                raise RecordingError(
                    f"generate was called with {name}={shown}: then one call of the model is not "
                    f"one generated token. {_REMEDY}"
                )
        if self._setting(upstream.CACHE_KIND) == upstream.PACKING_CACHE:
            raise RecordingError(
                f"generate was called with {upstream.CACHE_KIND}={upstream.PACKING_CACHE!r}: "
                f"continuous batching packs several sequences into one row. {_REMEDY}"
            )
        mask = self.given.get(upstream.MASK)
        if isinstance(mask, Tensor):
            refuse_right_padding(mask)
        ids = self._first_given("inputs", upstream.INPUT_IDS)
        embeds = self._first_given(upstream.INPUT_EMBEDS)
        for name, texts in ((upstream.INPUT_IDS, ids), (upstream.INPUT_EMBEDS, embeds)):
            refuse_no_texts(name, texts)
        self.prompt_length = ids.shape[1] if ids is not None else 0 if embeds is not None else 1
        prompt = embeds if ids is None else ids
        prompts = 1 if prompt is None else len(prompt)
        self._refuse_unseen_ends(prompts * (self._setting("num_return_sequences") or 1))

    def _refuse_unseen_ends(self, texts: int) -> None:
        for name in upstream.ENDING_SETTINGS:
            if texts > 1 and self._setting(name):
                raise RecordingError(
                    f"generate was called with {name} for {texts} texts at once: one that ends by "
                    "it is padded while the others go on, and synkern.record cannot see where. "
                    f"Generate one text at a time, or leave {name} out."
                )

    def _first_given(self, *names: str) -> Any:
        """The first of these arguments that is not None."""
        values = (self.given.get(name) for name in names)
        return next((value for value in values if value is not None), None)

    def _setting(self, name: str) -> Any:
        """The value that generate will use: its argument, else that of the first configuration."""
        values = [self.given.get(name), *(getattr(c, name, None) for c in self._configs)]
        return next((value for value in values if value is not None), None)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids at which a sequence ends."""
        return token_ids(self._setting("eos_token_id"))


class CallWatch:
    """Follows the calls of a causal language model and tells a new prompt from one more token.

    A call is one more token if a cache among its arguments holds what was read before. Where none
    is recognised, the call is a prompt only if nothing speaks against it: its mask, its positions,
    and the cache that the model returns, which must hold this call's tokens and no others.
    """

    def __init__(self, model: Any) -> None:
        """Follow `model`; no call has been seen yet."""
        self._model = model
        self._names = list(upstream.forward_arguments(model))
        self._context = upstream.context_length(model)
        self._ends_with_context = upstream.has_learned_positions(model)
        self._prompt: Tensor | None = None
        self._rows = 0
        self._length = 0  # tokens in the cache after the call
        self._longest = 0  # of those, the tokens of the longest text; the others are padding
        self._calls = 0  # of the run in progress
        self._may_go_on = False  # whether a call without a cache could belong to that run
        # Those of the last call: the one given, and the one returned, which may be another object.
        self._cache: weakref.ReferenceType[Any] | None = None
        self._returned: weakref.ReferenceType[Any] | None = None
        self._returns_caches = True  # as far as was seen
        self.longest_text = 0
        """Tokens that the model has read of the longest text so far."""

    def see(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
        """Check one call of the model about to run, and follow it.

        Returns:
            None for a prompt, which opens a new run; for one more token per row, the ids (rows,)
            that are fed.

        Raises:
            RecordingError: the call is neither, or cannot be told.
            ValueError: a prompt padded on the right, or that is no tensor (texts, tokens).
        """
        call = upstream.read_call(self._names, args, kwargs)
        self._check_mode(call)
        fed = call.embeds if call.ids is None else call.ids
        if fed is None:
            raise RecordingError("the model was called with neither input_ids nor inputs_embeds")
        refuse_no_texts(upstream.INPUT_IDS if call.embeds is None else upstream.INPUT_EMBEDS, fed)
        rows, length = fed.shape[0], fed.shape[1]
        if len(call.caches) > 1:
            raise RecordingError(
                f"the model was called with {len(call.caches)} different caches at once, so it "
                f"cannot be seen which of them holds the text. {_REMEDY}"
            )
        cache = call.caches[0] if call.caches else None
        past = 0 if cache is None else _cached_tokens(cache)
        if past == 0:
            if cache is None:
                self._refuse_lost_cache(call, length)
            self._open(call, rows, length, cache)
            return None
        self._check_step(rows, length, past, cache)
        if call.ids is None:
            raise RecordingError(
                f"the model was given inputs_embeds for generated token {self._calls + 1}; pass "
                "input_ids after the prompt, so that the end of a text can be seen"
            )
        self._length += 1
        self._calls += 1
        self._lengthen(self._longest + 1)
        # A clone: a caller's own loop may reuse the buffer.
        one_each: Tensor = call.ids[:, 0].clone()
        return one_each

    def see_output(self, output: Any) -> None:
        """Check what the call seen last returned: the cache must hold what was read, and no more.

        Raises:
            RecordingError: it does not.
        """
        given = None if self._cache is None else self._cache()
        caches = upstream.caches_in(output) or (() if given is None else (given,))
        self._returned = weakref.ref(caches[0]) if caches else None
        if self._calls > 2:
            return  # whether the model goes on from the cache that it is given is known by then
        if not caches:
            self._returns_caches = False
            if self._length == 1:
                raise RecordingError(f"{self._one_token_each()}, and it returned none. {_REMEDY}")
            return
        self._returns_caches = True
        held = _cached_tokens(caches[0])
        if held == self._length:
            return
        if self._calls == 1:
            raise RecordingError(
                f"the model was called with {self._length} token(s) and no cache that synkern "
                f"recognises, but its cache holds {held} tokens after it: the text began before "
                f"this call, or the model reads more than it is given. {_REMEDY}"
            )
        raise RecordingError(
            f"the model was called with a cache of {self._length - 1} tokens that holds {held} "
            "after it: the model did not read it, as when this version of transformers has "
            "another name for that argument; pass the cache under the name that "
            f"{type(self._model).__name__}.forward has for it"
        )

    def end_text(self) -> None:
        """Know that the text of the run in progress is complete: no call can belong to it."""
        self._may_go_on = False

    def _check_mode(self, call: upstream.ModelCall) -> None:
        refuse_training(self._model)
        if not upstream.keeps_a_cache(self._model, call):
            raise RecordingError(
                "the model was called with use_cache=False: then every call reads the whole text "
                f"again. {_REMEDY}"
            )
        positions, mask = call.positions[0] if call.positions else None, call.mask
        restarts = (
            positions is not None
            and mask is None
            and positions.dim() == 2
            and positions.shape[1] > 1
            and bool((positions.diff(dim=-1) < 0).any())
        )
        if call.packed or restarts:
            raise RecordingError(
                f"the model was called with several sequences packed into one row. {_REMEDY}"
            )

    def _refuse_lost_cache(self, call: upstream.ModelCall, length: int) -> None:
        """Check a call without a cache that is recognised: it must be a prompt."""
        attended = call.mask.shape[-1] if isinstance(call.mask, Tensor) else length
        if attended > length:
            raise RecordingError(
                f"the model was called with {length} token(s) per text, an attention mask for "
                f"{attended} and no cache that synkern recognises"
                f"{_named(call.strangers)}: one more token of a text, or a prompt? {_REMEDY}"
            )
        begins = [int(p.amin()) for p in call.positions if p.numel()]
        if any(first > 0 for first in begins):
            raise RecordingError(
                f"the model was called with positions that begin at {max(begins)} and no cache "
                f"that synkern recognises{_named(call.strangers)}: a text begins at position 0. "
                f"{_REMEDY}"
            )
        if not self._returns_caches and self._may_go_on:
            raise RecordingError(
                f"{type(self._model).__name__} returned no cache that synkern recognises from the "
                f"call before, and is called without one{_named(call.strangers)}: whether this "
                f"text goes on cannot be seen. {_REMEDY}"
            )
        if length == 1 and call.strangers:
            raise RecordingError(f"{self._one_token_each()}{_named(call.strangers)}. {_REMEDY}")
        if length == 1 and self._calls == 1 and self._may_go_on:
            raise RecordingError(
                f"{self._one_token_each()}, right after a prompt: the second token of that text, "
                "or another prompt? Pass the cache that the call before returned; record prompts "
                "of one token and one step with `with synkern.record` blocks of their own"
            )

    def _one_token_each(self) -> str:
        return (
            f"{type(self._model).__name__} was called with one token per text and no cache that "
            "synkern recognises"
        )

    def _open(self, call: upstream.ModelCall, rows: int, length: int, cache: Any) -> None:
        ids, mask = call.ids, call.mask
        if isinstance(mask, Tensor):
            refuse_right_padding(mask)
        before = self._prompt
        if (
            self._calls == 1
            and before is not None
            and isinstance(ids, Tensor)
            and ids.shape == (before.shape[0], before.shape[1] + 1)
            and torch.equal(ids[:, :-1], before)
        ):
            raise RecordingError(
                f"the model was called with {length - 1} tokens and then with the same and one "
                f"more, without a cache: every call reads the whole text again. {_REMEDY}"
            )
        self._prompt = ids.clone() if isinstance(ids, Tensor) else None
        self._rows, self._length, self._calls = rows, length, 1
        self._may_go_on = True
        self._cache = None if cache is None else weakref.ref(cache)
        self._returned = None
        self._lengthen(tokens_of_longest(mask, length))

    def _lengthen(self, tokens: int) -> None:
        """Note that the longest text has this many tokens now."""
        if self._ends_with_context and self._context is not None and tokens > self._context:
            raise RecordingError(too_long(self._model, tokens, self._context))
        self._longest = tokens
        self.longest_text = max(self.longest_text, tokens)

    def _check_step(self, rows: int, length: int, past: int, cache: Any) -> None:
        seen = f"a call with {length} token(s) on a cache of {past}"
        if length != 1:
            raise RecordingError(
                f"{seen}: assisted or prompt-lookup decoding, a prompt in chunks or a conversation "
                "continued from its cache. One call must be one generated token after a prompt on "
                f"an empty cache. {_REMEDY}"
            )
        if self._calls == 0:
            raise RecordingError(
                f"{seen}, but no prompt was recorded: the cache was filled before synkern.record "
                f"began. {_REMEDY}"
            )
        known = [of() for of in (self._cache, self._returned) if of is not None]
        if self._cache is not None and not any(cache is each for each in known):
            raise RecordingError(
                f"{seen} that is not the one of the last prompt: two texts are decoded in turn, as "
                f"under classifier-free guidance. {_REMEDY}"
            )
        if past != self._length or rows != self._rows:
            raise RecordingError(
                f"{seen} and {rows} row(s), after {self._length} tokens and {self._rows} row(s): "
                "the cache was cut back or reordered, as in assisted decoding, or belongs to "
                f"another text. {_REMEDY}"
            )
        self._cache = weakref.ref(cache)


def _cached_tokens(cache: Any) -> int:
    try:
        return upstream.cached_tokens(cache)
    except Exception as error:
        raise RecordingError(
            f"the cache {type(cache).__name__} cannot say how many tokens it holds "
            f"({type(error).__name__}: {error}), so a prompt and one more token look alike. "
            f"{_REMEDY}"
        ) from error


def _named(strangers: tuple[str, ...]) -> str:
    return f" (but with {', '.join(strangers)})" if strangers else ""


def refuse_no_texts(name: str, texts: Any) -> None:
    """Check what a model is to read, if anything: at least a token of at least one text.

    Raises:
        ValueError: it is no tensor (texts, tokens, ...), or an empty one.
    """
    if texts is None:
        return
    if not isinstance(texts, Tensor):
        raise ValueError(
            f"{name}: {type(texts).__name__} is no tensor; give torch.tensor(...) of token ids "
            "(texts, tokens)"
        )
    if texts.dim() < 2 or 0 in texts.shape[:2]:
        raise ValueError(
            f"{name}: shape {tuple(texts.shape)} holds no token of any text; give (texts, tokens), "
            "and a single text as ids[None]"
        )


def setting_of(model: Any, name: str) -> Any:
    """One of a model's own generation settings; None where it has none, as without a head."""
    return getattr(getattr(model, "generation_config", None), name, None)


def tokens_of_longest(mask: Any, length: int) -> int:
    """Tokens without padding of the longest of the texts that are `length` tokens long with it."""
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] == length:
        return int((mask != 0).sum(-1).max())
    return length


def too_long(model: Any, tokens: int, context: int) -> str:
    """Say that a text is longer than the model can read, or was made to."""
    return (
        f"a text of {tokens} tokens is longer than the {context} that {type(model).__name__} was "
        "made for (max_position_embeddings): shorten the prompt, or generate fewer tokens"
    )


def warn_of_context(model: Any, tokens: int) -> None:
    """Warn if the longest text has more tokens than the model was made for."""
    context = upstream.context_length(model)
    if context is not None and tokens > context:
        warn(
            f"{too_long(model, tokens, context)}; beyond it the model computes what it was never "
            "trained for"
        )


def refuse_training(model: Any) -> None:
    """Check that `model` is in evaluation mode.

    Raises:
        RecordingError: it is in training mode.
    """
    if model.training:
        raise RecordingError(
            f"{type(model).__name__} is in training mode, where dropout changes what its "
            "nodes do; call model.eval() first"
        )


def refuse_right_padding(mask: Tensor) -> None:
    """Check the attention mask of prompts; one that is not 2-D passes.

    Raises:
        ValueError: a row ends in padding.
    """
    if mask.dim() == 2 and bool((mask[:, -1] == 0).any()):
        row = int((mask[:, -1] == 0).nonzero()[0, 0])
        raise ValueError(
            f"attention_mask: row {row} ends in 0, so the prompts are padded on the right and "
            'their last position is not the last token; tokenise with padding_side="left"'
        )


def token_ids(value: int | list[int] | Tensor | None) -> tuple[int, ...]:
    """The ids in an entry of a generation configuration, which has one, several or none."""
    if value is None:
        return ()
    if isinstance(value, Tensor):
        value = value.flatten().tolist()
    return (value,) if isinstance(value, int) else tuple(value)
