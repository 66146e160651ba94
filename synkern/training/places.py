"""Where the numbers of a parameter are in a weight, and how they are copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor

from synkern.models.slices import Where

FEW = 4
"""From so many rows or columns in a run on, copying runs takes less time than copying by index."""


@dataclass(frozen=True)
class Place:
    """Numbers of a weight, as runs of rows or columns where they are some, as those of heads."""

    runs: tuple[Where, ...]
    """Indices into the weight, of what follows one another in the parameter."""
    axis: int = 0
    """Along which it does."""

    @property
    def is_view(self) -> bool:
        """Whether the runs can be had without copying."""
        return not any(isinstance(index, Tensor) for run in self.runs for index in run)

    def taken(self, weight: Tensor) -> Tensor:
        """The numbers, as a copy: a view would keep the whole weight in memory."""
        return torch.cat([weight[run] for run in self.runs], self.axis)

    def views(self, weight: Tensor, parameter: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
        """Of every run the numbers in the weight, and the same ones in the parameter."""
        there = [weight[run] for run in self.runs]
        here = parameter.split([numbers.shape[self.axis] for numbers in there], self.axis)
        return zip(there, here, strict=True)

    def on(self, device: torch.device) -> Place:
        """The same with indices on the device of what they index."""
        if self.is_view:
            return self
        runs = (tuple(i.to(device) if isinstance(i, Tensor) else i for i in r) for r in self.runs)
        return Place(tuple(runs), self.axis)


def place_of(where: Where) -> Place:
    """An index as a place."""
    axis = next((i for i, index in enumerate(where) if isinstance(index, Tensor)), None)
    if axis is None:
        return Place((where,))
    rows = cast(Tensor, where[axis])
    breaks = ((rows.diff() != 1).nonzero().flatten() + 1).tolist()
    ends = [0, *breaks, len(rows)]
    if len(rows) < FEW * (len(ends) - 1):
        return Place((where,))
    runs = [slice(int(rows[i]), int(rows[j - 1]) + 1) for i, j in pairwise(ends)]
    return Place(
        tuple(tuple(run if i == axis else w for i, w in enumerate(where)) for run in runs), axis
    )
