"""Training some nodes of a language model, and nothing else of it."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.training.errors import TrainingMaskError
    from synkern.training.mask import TrainingMask, training_mask

__all__ = ["TrainingMask", "TrainingMaskError", "training_mask"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "TrainingMask": "mask",
            "TrainingMaskError": "errors",
            "training_mask": "mask",
        },
        of_torch=("mask",),
    )
