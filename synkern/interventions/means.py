"""`Mean`: what a node does on average, in place of what it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.interventions.calls import Calls
from synkern.interventions.edits import Edit, Here, SiteEdit
from synkern.interventions.reading import at_responses, read_texts
from synkern.models.experts import ExpertsSite
from synkern.models.language_model import UnsupportedModelError
from synkern.models.routing import own_outputs
from synkern.models.sites import Handles, SideBySideSite, Site, index_on
from synkern.models.upstream_torch import outside_graphs
from synkern.recording.responses import Responses, responses_of


@dataclass(frozen=True)
class Mean(Edit):
    """What a node does on average over all tokens of the responses of texts.

    The average is over the positions at which these tokens are predicted: the last of the prompt,
    and those of all tokens of the response but the last; every token counts alike, whichever text
    it is of. It is that of the model as it is when this is prepared.

    Of a head and the like it is the mean vector; of a layer, the mean update. Of an expert it is
    the mean of its own output, unweighted, over those of the tokens at which it was chosen; where
    the router chooses the expert, its routing weight times this comes in place of what it does. The
    mean of an expert that was chosen at none of the tokens is over all of them, as if it had been.

    Attributes:
        texts: prompts and responses, or a recording or answers, which have some.
    """

    texts: Responses

    def __post_init__(self) -> None:
        """Take the tokens of what holds some."""
        object.__setattr__(self, "texts", responses_of(self.texts))

    def prepared(self, model: Any, sites: Sequence[Site], batch_size: int) -> tuple[SiteEdit, ...]:
        """See `Edit.prepared`; the model reads the texts, with experts never chosen twice.

        Raises:
            UnsupportedModelError: nodes of a kind that have no mean.
        """
        for site in sites:
            if not isinstance(site, SideBySideSite | ExpertsSite):
                raise UnsupportedModelError(
                    f"kind: 'mean': {site.kind} ({type(site).__name__}) are no vectors, so that "
                    "they have no mean output; use 'zero'"
                )
        sums = [_sums(site) for site in sites]

        def read(unseen: bool) -> None:
            chosen = [i for i, s in enumerate(sums) if not unseen or s.unseen is not None]

            def add(index: int, values: Tensor, places: list[int]) -> None:
                sums[chosen[index]].add(at_responses(values, self.texts, places))

            if chosen:
                read_texts(model, self.texts, [sites[i] for i in chosen], add, batch_size)

        read(unseen=False)
        for each in sums:
            each.begin_unseen()
        read(unseen=True)
        return tuple(each.edit() for each in sums)


class _VectorSums:
    """The sum of the vectors of all nodes of a site."""

    unseen = None

    def __init__(self, site: SideBySideSite) -> None:
        self._site = site
        self._total: Tensor | None = None
        self._tokens = 0

    def add(self, values: Tensor) -> None:
        """Take in values (tokens, ...) of the site."""
        vectors = values.unflatten(-1, (self._site.count, self._site.width))
        total = _summed(vectors)
        self._total = total if self._total is None else self._total + total
        self._tokens += len(values)

    def begin_unseen(self) -> None:
        """Nodes of this kind take part in every token."""

    def edit(self) -> SiteEdit:
        assert self._total is not None
        return _MeanVectors(self._site, (self._total / self._tokens).float())


class _ExpertSums:
    """The sum of the own outputs of each expert of a layer, and of how many tokens."""

    def __init__(self, site: ExpertsSite) -> None:
        self._site = site
        self._total: Tensor | None = None
        self._tokens = torch.zeros(site.count, dtype=torch.int64)
        self.unseen: Tensor | None = None
        """Experts that no token was given to, bool (count,), once all were seen."""

    def add(self, values: Tensor) -> None:
        """Take in values (tokens, ...) of the site: chosen experts, or all that are unseen."""
        site = self._site
        wanted = site.gates(values)[1]
        if self.unseen is not None:
            wanted = self.unseen.to(values.device).expand_as(wanted)
        experts, rows = wanted.T.nonzero().unbind(-1)  # sorted by expert

        def take(outputs: Tensor, some: slice) -> None:
            if self._total is None:
                width = outputs.shape[-1]
                self._total = _wide(outputs).new_zeros(site.count, width)
            where = experts[some].to(self._total.device)
            self._total.index_add_(0, where, _wide(outputs))

        own_outputs(site.module, values[:, : site.width].to(site.dtype), rows, experts, take)
        self._tokens += wanted.sum(0).cpu()

    def begin_unseen(self) -> None:
        unseen = self._tokens == 0
        if bool(unseen.any()):
            self.unseen = unseen

    def edit(self) -> SiteEdit:
        assert self._total is not None
        means = self._total / self._tokens.to(self._total.device)[:, None]
        return _MeanExperts(self._site, means.float())


def _sums(site: Site) -> _VectorSums | _ExpertSums:
    if isinstance(site, ExpertsSite):
        return _ExpertSums(site)
    assert isinstance(site, SideBySideSite)
    return _VectorSums(site)


def _wide(values: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return values.to(values.device if values.device.type == "cuda" else "cpu", torch.float64)


def _summed(values: Tensor) -> Tensor:
    return _wide(values).sum(0)


@dataclass(frozen=True, eq=False)
class _MeanVectors(SiteEdit):
    means: Tensor
    """(count, width)."""

    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        return self.means[index_on(tuple(nodes), self.means.device)].to(own)


@dataclass(frozen=True, eq=False)
class _MeanExperts(SiteEdit):
    """Takes experts out of the sum that their module returns, and adds their means to it."""

    means: Tensor
    """(count, width of the output)."""
    # What is added behind the module could not be taken out again by another edit before it.
    alone: ClassVar[bool] = True

    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        return torch.zeros_like(own)

    def attach(self, here: Here, calls: Calls) -> RemovableHandle:
        site = self.site
        taken: list[Tensor] = []  # the routing weights that were, of the call that is running

        def with_(own: Tensor) -> Tensor:
            new = here.among(torch.zeros_like(own), own)
            taken[:] = [own - new]
            return new

        def returned(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
            weights = taken.pop()
            means = self.means[index_on(tuple(here.nodes), self.means.device)].to(weights)
            added = weights.flatten(0, -3).squeeze(-1) @ means
            return (output + added.reshape(output.shape)).to(output.dtype)

        changing = self.written(here, calls, with_)
        adding = site.module.register_forward_hook(outside_graphs(returned))
        return Handles(changing, adding)
