"""Series of time with all that is known of them: what readers of files give, and studies take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Trials of the same nodes, and what their file says of nodes and trials.

    Attributes:
        series: (trials, time, nodes), float64, finite wherever `mask` is True; trials that are
            shorter than the longest are filled with zeros, where the mask is False.
        mask: (trials, time), True where a sample is valid; None if all are.
        node_names: one for each node.
        trial_names: one for each trial: its file, its label in the file, or its number.
        subjects: whose each trial is; None where nothing says so, and each trial counts by itself.
        groups: the group of each node, such as its network or hemisphere; "" is in none. None
            where nothing says so.
        coordinates: (nodes, 3), millimetres for images (MNI or scanner space), metres for sensors;
            None where nothing says so.
        space: what the coordinates are in: "mni", "scanner" or "head"; None without coordinates.
        step: seconds from one sample to the next; None where nothing says so.
        sources: the files, in the order they were given, as they are to be called.
        notes: what was decided while reading, in words for a report: axes that were taken for time,
            samples that were masked, nodes that were left out, and why.
    """

    series: npt.NDArray[np.float64]
    mask: npt.NDArray[np.bool_] | None = None
    node_names: tuple[str, ...]
    trial_names: tuple[str, ...]
    subjects: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    coordinates: npt.NDArray[np.float64] | None = None
    space: str | None = None
    step: float | None = None
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of trials, of samples of the longest, and of nodes."""
        trials, time, nodes = self.series.shape
        return trials, time, nodes
