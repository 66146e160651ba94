"""Language models: loading them, their untrained twins, and where their nodes can be read
and changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.models.checkpoints import CheckpointError
    from synkern.models.language_model import UnsupportedModelError, load, randomly_initialised
    from synkern.models.nodes import Node, find_sites, nodes_of
    from synkern.models.sites import OutputSite, Site, VectorSite
    from synkern.models.slices import Slice, find_slices

__all__ = [
    "CheckpointError",
    "Node",
    "OutputSite",
    "Site",
    "Slice",
    "UnsupportedModelError",
    "VectorSite",
    "find_sites",
    "find_slices",
    "load",
    "nodes_of",
    "randomly_initialised",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CheckpointError": "checkpoints",
            "Node": "nodes",
            "OutputSite": "sites",
            "Site": "sites",
            "Slice": "slices",
            "UnsupportedModelError": "language_model",
            "VectorSite": "sites",
            "find_sites": "nodes",
            "find_slices": "slices",
            "load": "language_model",
            "nodes_of": "nodes",
            "randomly_initialised": "language_model",
        },
    )
