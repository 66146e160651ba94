"""Texts that a model has written, as tokens: what an intervention is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral


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
