"""Texts that a model has written, as tokens: what an intervention is judged on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Responses:
    """Prompts and what a model answered, as token ids without padding; a text is both, in a row.

    Nothing is ever generated again for them: a model reads prompt and response as they are
    (teacher forcing), and says at every position which token it would expect next.

    Attributes:
        prompts: the tokens of each prompt, at least one.
        responses: the tokens of each response, at least one.

    Raises:
        TypeError: tokens that are no whole numbers.
        ValueError: there are no texts, not as many responses as prompts, or one without tokens; a
            negative token.
    """

    prompts: tuple[tuple[int, ...], ...]
    responses: tuple[tuple[int, ...], ...]

    def __init__(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]):
        """Take the tokens, from sequences of any type of whole numbers (lists, arrays, tensors)."""
        object.__setattr__(self, "prompts", _as_tokens("prompts", prompts))
        object.__setattr__(self, "responses", _as_tokens("responses", responses))
        if len(self.prompts) != len(self.responses):
            raise ValueError(
                f"responses: {len(self.responses)} for {len(self.prompts)} prompts; give one each"
            )

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.prompts)

    def __repr__(self) -> str:
        """Return number and lengths."""
        shortest, longest = min(map(len, self.responses)), max(map(len, self.responses))
        tokens = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        return f"Responses({len(self)} texts, {tokens} tokens in response)"

    def some(self, places: Sequence[int]) -> Responses:
        """The texts at these places, in this order."""
        return Responses(
            [self.prompts[place] for place in places], [self.responses[place] for place in places]
        )

    def shortened(self, tokens: int) -> Responses:
        """The same with no more than the first `tokens` tokens of each response.

        Raises:
            ValueError: less than one.
        """
        if tokens < 1:
            raise ValueError(f"tokens = {tokens!r}; at least one token of a response must be left")
        return Responses(self.prompts, [tuple(islice(each, tokens)) for each in self.responses])


@dataclass(frozen=True)
class BatchTokens:
    """The tokens of one batch of texts as a model was given and gave them.

    Attributes:
        prompts: (texts, tokens), padded on the left.
        mask: 0 at the padding, of the same shape; None where there is none.
        responses: (texts, tokens), as far as they are known; padding after a text's end.
        lengths: (texts,), the tokens of each response until its end token, and that.
    """

    prompts: Tensor
    mask: Tensor | None
    responses: Tensor
    lengths: Tensor

    def texts(self) -> Iterator[tuple[list[int], list[int]]]:
        """Prompt and response of each text, without padding."""
        lengths = self.lengths.tolist()
        mask = [[1] * self.prompts.shape[1]] * len(lengths)
        if self.mask is not None:
            mask = self.mask.tolist()
        parts = (self.prompts.tolist(), mask, self.responses.tolist(), lengths)
        for prompt, kept, response, length in zip(*parts, strict=True):
            yield [t for t, keep in zip(prompt, kept, strict=True) if keep], response[:length]


def joined(batches: Sequence[BatchTokens]) -> Responses:
    """The texts of all batches, one after the other."""
    texts = [text for batch in batches for text in batch.texts()]
    return Responses([prompt for prompt, _ in texts], [response for _, response in texts])


def responses_of(texts: Any) -> Responses:
    """The tokens of texts, whatever holds them.

    Args:
        texts: `Responses`, or what has some: a `Recording`, or `Answers`.

    Raises:
        TypeError: it is none of these.
        RecordingError: the tokens of a recording are not known; the message says why.
    """
    found = texts if isinstance(texts, Responses) else getattr(texts, "responses", None)
    if not isinstance(found, Responses):
        raise TypeError(
            f"texts: {type(texts).__name__} holds no tokens of prompts and responses; give what "
            "synkern.record, replay or record_answers return, or "
            "synkern.recording.Responses(prompts, responses)"
        )
    return found


def _as_tokens(name: str, texts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    found = tuple(tuple(text.tolist() if hasattr(text, "tolist") else text) for text in texts)
    if not found:
        raise ValueError(f"{name}: there are none; give at least one text")
    for place, text in enumerate(found):
        if not text:
            raise ValueError(f"{name}: number {place} (from 0) has no tokens; leave that text out")
        wrong = next((t for t in text if not isinstance(t, Integral) or isinstance(t, bool)), None)
        if wrong is not None:
            raise TypeError(f"{name}: {wrong!r} in number {place} is no token; give whole numbers")
        if min(text) < 0:
            raise ValueError(f"{name}: token {min(text)} in number {place}; none is below 0")
    return tuple(tuple(int(token) for token in text) for text in found)
