"""Series of time with all that is known of them: what readers of files give, and studies take."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synkern.data.errors import DataError


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

    Raises:
        DataError: `series` has other axes or another dtype, or what belongs to its trials, samples
            or nodes is not one for each of them.
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

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        series = self.series
        if not isinstance(series, np.ndarray) or series.ndim != 3 or series.dtype != np.float64:
            is_array = isinstance(series, np.ndarray)
            held = f"{series.dtype} {series.shape}" if is_array else type(series).__name__
            raise DataError(f"series is {held}; give a float64 array (trials, time, nodes)")
        trials, time, nodes = series.shape
        mask = self.mask
        if mask is not None and (mask.dtype != np.bool_ or mask.shape != (trials, time)):
            raise DataError(
                f"mask is {mask.dtype} {mask.shape}; give bool ({trials}, {time}), True where a "
                "sample is valid"
            )
        counts = {"node_names": nodes, "trial_names": trials, "subjects": trials, "groups": nodes}
        for name, count in counts.items():
            held_names = getattr(self, name)
            if held_names is not None and len(held_names) != count:
                raise DataError(f"{name} has {len(held_names)} entries; give {count}, one for each")
        if len({*self.node_names}) < nodes:
            raise DataError("node_names has a name twice; give each node its own")
        places = self.coordinates
        if places is not None and (places.shape != (nodes, 3) or not np.isfinite(places).all()):
            raise DataError(
                f"coordinates is {places.shape}, or holds what is not finite; give ({nodes}, 3)"
            )
        if self.step is not None and not 0 < self.step < math.inf:
            raise DataError(f"step = {self.step!r}; give seconds, a number above 0, or None")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of trials, of samples of the longest, and of nodes."""
        trials, time, nodes = self.series.shape
        return trials, time, nodes
