"""Answers of a language model, with the activity of its nodes: greedy, and all of one length."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from synkern.models.greedy import greedy
from synkern.models.nodes import Kinds, Node, Signals
from synkern.models.upstream import context_length, inputs_device, vocabulary_size
from synkern.recording.decoding import token_ids, too_long
from synkern.recording.recorder import record
from synkern.recording.recording import Recording, RecordingError
from synkern.recording.replayer import replay
from synkern.recording.responses import Responses
from synkern.recording.store import Store, opened
from synkern.recording.stored import Stored


class PromptError(RecordingError, ValueError):
    """The prompts cannot be given to this model as its tokenizer makes them."""


# Stands in `Answers.natural_end` where the model did not try to end its answer.
NEVER = -1


class _Series:
    """The field of `Answers` that is read when it is asked for, where it lies in zarr."""

    def __get__(self, answers: Answers | None, owner: type[Answers]) -> NDArray[np.float32]:
        if answers is None:
            raise AttributeError("series")  # A field without a default.
        held: NDArray[np.float32] | Stored = vars(answers)["series"]
        return held.values if isinstance(held, Stored) else held

    def __set__(self, answers: Answers, series: NDArray[np.float32] | Stored) -> None:
        vars(answers)["series"] = series


@dataclass(frozen=True)
class Answers:
    """The answers of a model, and what its nodes did meanwhile. One trial is one prompt.

    Attributes:
        series: (trials, time, nodes) float32, activity of each node at the step that produces each
            token: what the signal says. With a `store`, mapped from that file; of one of zarr, read
            into memory when first asked for, see `Recording.series`.
        nodes: what the last axis of `series` stands for.
        routed: (trials, nodes) int64, at how many steps each node took part; None if no node is
            ever left out. See `synkern.recording.Recording.routed`.
        tokens: (trials, time) int64, the generated tokens.
        texts: the generated tokens as text, by trial.
        inputs: what the model was given as text, by trial: the prompt inside the chat template.
        prompts: the tokens of `inputs`, by trial.
        natural_end: (trials,) int64, the step (from 0) at which the model first preferred to end
            its answer; `NEVER` where it did not. What follows was written under protest.
    """

    if TYPE_CHECKING:
        series: NDArray[np.float32]
    else:
        series: NDArray[np.float32] = _Series()
    nodes: tuple[Node, ...]
    routed: NDArray[np.int64] | None
    tokens: NDArray[np.int64]
    texts: tuple[str, ...]
    inputs: tuple[str, ...]
    prompts: tuple[tuple[int, ...], ...]
    natural_end: NDArray[np.int64]

    def __repr__(self) -> str:
        """Return the fields, without reading series."""
        return f"Answers({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @property
    def responses(self) -> Responses:
        """Prompts and answers as tokens."""
        return Responses(self.prompts, self.tokens.tolist())


class _EndSuppressed:
    """A logits processor: forbids the end tokens, and notes where one would have been chosen."""

    def __init__(self, end_tokens: Sequence[int], batch: int, step_done: Callable[[int], None]):
        self.end_tokens = list(end_tokens)
        self.natural_end = np.full(batch, NEVER, dtype=np.int64)
        self._step = 0
        self._step_done = step_done

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.end_tokens:
            chosen = scores.argmax(-1).cpu().numpy()
            ends = np.isin(chosen, self.end_tokens) & (self.natural_end == NEVER)
            self.natural_end[ends] = self._step
            scores = scores.clone()
            scores[:, self.end_tokens] = -torch.inf
        self._step += 1
        self._step_done(len(scores))
        return scores


def record_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    new_tokens: int,
    batch_size: int,
    nodes: Kinds = "heads",
    signal: Signals = None,
    store: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    batch_done: Callable[[NDArray[np.float32]], None] = lambda series: None,
) -> Answers:
    """Let a model answer prompts, exactly `new_tokens` tokens each, and record its nodes.

    Decoding is plain greedy: whatever sampling or penalties the model's own generation settings
    ask for is off. The end token is suppressed, so that every series has the same length; where
    the model would have ended is in `Answers.natural_end`. A prompt is put into the tokenizer's
    chat template as a user's turn if there is one, else given as it is.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer, padding on the left.
        prompts: one string per trial.
        new_tokens: tokens to generate for each prompt.
        batch_size: prompts per batch. In float32 it changes the series in the last digits only.
            In bfloat16 rounding depends on it: norms moved by up to 15 %, and some prompts were
            answered by other tokens.
        nodes: what to record, see `synkern.record`.
        signal: what to read of a node, see `synkern.record`.
        store: a file, .npy or .zarr, that takes the series batch by batch, so that memory holds no
            more than one of them; see `synkern.record`. `Answers.series` is then mapped from it, or
            read from zarr when first asked for.
        progress: called with the number of tokens generated since the last call.
        batch_done: called with the series of every batch, (trials, time, nodes).

    Returns:
        `Answers`, one trial per prompt.

    Raises:
        PromptError: (a RecordingError and a ValueError) the chat template fails, an end
            token is no token, the tokenizer makes no tokens or tokens that the model does not have,
            or a prompt with its answer is longer than the context that the model was made for.
        ValueError: a kind of node or a signal that there is not.
        jinja2.TemplateError: the chat template is malformed or refuses the prompt.
        MemoryError, MissingExtraError, FileExistsError, OSError: as `synkern.record`, also for
            `store`.
        RuntimeError: the recording does not have one value per prompt and token.
    """
    inputs = [_as_chat(tokenizer, prompt) for prompt in prompts]
    ends = _end_tokens(model, tokenizer)
    answering = _Answering(model, tokenizer, new_tokens, nodes, signal, ends, progress)
    model.eval()
    with ExitStack() as stack:
        kept = opened(stack, store)
        stack.enter_context(greedy(model, new_tokens, tokenizer.pad_token_id))
        stack.enter_context(torch.inference_mode())
        answered = (
            answering.answer(inputs[first : first + batch_size], first)
            for first in range(0, len(inputs), batch_size)
        )
        batches, series = _taken(answered, kept, batch_done)
    return _joined(batches, series, tokenizer, inputs)


def read_answers(
    model: Any,
    tokenizer: Any,
    inputs: Sequence[str],
    tokens: NDArray[np.int64],
    *,
    batch_size: int,
    nodes: Kinds = "heads",
    signal: Signals = None,
    store: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] = lambda tokens: None,
    batch_done: Callable[[NDArray[np.float32]], None] = lambda series: None,
) -> Answers:
    """Let a model read answers that are there already, its own or another's, and record its nodes.

    What `record_answers` gives if the model had written these tokens (see `synkern.replay`), but
    for `Answers.natural_end`, which is not asked: `NEVER` everywhere.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer, padding on the left.
        inputs: what is given before each answer, the chat template in it, as `Answers.inputs`.
        tokens: (trials, time), the answers.
        batch_size: texts that are read at once.
        nodes: what to record, see `synkern.record`.
        signal: what to read of a node, see `synkern.record`.
        store: a file, .npy or .zarr, that takes the series batch by batch, as in `record_answers`.
        progress: called with the number of tokens read since the last call.
        batch_done: called with the series of every batch, (trials, time, nodes).

    Returns:
        `Answers`, one trial per text.

    Raises:
        PromptError: as `record_answers`, and of tokens that the model does not have.
        ValueError: a kind of node or a signal that there is not.
        MemoryError, MissingExtraError, FileExistsError, OSError: as `synkern.record`, also for
            `store`.
    """

    def read() -> Iterator[_Batch]:
        for first in range(0, len(inputs), batch_size):
            some = slice(first, first + batch_size)
            yield _read(model, tokenizer, inputs[some], tokens[some], first, nodes, signal)
            progress(tokens[some].size)

    model.eval()
    with ExitStack() as stack:
        kept = opened(stack, store)
        batches, series = _taken(read(), kept, batch_done)
    return _joined(batches, series, tokenizer, inputs)


def _read(
    model: Any,
    tokenizer: Any,
    inputs: Sequence[str],
    tokens: NDArray[np.int64],
    first: int,
    nodes: Kinds,
    signal: Signals,
) -> _Batch:
    """Let the model read one batch of answers, the first of which is number `first`."""
    encoded = _encoded(model, tokenizer, inputs)
    steps = tokens.shape[1]
    _refuse_unreadable(model, encoded, first, steps)
    if int(tokens.max()) >= vocabulary_size(model):
        raise PromptError(
            f"the answers hold token {int(tokens.max())}, but {type(model).__name__} has tokens 0 "
            f"to {vocabulary_size(model) - 1} only: they were written by a model of another "
            "vocabulary"
        )
    written = torch.from_numpy(np.ascontiguousarray(tokens)).to(encoded["input_ids"].device)
    recording = replay(
        model,
        torch.cat([encoded["input_ids"], written], dim=1),
        new_tokens=steps,
        nodes=nodes,
        signal=signal,
        attention_mask=encoded["attention_mask"],
        # They have one length, whatever is in them.
        eos_token_id=[],
    )
    routed = recording.routed
    return _Batch(
        series=_checked_series(recording, len(inputs), steps),
        nodes=recording.nodes,
        routed=None if routed is None else routed.cpu().numpy(),
        tokens=np.asarray(tokens, np.int64),
        natural_end=np.full(len(inputs), NEVER, dtype=np.int64),
    )


def _taken(
    made: Iterable[_Batch],
    kept: Store | None,
    batch_done: Callable[[NDArray[np.float32]], None],
) -> tuple[list[_Batch], NDArray[np.float32] | Stored]:
    """All batches, and the series of all, in memory or where the file is that has taken them."""
    batches: list[_Batch] = []
    for batch in made:
        batch_done(batch.series)
        if kept is not None:
            kept.add(torch.from_numpy(batch.series))
            # By the same name: nothing holds the series while the next ones are made.
            batch = replace(batch, series=batch.series[..., :0].copy())  # noqa: PLW2901
        batches.append(batch)
    if kept is None:
        return batches, np.concatenate([batch.series for batch in batches])
    kept.finish()
    return batches, kept.series()


def _joined(
    batches: Sequence[_Batch],
    series: NDArray[np.float32] | Stored,
    tokenizer: Any,
    inputs: Sequence[str],
) -> Answers:
    """The answers of all batches, in the order of the inputs."""
    generated = np.concatenate([batch.tokens for batch in batches])
    routed = [batch.routed for batch in batches if batch.routed is not None]
    return Answers(
        series=cast("NDArray[np.float32]", series),  # `_Series` takes both.
        nodes=batches[-1].nodes,
        routed=np.concatenate(routed) if routed else None,
        tokens=generated,
        texts=tuple(tokenizer.batch_decode(generated, skip_special_tokens=True)),
        inputs=tuple(inputs),
        prompts=prompt_tokens(tokenizer, inputs),
        natural_end=np.concatenate([batch.natural_end for batch in batches]),
    )


@dataclass(frozen=True)
class _Batch:
    """The answers to one batch of prompts; see `Answers`."""

    series: NDArray[np.float32]
    nodes: tuple[Node, ...]
    routed: NDArray[np.int64] | None
    tokens: NDArray[np.int64]
    natural_end: NDArray[np.int64]


@dataclass(frozen=True)
class _Answering:
    """The settings with which prompts are answered; see `record_answers`."""

    model: Any
    tokenizer: Any
    new_tokens: int
    nodes: Kinds
    signal: Signals
    end_tokens: list[int]
    progress: Callable[[int], None]

    def answer(self, inputs: Sequence[str], first: int) -> _Batch:
        """Let the model answer one batch of inputs, the first of which is number `first`."""
        model, tokenizer = self.model, self.tokenizer
        encoded = _encoded(model, tokenizer, inputs)
        _refuse_unreadable(model, encoded, first, self.new_tokens)
        suppressed = _EndSuppressed(self.end_tokens, len(inputs), self.progress)
        with record(model, nodes=self.nodes, signal=self.signal) as recording:
            output = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                logits_processor=[suppressed],
            )
        routed = recording.routed
        return _Batch(
            series=_checked_series(recording, len(inputs), self.new_tokens),
            nodes=recording.nodes,
            routed=None if routed is None else routed.cpu().numpy(),
            tokens=output[:, encoded["input_ids"].shape[1] :].cpu().numpy(),
            natural_end=suppressed.natural_end,
        )


def _encoded(model: Any, tokenizer: Any, inputs: Sequence[str]) -> Any:
    """The tokens of inputs, padded on the left, and their mask, where the model takes them."""
    return tokenizer(
        list(inputs),
        return_tensors="pt",
        padding=True,
        add_special_tokens=_adds_special_tokens(tokenizer),
    ).to(inputs_device(model))


def _checked_series(recording: Recording, texts: int, steps: int) -> NDArray[np.float32]:
    """The series of a recording, which must have this many texts and steps."""
    series: NDArray[np.float32] = recording.series.detach().to("cpu", torch.float32).numpy()
    if series.shape != (texts, steps, len(recording.nodes)):
        raise RuntimeError(
            f"the recording has shape {series.shape} where {texts} prompts, {steps} tokens and "
            f"{len(recording.nodes)} nodes were expected; does the model generate one token per "
            "forward pass?"
        )
    return series


def prompt_lengths(tokenizer: Any, prompts: Sequence[str]) -> tuple[int, ...]:
    """The number of tokens that the model is given for each prompt, with the chat template."""
    inputs = [_as_chat(tokenizer, prompt) for prompt in prompts]
    return tuple(map(len, prompt_tokens(tokenizer, inputs)))


def prompt_tokens(tokenizer: Any, inputs: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The tokens of each input, which holds the chat template already, as `Answers.inputs` do."""
    encoded = tokenizer(list(inputs), add_special_tokens=_adds_special_tokens(tokenizer))
    return tuple(tuple(ids) for ids in encoded["input_ids"])


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The end tokens that the model can write: its own, of which there may be several, and that of
    its tokenizer.
    """
    named = {
        *token_ids(model.generation_config.eos_token_id),
        *token_ids(tokenizer.eos_token_id),
    }
    wrong = [token for token in named if not isinstance(token, int)]
    if wrong:
        raise PromptError(
            f"eos_token_id of the model or its tokenizer is {wrong[0]!r}, which is no token; "
            "correct generation_config.json, config.json or tokenizer_config.json"
        )
    return sorted(token for token in named if 0 <= token < vocabulary_size(model))


def _adds_special_tokens(tokenizer: Any) -> bool:
    """A template writes them itself; a second start token would change the answers."""
    return getattr(tokenizer, "chat_template", None) is None


def _as_chat(tokenizer: Any, prompt: str) -> str:
    if getattr(tokenizer, "chat_template", None) is None:
        return prompt
    turns = [{"role": "user", "content": prompt}]
    try:
        made = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except Exception as error:  # a template is a program: it can fail in every way
        if type(error).__module__.startswith("jinja2."):
            raise
        raise PromptError(
            "the tokenizer's chat template fails with one turn of the user "
            f"({type(error).__name__}: {error}); correct or remove it"
        ) from error
    return str(made)


def _refuse_unreadable(model: Any, encoded: Any, first: int, new_tokens: int) -> None:
    """Check what a tokenizer made of prompts, the first of which is number `first`."""
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    lengths = mask.sum(-1)
    if ids.shape[1] == 0 or bool((lengths == 0).any()):
        raise PromptError(
            f"prompt {first + int(lengths.argmin())} (from 0) becomes no token at all; its text is "
            "empty or the tokenizer knows nothing in it"
        )
    largest, vocabulary = int(ids.max()), vocabulary_size(model)
    if largest >= vocabulary:
        raise PromptError(
            f"the tokenizer makes token {largest} of prompts {first} to {first + len(ids) - 1}, "
            f"but {type(model).__name__} has tokens 0 to {vocabulary - 1} only: the tokenizer "
            "belongs to another model, or tokens were added to it alone"
        )
    context = context_length(model)
    longest = int(lengths.max()) + new_tokens - 1  # the last token is never read
    if context is not None and longest > context:
        raise PromptError(
            f"prompt {first + int(lengths.argmax())} (from 0) is {int(lengths.max())} tokens long "
            f"and is to get {new_tokens} more: {too_long(model, longest, context)}"
        )
