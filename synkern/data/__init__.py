"""Series of time from files and from other libraries, with the names they carry."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.data.dataset import Dataset

__all__ = ["Dataset"]

_HOMES = {
    "Dataset": "dataset",
}

__getattr__, __dir__ = face(__name__, _HOMES)
