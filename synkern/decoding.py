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

_REMEDY = (
    "Generate without it, or generate outside synkern.record and read the heads afterwards with "
    "synkern.replay(model, sequences, new_tokens=...)."
)

# Settings of generate() under which calls and generated tokens do not correspond, with the values
# that leave them off.
_REFUSED_SETTINGS: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1),
    "assistant_model": (None,),
    "assistant_early_exit": (None,),
    "prompt_lookup_num_tokens": (None, 0),
    "prefill_chunk_size": (None,),
    "use_cache": (None, True),
    "guidance_scale": (None, 1, 1.0),
    "penalty_alpha": (None, 0, 0.0),
    "custom_generate": (None,),
}

# Settings of generate() that end single texts of a batch, out of sight of the calls.
_ENDING_SETTINGS = ("stop_strings", "stopping_criteria")


class RecordingError(RuntimeError):
    """The calls of the model are not one per generated token, or the recording is incomplete."""


class GenerateCall:
    """The arguments of one call of `model.generate`, checked on construction."""

    def __init__(self, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check the arguments with which `generate` of `model` is about to be called.

        Raises:
            RecordingError: settings under which calls and tokens do not correspond, or under which
                the ends of texts cannot be seen.
            ValueError: prompts padded on the right.
        """
        names = list(inspect.signature(type(model).generate).parameters)[1:]
        self._given = dict(zip(names, args, strict=False)) | dict(kwargs)
        configs = (self._given.get("generation_config"), model.generation_config)
        self._configs = [config for config in configs if config is not None]
        for name, harmless in _REFUSED_SETTINGS.items():
            value = self._setting(name)
            if value not in harmless:
                shown = type(value).__name__ if name == "assistant_model" else repr(value)
                raise RecordingError(
                    f"generate was called with {name}={shown}: then one call of the model is not "
                    f"one generated token. {_REMEDY}"
                )
        if self._setting("cache_implementation") == "paged":
            raise RecordingError(
                "generate was called with cache_implementation='paged': continuous batching packs "
                f"several sequences into one row. {_REMEDY}"
            )
        mask = self._given.get("attention_mask")
        if isinstance(mask, Tensor):
            refuse_right_padding(mask)
        ids, embeds = self._first_given("inputs", "input_ids"), self._first_given("inputs_embeds")
        self._prompt_length = ids.shape[1] if ids is not None else 0 if embeds is not None else 1
        prompt = embeds if ids is None else ids
        prompts = 1 if prompt is None else len(prompt)
        self._refuse_unseen_ends(prompts * (self._setting("num_return_sequences") or 1))

    def _refuse_unseen_ends(self, texts: int) -> None:
        for name in _ENDING_SETTINGS:
            if texts > 1 and self._setting(name):
                raise RecordingError(
                    f"generate was called with {name} for {texts} texts at once: one that ends by "
                    "it is padded while the others go on, and synkern.record cannot see where. "
                    f"Generate one text at a time, or leave {name} out."
                )

    def _first_given(self, *names: str) -> Any:
        """The first of these arguments that is not None."""
        values = (self._given.get(name) for name in names)
        return next((value for value in values if value is not None), None)

    def _setting(self, name: str) -> Any:
        """What generate will use: its own argument, else the configurations, in their order."""
        values = [self._given.get(name), *(getattr(c, name, None) for c in self._configs)]
        return next((value for value in values if value is not None), None)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids at which a sequence ends."""
        return token_ids(self._setting("eos_token_id"))

    def new_tokens(self, output: Any) -> int:
        """The number of tokens that generate appended, from what it returned."""
        sequences: Tensor = getattr(output, "sequences", output)
        return sequences.shape[1] - self._prompt_length


class CallWatch:
    """Follows the calls of a causal language model and tells a new prompt from one more token."""

    def __init__(self, model: Any) -> None:
        """Follow `model`; no call has been seen yet."""
        self._model = model
        self._names = list(inspect.signature(type(model).forward).parameters)[1:]
        self._prompt: Tensor | None = None
        self._rows = 0
        self._length = 0  # tokens in the cache after the call
        self._calls = 0  # of the run in progress
        self._cache: weakref.ReferenceType[Any] | None = None

    def see(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
        """Check one call of the model about to run, and follow it.

        Returns:
            None for a prompt, which opens a new run; for one more token per row, the ids (rows,)
            that are fed.

        Raises:
            RecordingError: the call is neither.
            ValueError: a prompt padded on the right.
        """
        given = dict(zip(self._names, args, strict=False)) | dict(kwargs)
        self._check_mode(given)
        ids, embeds = given.get("input_ids"), given.get("inputs_embeds")
        fed = embeds if ids is None else ids
        if fed is None:
            raise RecordingError("the model was called with neither input_ids nor inputs_embeds")
        rows, length = fed.shape[0], fed.shape[1]
        cache = given.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        if past == 0:
            self._open(ids, rows, length, cache, given.get("attention_mask"))
            return None
        self._check_step(rows, length, past, cache)
        if ids is None:
            raise RecordingError(
                f"the model was given inputs_embeds for generated token {self._calls + 1}; pass "
                "input_ids after the prompt, so that the end of a text can be seen"
            )
        self._length += 1
        self._calls += 1
        # A clone: a caller's own loop may reuse the buffer.
        one_each: Tensor = ids[:, 0].clone()
        return one_each

    def _check_mode(self, given: Mapping[str, Any]) -> None:
        refuse_training(self._model)
        use_cache = given.get("use_cache")
        if use_cache is None:
            config = self._model.config.get_text_config(decoder=True)
            use_cache = getattr(config, "use_cache", True)
        if not use_cache:
            raise RecordingError(
                "the model was called with use_cache=False: then every call reads the whole text "
                f"again. {_REMEDY}"
            )
        if "cu_seq_lens_q" in given:
            raise RecordingError(
                f"the model was called with several sequences packed into one row. {_REMEDY}"
            )

    def _open(self, ids: Any, rows: int, length: int, cache: Any, mask: Any) -> None:
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
        self._cache = None if cache is None else weakref.ref(cache)

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
        if self._cache is not None and self._cache() is not cache:
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


def refuse_training(model: Any) -> None:
    """Check that `model` is in evaluation mode.

    Raises:
        RecordingError: it is in training mode.
    """
    if model.training:
        raise RecordingError(
            f"{type(model).__name__} is in training mode, where dropout changes the heads' "
            "outputs; call model.eval() first"
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
