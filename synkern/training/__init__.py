"""Training some nodes of a language model, and nothing else of it."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.training.conditions import CONDITIONS, Condition, conditions_of
    from synkern.training.errors import TrainingMaskError
    from synkern.training.mask import TrainingMask, training_mask

__all__ = [
    "CONDITIONS",
    "Condition",
    "TrainingMask",
    "TrainingMaskError",
    "conditions_of",
    "training_mask",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CONDITIONS": "conditions",
            "Condition": "conditions",
            "TrainingMask": "mask",
            "TrainingMaskError": "errors",
            "conditions_of": "conditions",
            "training_mask": "mask",
        },
        of_torch=("mask",),
    )
