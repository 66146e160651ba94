"""Series that lie in zarr, where a recording has put them: read when somebody asks for them."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern._faces import needed
from synkern._memory import require


def zarr_for(path: Path) -> Any:
    """The package zarr.

    Raises:
        MissingExtraError: it is not installed.
    """
    return needed("zarr", f"store = {str(path)!r}", "scale")


@dataclass(frozen=True)
class Stored:
    """The series of nodes that stand together in a zarr array; nothing is read to make one.

    Attributes:
        path: of the array, (trials, steps, nodes) float32.
        shape: (trials, steps, nodes), of these nodes alone.
        first: number of the first of them in the array.
    """

    path: Path
    shape: tuple[int, int, int]
    first: int = 0

    def of(self, nodes: slice) -> Stored:
        """The series of some of these nodes, from `nodes.start` to `nodes.stop`."""
        trials, steps, _ = self.shape
        return Stored(
            self.path, (trials, steps, nodes.stop - nodes.start), self.first + nodes.start
        )

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """All of them, in memory from the first use on.

        Raises:
            MemoryError: they do not fit.
            FileNotFoundError: the array is not there any more.
        """
        if not self.path.exists():
            raise FileNotFoundError(
                errno.ENOENT,
                "the series of this recording are not where they were written; put them back",
                str(self.path),
            )
        trials, steps, nodes = self.shape
        require(
            4 * trials * steps * nodes,
            None,
            f"the series of {nodes:,} nodes",
            f"synkern.phiid_blocks({str(self.path)!r}, out='RESULT.zarr'), which reads them some "
            "nodes at a time",
        )
        zarr = zarr_for(self.path)
        array = zarr.open_array(zarr.storage.LocalStore(self.path, read_only=True), mode="r")
        found: NDArray[np.float32] = array[:, :, self.first : self.first + nodes]
        return found
