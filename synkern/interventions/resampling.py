"""`Resample`: what a node does in another text, in place of what it does in this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synkern._memory import require
from synkern.interventions.calls import Calls, InterventionError
from synkern.interventions.edits import Edit, SiteEdit
from synkern.interventions.reading import fed, read_texts
from synkern.models.language_model import UnsupportedModelError
from synkern.models.sites import SideBySideSite, Site, index_on
from synkern.models.upstream import cached_tokens
from synkern.recording.responses import Responses, responses_of


@dataclass(frozen=True)
class Resample(Edit):
    """What a node does at the same place of another of the texts.

    Every text is the donor of one other, as chance has it, and never its own. The same place in the
    response is the same step: the position at which its first token is predicted, its second, and
    so on; after the last step of a donor whose response is shorter, its steps begin anew. The same
    place in the prompt is the same position, and where prompts differ in length the position that
    lies as far between the first and the last (rounded): so the first token, which many heads
    attend to when they have nothing to do, is always replaced by a first token.

    The model must be called with whole texts, from their first token. All that nodes do in all
    texts stays in memory, on the model's device.

    Attributes:
        texts: prompts and responses, all different, at least two; or a recording or answers, which
            have some.
        seed: for who is whose donor.
    """

    texts: Responses
    seed: int = 0

    def __post_init__(self) -> None:
        """Take the tokens of what holds some."""
        object.__setattr__(self, "texts", responses_of(self.texts))

    def prepared(self, model: Any, sites: Sequence[Site], batch_size: int) -> tuple[SiteEdit, ...]:
        """See `Edit.prepared`; the model reads the texts.

        Raises:
            UnsupportedModelError: nodes that do not take part in every text at every position, such
                as experts.
            ValueError: a text that is there twice, or alone.
            MemoryError: what nodes do in all texts does not fit into memory.
        """
        vectors = []
        for site in sites:
            if not isinstance(site, SideBySideSite):
                raise UnsupportedModelError(
                    f"kind: 'resample' of {site.kind}: a node that the router chose here need not "
                    "have been chosen at the same place of another text, and then did nothing "
                    "there that could come in its place; use 'mean', or 'zero'"
                )
            vectors.append(site)
        donors = _Donors(self.texts, self.seed)
        kept: dict[int, Tensor] = {}

        def keep(index: int, values: Tensor, places: list[int]) -> None:
            if not kept:
                numbers = donors.positions * sum(site.count * site.width for site in vectors)
                require(
                    numbers * values.element_size(),
                    values,
                    f"the outputs of {sum(site.count for site in vectors):,} nodes at "
                    f"{donors.positions:,} positions",
                    "fewer texts, texts.shortened(...), or kind='mean'",
                )
            if index not in kept:
                kept[index] = values.new_empty(donors.positions, values.shape[-1])
            for row, place in enumerate(places):
                first, last = donors.starts[place], donors.starts[place + 1]
                kept[index][first:last] = values[row, : last - first]

        read_texts(model, self.texts, vectors, keep, batch_size)
        return tuple(_Resampled(site, donors, kept[i]) for i, site in enumerate(vectors))


class _Donors:
    """Who is whose donor, and where in the donor the same place is."""

    def __init__(self, texts: Responses, seed: int) -> None:
        if len(texts) < 2:
            raise ValueError(
                "texts: one alone has no other whose outputs could come in place of its own; give "
                "at least two"
            )
        self._rows = [fed(texts, place) for place in range(len(texts))]
        self._whole = [p + r for p, r in zip(texts.prompts, texts.responses, strict=True)]
        first: dict[tuple[int, ...], int] = {}
        for place, text in enumerate(self._whole):
            if first.setdefault(text, place) != place:
                raise ValueError(
                    f"texts: numbers {first[text]} and {place} (from 0) are the same text, and one "
                    "could come in the place of the other, where nothing would change; give each "
                    "once"
                )
        self._prompts = [len(prompt) for prompt in texts.prompts]
        self._steps = [len(response) for response in texts.responses]
        self.starts: list[int] = np.cumsum([0, *map(len, self._rows)]).tolist()
        """Of each text the place of its first position among those of all, and behind the last."""
        self.positions = self.starts[-1]
        """Of all texts."""
        # In a ring, so that nobody is next to itself.
        ring = np.random.default_rng(seed).permutation(len(texts))
        self._donor = dict(zip(ring.tolist(), np.roll(ring, 1).tolist(), strict=True))
        self._known: tuple[Calls, int, Tensor] | None = None

    def here(self, calls: Calls) -> Tensor:
        """Of the running call the positions of donors among those of all, int64 (rows, tokens)."""
        known = self._known
        if known is None or known[0] is not calls or known[1] != calls.number:
            self._known = known = (calls, calls.number, torch.from_numpy(self._found(calls)))
        return known[2]

    def on(self, calls: Calls, device: torch.device) -> Tensor:
        """The same on a device."""
        found = self.here(calls)
        if found.device != device:
            found = found.to(device)
            self._known = (calls, calls.number, found)
        return found

    def _found(self, calls: Calls) -> NDArray[np.int64]:
        call = calls.running()
        held = max((cached_tokens(cache) for cache in call.caches), default=0)
        if held:
            raise InterventionError(
                f"resample: the model was called with a cache of {held} tokens; which position of "
                "another text is the same cannot be told while a text is written. Let the model "
                "read whole texts"
            )
        if call.ids is None:
            raise InterventionError(
                "resample: the model was called with embeddings, so that it cannot be seen which "
                "texts they are; call it with token ids"
            )
        ids = call.ids.cpu().numpy()
        rows = range(len(self._rows)) if calls.rows is None else calls.rows
        if len(rows) != len(ids):
            raise InterventionError(
                f"resample: the model was called with {len(ids)} texts, and {len(rows)} were "
                "expected; say which of `texts` they are, in order: rows=[...]"
            )
        mask = np.ones(ids.shape, dtype=bool)
        if isinstance(call.mask, Tensor) and call.mask.shape == call.ids.shape:
            mask = call.mask.cpu().numpy() != 0
        found = np.zeros(ids.shape, dtype=np.int64)
        for row, place in enumerate(rows):
            if not 0 <= place < len(self._rows):
                raise InterventionError(
                    f"resample: rows names text {place}, and there are {len(self._rows)}; count "
                    "from 0"
                )
            own = tuple(ids[row, mask[row]].tolist())
            if own != self._whole[place][: len(own)]:
                raise InterventionError(
                    f"resample: row {row} of a call is not text {place} (from 0) from its first "
                    "token on, as told by its tokens where the attention mask is not 0; call the "
                    "model with `texts`, and say which: rows=[...]"
                )
            found[row, mask[row]] = self._same_places(place, len(own))
        return found

    def _same_places(self, place: int, tokens: int) -> NDArray[np.int64]:
        """Of the first tokens of a text the positions of its donor among those of all texts."""
        donor = self._donor[place]
        last, donor_last = self._prompts[place] - 1, self._prompts[donor] - 1
        position = np.arange(tokens)
        # Half a position is rounded up, in whole numbers.
        in_prompt = (2 * position * donor_last + last) // max(1, 2 * last)
        in_response = donor_last + (position - last) % self._steps[donor]
        found: NDArray[np.int64] = np.where(position < last, in_prompt, in_response)
        return self.starts[donor] + found


@dataclass(frozen=True, eq=False)
class _Resampled(SiteEdit):
    donors: _Donors
    values: Tensor
    """(positions of all texts, count * width)."""

    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        where = self.donors.on(calls, self.values.device)
        if where.shape != own.shape[:-2]:
            raise InterventionError(
                f"resample: {self.site.name} was given values for {tuple(own.shape[:-2])} texts "
                f"and positions in a call with {tuple(where.shape)}, so that places cannot be told"
            )
        vectors = self.values.unflatten(-1, (self.site.count, -1))
        new: Tensor = vectors[where[..., None], index_on(tuple(nodes), where.device)]
        return new
