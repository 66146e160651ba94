"""Language models: loading them, their untrained twins, and where their heads can be read."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.models.checkpoints import CheckpointError
    from synkern.models.heads import (
        OutputProjection,
        UnsupportedModelError,
        find_output_projections,
    )
    from synkern.models.language_model import load, randomly_initialised

__all__ = [
    "CheckpointError",
    "OutputProjection",
    "UnsupportedModelError",
    "find_output_projections",
    "load",
    "randomly_initialised",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CheckpointError": "checkpoints",
            "OutputProjection": "heads",
            "UnsupportedModelError": "heads",
            "find_output_projections": "heads",
            "load": "language_model",
            "randomly_initialised": "language_model",
        },
    )
