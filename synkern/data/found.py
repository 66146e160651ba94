"""What a reader finds in a file, before it is known which axis is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]

GROUPS = ("group", "network", "system", "community", "module", "lobe", "hemisphere", "hemi")
"""What files call the groups of nodes; the first that there is counts."""

XYZ = ("x", "y", "z")
"""What they call the coordinates."""


@dataclass(kw_only=True)
class Found:
    """An array of a file, with what the file says of it.

    Attributes:
        file: as it is to be called.
        values: the array as it is in the file, which may still be there (mapped memory).
        axes: what each axis is, of "subject", "trial", "time" and "node"; None if unsaid.
        trial_names, subjects: one for each trial.
        node_names, groups, coordinates, space, step: as in `Dataset`; None if unsaid.
        valid: True where a sample is valid: (time,) or (trials, time); None if unsaid.
        variable: its name in a file of several arrays; "" in a file of one.
        lines: for each sample of a table, the line of the file that holds it.
        others: names of columns that are no nodes, which `drop` may have.
        masked: whether the column that `mask` names was read.
        chosen: whether what `columns` names was chosen already.
        notes: what was decided, for `Dataset.notes`, without the file's name.
    """

    file: str
    values: Values
    axes: tuple[str, ...] | None = None
    trial_names: Sequence[str] | None = None
    subjects: Sequence[str] | None = None
    node_names: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    coordinates: npt.NDArray[np.float64] | None = None
    space: str | None = None
    step: float | None = None
    valid: npt.NDArray[np.bool_] | None = None
    variable: str = ""
    lines: npt.NDArray[np.int64] | None = None
    others: Sequence[str] = ()
    chosen: bool = False
    masked: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        """The file, and the array in it."""
        return f"{self.file}, array {self.variable!r}" if self.variable else self.file
