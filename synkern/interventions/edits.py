"""What comes in place of what a node does, as small nouns: nothing, or so many times its own.

An edit says what is to happen; `Edit.prepared` makes of it what acts on the sites of a model.
"""

from __future__ import annotations

import math
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.interventions.calls import Calls, InterventionError
from synkern.models.sites import Site, With


class Edit(ABC):
    """What comes in place of what a node does."""

    @abstractmethod
    def prepared(self, model: Any, sites: Sequence[Site], batch_size: int) -> tuple[SiteEdit, ...]:
        """What makes this edit at each of these sites of a model.

        Args:
            model: a causal language model of transformers, or a module that holds one.
            sites: of this model.
            batch_size: texts at a time, where the model has to read some for it.
        """


class Here:
    """Which nodes of one site are edited: the same in all texts, or in each text others."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        """Take bool (nodes of the site,), or (texts, nodes of the site)."""
        rows = np.atleast_2d(mask)
        self.nodes: list[int] = np.flatnonzero(rows.any(0)).tolist()
        """Those that are edited in any text."""
        self.texts: int | None = None if mask.ndim == 1 else len(mask)
        """How many texts a call has to have; None where that is all the same."""
        # (texts, 1, nodes, 1): of every position, and of all numbers of a node.
        with torch.inference_mode(False):
            self._mask = torch.from_numpy(rows[:, None, self.nodes, None])

    def among(self, new: Tensor, own: Tensor) -> Tensor:
        """The new in the texts in which a node is edited, and the nodes' own in others."""
        if self.texts is None:
            return new
        if self._mask.device != own.device:
            with torch.inference_mode(False):  # gradients may be wanted in another call
                self._mask = self._mask.to(own.device)
        return torch.where(self._mask, new, own)


@dataclass(frozen=True, eq=False)
class SiteEdit(ABC):
    """An edit of one site."""

    site: Site
    alone: ClassVar[bool] = False
    """Whether no other edit of the same nodes can be in force beside it."""

    @abstractmethod
    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        """What comes in place of the nodes' own (texts, positions, nodes, numbers of a node)."""

    def attach(self, here: Here, calls: Calls) -> RemovableHandle:
        """Edit these nodes in every call of the model, until the handle is removed."""
        return self.written(
            here, calls, lambda own: here.among(self.new(own, here.nodes, calls), own)
        )

    def written(self, here: Here, calls: Calls, with_: With) -> RemovableHandle:
        """Write this in place of the nodes in every call, until the handle is removed."""
        site = self.site

        def change(values: Tensor) -> Tensor:
            calls.edits(site)
            refuse_other_texts(values, here, site)
            return site.write(values, here.nodes, with_)

        return site.edit(change)


_CLAIMS: weakref.WeakKeyDictionary[nn.Module, list[tuple[frozenset[int], bool]]]
_CLAIMS = weakref.WeakKeyDictionary()


@contextmanager
def claimed(edit: SiteEdit, nodes: Sequence[int]) -> Iterator[None]:
    """Keep edits that cannot be beside each other apart, for the `with` block.

    Raises:
        InterventionError: one of the nodes is being edited already, and one of the two edits has
            to be alone.
    """
    site, claim = edit.site, (frozenset(nodes), edit.alone)
    claims = _CLAIMS.setdefault(site.module, [])
    for others, alone in claims:
        both = sorted(claim[0] & others)
        if both and (alone or edit.alone):
            raise InterventionError(
                f"nodes: number {both[0]} of the {site.kind} of {site.name} is being edited "
                "already, and the mean of an expert can neither come on top of another edit of it "
                "nor below one; leave it out of one of the two"
            )
    claims.append(claim)
    try:
        yield
    finally:
        claims.remove(claim)


def refuse_other_texts(values: Tensor, here: Here, site: Site) -> None:
    """Check that a call has as many texts as the mask of nodes.

    Raises:
        ValueError: it has not.
    """
    if here.texts is not None and values.shape[0] != here.texts:
        raise ValueError(
            f"nodes: a mask for {here.texts} texts, but {site.name} was given {values.shape[0]}; "
            "give a row for each text of the batch (of generate: for each sequence that it returns)"
        )


@dataclass(frozen=True)
class Scale(Edit):
    """So many times a node's own output; of an expert, of its routing weight.

    Attributes:
        factor: 1 leaves the model as it is.
    """

    factor: float

    def __post_init__(self) -> None:
        """Raise ValueError where the factor is not finite."""
        if not math.isfinite(self.factor):
            raise ValueError(f"factor = {self.factor!r}; give a finite number")

    def prepared(self, model: Any, sites: Sequence[Site], batch_size: int) -> tuple[SiteEdit, ...]:
        """See `Edit.prepared`; nothing is read."""
        return tuple(_Scaled(site, self.factor) for site in sites)


@dataclass(frozen=True, eq=False)
class _Scaled(SiteEdit):
    factor: float

    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        return own * self.factor


@dataclass(frozen=True)
class Zero(Edit):
    """Nothing: a node's output is 0, an expert's routing weight is 0, a layer is skipped.

    The router of experts is not asked again, and no other weight changes.
    """

    def prepared(self, model: Any, sites: Sequence[Site], batch_size: int) -> tuple[SiteEdit, ...]:
        """See `Edit.prepared`; nothing is read."""
        return tuple(_Zeroed(site) for site in sites)


@dataclass(frozen=True, eq=False)
class _Zeroed(SiteEdit):
    # Not 0 times its own, which is NaN where that is infinite.

    def new(self, own: Tensor, nodes: Sequence[int], calls: Calls) -> Tensor:
        return torch.zeros_like(own)

    def attach(self, here: Here, calls: Calls) -> RemovableHandle:
        """See `SiteEdit.attach`; their own is not looked at where it goes in all texts."""
        return self.written(here, calls, 0.0) if here.texts is None else super().attach(here, calls)
