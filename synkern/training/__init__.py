"""Training some nodes of a language model, and nothing else of it."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.training.conditions import Condition, conditions_of
    from synkern.training.errors import TrainingMaskError
    from synkern.training.mask import TrainingMask, training_mask
    from synkern.training.options import CONDITIONS
    from synkern.training.tuning.method import METHODS, Method
    from synkern.training.tuning.run import TunedNodes, train_nodes

__all__ = [
    "CONDITIONS",
    "METHODS",
    "Condition",
    "Method",
    "TrainingMask",
    "TrainingMaskError",
    "TunedNodes",
    "conditions_of",
    "train_nodes",
    "training_mask",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CONDITIONS": "options",
            "Condition": "conditions",
            "METHODS": "tuning.method",
            "Method": "tuning.method",
            "TrainingMask": "mask",
            "TrainingMaskError": "errors",
            "TunedNodes": "tuning.run",
            "conditions_of": "conditions",
            "train_nodes": "tuning.run",
            "training_mask": "mask",
        },
        of_torch=("mask", "tuning.run"),
    )
