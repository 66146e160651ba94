"""Series of time from files and from other libraries, with the names they carry.

`read_series` reads files of many formats into a `Dataset`, `from_mne` a recording that MNE holds.
What cannot be used is a `DataError`, which says where it is and what helps.
"""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.data.connectivity import SynergyConnectivity
    from synkern.data.dataset import Dataset
    from synkern.data.errors import DataError
    from synkern.data.options import ReadOptions
    from synkern.data.reading import from_mne, read_series

__all__ = ["DataError", "Dataset", "ReadOptions", "SynergyConnectivity", "from_mne", "read_series"]

_HOMES = {
    "DataError": "errors",
    "Dataset": "dataset",
    "ReadOptions": "options",
    "SynergyConnectivity": "connectivity",
    "from_mne": "reading",
    "read_series": "reading",
}

__getattr__, __dir__ = face(__name__, _HOMES, needs={"SynergyConnectivity": "sklearn"})
