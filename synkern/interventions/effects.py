"""What a change of a model does to texts: teacher-forced, never generated again.

A text is a prompt and a response. The model reads both as they are, and at the position before
each token of the response it says how likely every token of the vocabulary is. There the model as
it is meant to be (intact) and the changed one (edited) are compared:

    kl          sum over v of p(v) (log p(v) - log q(v)), nats; p of the intact model, q of the
                edited one, over the full vocabulary: KL(intact || edited)
    loss        -log q(token of the response), nats
    agreement   whether that token is the one that q is highest at; the first such of equals

Log-probabilities are float32 (float64 of a model in float64), whatever the model computes in.
Rounding leaves the sum of p and that of q slightly off 1, which alone would be an error of about
1e-6 nats in the sum above. So it is taken as sum p (log p - log q) + sum q - sum p, which is the
same for what sums to 1, and off by about 1e-7 nats. Nothing is clamped: where both models compute
the same, it is 0 exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synkern._memory import available
from synkern._warnings import warn
from synkern.interventions.calls import uncompiled
from synkern.models import upstream
from synkern.models.sites import Site
from synkern.recording.decoding import too_long
from synkern.recording.responses import Responses, responses_of
from synkern.tasks.tokens import asked, batches, padded

Edited: TypeAlias = Callable[[Sequence[int]], AbstractContextManager[Any]]
"""Makes the block in which the model is edited for the texts of one batch, from their places."""

_CHUNK_BYTES = {"cpu": 1 << 20}
"""Of log-probabilities that are looked at together: on a CPU what stays in cache."""
_OTHER_CHUNK_BYTES = 1 << 28
"""The same on other devices, where every step is a kernel."""


@dataclass(frozen=True, eq=False, repr=False)
class Effects:
    """What a change did, token by token; see the module.

    Attributes:
        kl: (texts, longest response), nats; NaN beyond a response's end, as in the next two.
        loss: likewise, nats.
        agreement: likewise, 1.0 or 0.0.
        tokens: (texts,) int64, tokens of each response.
    """

    kl: NDArray[np.floating[Any]]
    loss: NDArray[np.floating[Any]]
    agreement: NDArray[np.floating[Any]]
    tokens: NDArray[np.int64]

    def __repr__(self) -> str:
        """Return the means over texts of means over tokens."""
        means = ", ".join(f"{name} {self.mean(name):.4g}" for name in MEASURES)
        return f"Effects({len(self.tokens)} texts: {means})"

    def per_text(self, measure: str) -> NDArray[np.float64]:
        """The mean of one of `MEASURES` over the tokens of each response, (texts,)."""
        values: NDArray[Any] = getattr(self, measure)
        return np.nansum(values, axis=1, dtype=np.float64) / self.tokens

    def mean(self, measure: str) -> float:
        """The mean of one of `MEASURES` over texts of means over tokens."""
        return float(self.per_text(measure).mean())


MEASURES = ("kl", "loss", "agreement")
"""What `Effects` hold."""


def effects_of(
    model: Any, texts: Any, edit: Edited | None = None, *, batch_size: int = 16
) -> Effects:
    """What an edit does to texts; see `TeacherForced`, which goes on to others faster."""
    return TeacherForced(model, texts, batch_size=batch_size).effects(edit)


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some of the texts, as the model reads them together."""

    places: list[int]
    """Which of the texts, in order of the rows."""
    arguments: dict[str, Any]
    rows: Tensor
    """Of every token of the responses, text by text: its row in the batch."""
    before: Tensor
    """Its position among those that logits are asked for, or among all."""
    kept: Tensor
    """The positions that logits are asked for."""
    targets: Tensor
    """The tokens themselves."""


class TeacherForced:
    """Texts that a model reads again and again, whatever is changed in it meanwhile.

    Texts are sorted by length and padded on the right, where a causal model does not look, and
    logits are computed where tokens of a response follow. The intact model reads them once, here;
    every `effects` is one forward pass per batch.

    The intact log-probabilities stay in memory: 4 bytes (of float64 8) for every token of the
    vocabulary and every token of a response, which is 1.2 GB of 60 responses of 100 tokens and
    49,152 tokens. They take half of what is free on the model's device and then half of what is on
    the host. Batches for which there is no room are read by the intact model again in every
    `effects`, which takes twice as long, and only as long as its weights are as they were.

    Attributes:
        texts: what is read.
        tokens: (texts,) int64, tokens of each response.
    """

    def __init__(self, model: Any, texts: Any, *, batch_size: int = 16) -> None:
        """Let the model, unchanged, read the texts.

        Args:
            model: a causal language model of transformers, or a module that holds one. It is asked
                in evaluation mode; its modes are as before afterwards.
            texts: `Responses`, or a `Recording` or `Answers` that hold some.
            batch_size: texts at a time. In float32 it changes effects in the last digits only. The
                logits of a batch are held at once.

        Raises:
            UnsupportedModelError: (a ValueError) the model is no causal language model.
            TypeError, RecordingError: `texts` hold no tokens.
            ValueError: texts that the model cannot read, a batch size below 1, or log-probabilities
                that are not finite.
        Warns:
            UserWarning: a text is longer than the context that the model was made for.
        """
        self.texts: Responses = responses_of(texts)
        self.tokens = np.array([len(response) for response in self.texts.responses])
        self._model = model
        self._intact: list[Tensor | None] = []
        self._losses: list[Tensor] = []
        budget: dict[torch.device, int] = {}
        with uncompiled(), asked(model) as inside:
            _refuse_unreadable(inside, self.texts)
            self._batches = [
                _batch(inside, self.texts, places) for places in _in_batches(self.texts, batch_size)
            ]
            for batch in self._batches:
                intact = _log_probabilities(_logits(inside, batch), batch)
                self._dtype = intact.dtype
                self._losses.append(_losses(intact, batch))
                self._intact.append(_kept(intact, budget))

    def effects(self, edit: Edited | None = None) -> Effects:
        """What the model does with the texts now.

        Args:
            edit: enters an edit around the forward pass of a batch, given the places of its texts
                in order; None if the model was changed otherwise, such as its weights.

        Raises:
            ValueError: log-probabilities that are not finite.
            RuntimeError: a batch has to be read again by the intact model, which is not as it was.
        """
        dtype = np.float64 if self._dtype == torch.float64 else np.float32
        shape = (len(self.texts), int(self.tokens.max()))
        found = {measure: np.full(shape, np.nan, dtype) for measure in MEASURES}
        with uncompiled(), asked(self._model) as inside:
            for number, batch in enumerate(self._batches):
                intact = self._intact[number]
                if intact is None:
                    intact = self._again(inside, number)
                with edit(batch.places) if edit is not None else nullcontext():
                    logits = _logits(inside, batch)
                values = _compared(logits, batch, intact).cpu().numpy()
                del logits
                place, step = self._where(batch)
                for measure, row in zip(MEASURES, values, strict=True):
                    found[measure][place, step] = row
        return Effects(**found, tokens=self.tokens)

    def at_responses(self, values: Tensor, places: Sequence[int]) -> Tensor:
        """Of values (texts of a batch, positions, ...) those that predict a response's token.

        Args:
            values: what a module computes in the pass of a batch.
            places: of the batch, as an edit is given them.

        Returns:
            (tokens of the responses, ...), text by text.
        """
        rows: list[int] = []
        positions: list[int] = []
        for row, place in enumerate(places):
            first = len(self.texts.prompts[place]) - 1
            rows += [row] * int(self.tokens[place])
            positions += range(first, first + int(self.tokens[place]))
        return values[rows, positions]

    def _where(self, batch: _Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The place of the text, and the step in its response, of every token of a batch."""
        counts = self.tokens[batch.places]
        steps = np.concatenate([np.arange(count) for count in counts])
        return np.repeat(batch.places, counts), steps

    def _again(self, model: Any, number: int) -> Tensor:
        """The intact log-probabilities of a batch that had no room.

        Raises:
            RuntimeError: the model says something else of the responses than it did.
        """
        batch = self._batches[number]
        intact = _log_probabilities(_logits(model, batch), batch)
        if not torch.equal(_losses(intact, batch), self._losses[number]):
            raise RuntimeError(
                "model: what it says of the texts has changed since TeacherForced read them (its "
                "weights were changed, or it does not repeat itself), and there was no memory to "
                "keep it; give fewer texts, or texts.shortened(...), which takes the first tokens "
                "of each response"
            )
        return intact


def _in_batches(texts: Responses, batch_size: int) -> Iterator[list[int]]:
    pairs = zip(texts.prompts, texts.responses, strict=True)
    yield from batches([prompt + response for prompt, response in pairs], batch_size)


def _batch(model: Any, texts: Responses, places: list[int]) -> _Batch:
    """Texts as the model reads them. The last token of a text predicts nothing and is not read."""
    read = [(texts.prompts[place] + texts.responses[place])[:-1] for place in places]
    where = [
        (row, len(texts.prompts[place]) - 1 + step, token)
        for row, place in enumerate(places)
        for step, token in enumerate(texts.responses[place])
    ]
    device = upstream.inputs_device(model)
    ids, mask = padded(read, "right", device)
    rows, positions, targets = torch.tensor(where).T.contiguous()
    kept = torch.arange(ids.shape[1])
    arguments = {upstream.INPUT_IDS: ids, upstream.MASK: mask, upstream.USE_CACHE: False}
    if upstream.LAST_LOGITS_ONLY in upstream.forward_arguments(model):
        # Of all texts of the batch together: sorted by length, they begin at about one position.
        kept = positions.unique()
        arguments[upstream.LAST_LOGITS_ONLY] = kept.to(device)
    return _Batch(places, arguments, rows, torch.searchsorted(kept, positions), kept, targets)


def _logits(model: Any, batch: _Batch) -> Tensor:
    """The logits of a batch, (texts, positions asked for, vocabulary).

    Raises:
        RuntimeError: they are of other positions.
    """
    logits: Tensor = model(**batch.arguments).logits
    expected = (len(batch.places), len(batch.kept))
    if logits.shape[:2] != expected:
        raise RuntimeError(
            f"{type(model).__name__} gives logits of shape {tuple(logits.shape)} where those of "
            f"{expected} (texts, positions) were asked for; its logits_to_keep is not understood"
        )
    return logits


def _log_probabilities(logits: Tensor, batch: _Batch) -> Tensor:
    """Those of the intact model, (tokens of the responses, vocabulary).

    Raises:
        ValueError: they are not finite.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    found = torch.empty((len(batch.rows), logits.shape[-1]), dtype=dtype, device=logits.device)
    for chunk in _chunks(logits, len(batch.rows)):
        found[chunk] = _log_softmax(logits, batch, chunk)
    _refuse_not_finite(found.sum(-1), "intact", batch)
    return found


def _losses(log_p: Tensor, batch: _Batch) -> Tensor:
    return -log_p.gather(-1, batch.targets.to(log_p.device)[:, None])[:, 0]


def _kept(values: Tensor, budget: dict[torch.device, int]) -> Tensor | None:
    """Values on their device or on the host, or None where neither has room.

    Args:
        values: to be kept.
        budget: bytes that may still be taken on each device; asked for when first needed.
    """
    for device in dict.fromkeys([values.device, torch.device("cpu")]):
        if device not in budget:
            free = available(torch.empty(0, device=device))
            budget[device] = 0 if free is None else free // 2
        if values.nbytes <= budget[device]:
            budget[device] -= values.nbytes
            return values.to(device)
    return None


def _chunks(logits: Tensor, tokens: int) -> Iterator[slice]:
    """Parts of the tokens of a batch that are looked at together."""
    size = _CHUNK_BYTES.get(logits.device.type, _OTHER_CHUNK_BYTES)
    length = max(1, size // (4 * logits.shape[-1]))
    for first in range(0, tokens, length):
        yield slice(first, min(first + length, tokens))


def _log_softmax(logits: Tensor, batch: _Batch, chunk: slice) -> Tensor:
    chosen = logits[batch.rows[chunk], batch.before[chunk]]
    return chosen.log_softmax(-1, dtype=torch.promote_types(chosen.dtype, torch.float32))


def _compared(logits: Tensor, batch: _Batch, intact: Tensor) -> Tensor:
    """The `MEASURES` of every token of a batch, (3, tokens).

    Raises:
        ValueError: they are not finite.
    """
    found = torch.empty((3, len(batch.rows)), dtype=intact.dtype, device=logits.device)
    for chunk in _chunks(logits, len(batch.rows)):
        log_q = _log_softmax(logits, batch, chunk)
        log_p = intact[chunk].to(log_q.device)
        targets = batch.targets[chunk].to(log_q.device)
        p, q = log_p.exp(), log_q.exp()
        found[1, chunk] = -log_q.gather(-1, targets[:, None])[:, 0]
        found[2, chunk] = log_q.argmax(-1) == targets
        rounding = q.sub_(p).sum(-1)
        found[0, chunk] = torch.linalg.vecdot(p, torch.sub(log_p, log_q, out=log_q)) + rounding
    _refuse_not_finite(found[0] + found[1], "edited", batch)
    return found


def _refuse_not_finite(values: Tensor, which: str, batch: _Batch) -> None:
    wrong = (~values.isfinite()).nonzero()
    if len(wrong):
        place = batch.places[int(batch.rows[int(wrong[0, 0])])]
        raise ValueError(
            f"model: log-probabilities of the {which} model are not finite in {len(wrong)} of "
            f"{len(values)} tokens of a batch, first in text {place} (from 0); its weights are not "
            "finite or it overflows in its dtype: load it in bfloat16 or float32"
        )


def _refuse_unreadable(model: Any, texts: Responses) -> None:
    vocabulary = upstream.vocabulary_size(model)
    for place, text in enumerate(zip(texts.prompts, texts.responses, strict=True)):
        highest = max(map(max, text))
        if highest >= vocabulary:
            raise ValueError(
                f"texts: token {highest} in text {place} (from 0), but the model has tokens 0 to "
                f"{vocabulary - 1} only; give texts of the model's own tokenizer"
            )
    context = upstream.context_length(model)
    pairs = zip(texts.prompts, texts.responses, strict=True)
    longest = max(len(prompt) + len(response) - 1 for prompt, response in pairs)
    if context is not None and longest > context:
        said = f"texts: {too_long(model, longest, context)}"
        if upstream.has_learned_positions(model):
            raise ValueError(said)
        warn(f"{said}; beyond it the model computes what it was never trained for")


def mean_activity(texts: TeacherForced, sites: Sequence[Site]) -> NDArray[np.float64]:
    """The mean activity of nodes where the tokens of responses are predicted, (nodes,).

    Args:
        texts: what is read, once.
        sites: of the model that reads it, whose nodes are meant.
    """
    sums = [torch.zeros(site.count, dtype=torch.float64) for site in sites]

    @contextmanager
    def watched(places: Sequence[int]) -> Iterator[None]:
        def add(values: Tensor, index: int) -> None:
            read = sites[index].read(texts.at_responses(values, places))
            sums[index] += read.sum(0, dtype=torch.float64).cpu()

        with ExitStack() as stack:
            for index, site in enumerate(sites):
                stack.callback(site.watch(partial(add, index=index)).remove)
            yield

    texts.effects(watched)
    means: NDArray[np.float64] = torch.cat(sums).numpy() / texts.tokens.sum()
    return means
