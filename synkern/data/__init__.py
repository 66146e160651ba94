"""Series of time from files and from other libraries, with the names they carry."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.data.connectivity import SynergyConnectivity
    from synkern.data.dataset import Dataset

__all__ = ["Dataset", "SynergyConnectivity"]

_HOMES = {
    "Dataset": "dataset",
    "SynergyConnectivity": "connectivity",
}

__getattr__, __dir__ = face(__name__, _HOMES, needs={"SynergyConnectivity": "sklearn"})
