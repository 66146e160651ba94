"""Language models: loading them, their untrained twins, and where their nodes can be read."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.models.checkpoints import CheckpointError
    from synkern.models.language_model import UnsupportedModelError, load, randomly_initialised
    from synkern.models.nodes import Node, find_sites, nodes_of
    from synkern.models.sites import OutputSite, Site, VectorSite

__all__ = [
    "CheckpointError",
    "Node",
    "OutputSite",
    "Site",
    "UnsupportedModelError",
    "VectorSite",
    "find_sites",
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
            "UnsupportedModelError": "language_model",
            "VectorSite": "sites",
            "find_sites": "nodes",
            "load": "language_model",
            "nodes_of": "nodes",
            "randomly_initialised": "language_model",
        },
    )
