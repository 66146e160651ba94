"""Training of chosen nodes by the trainers of trl, supervised and by reinforcement."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.training.tuning.method import METHODS, Method
    from synkern.training.tuning.run import TunedNodes, train_nodes

__all__ = ["METHODS", "Method", "TunedNodes", "train_nodes"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "METHODS": "method",
            "Method": "method",
            "TunedNodes": "run",
            "train_nodes": "run",
        },
        of_torch=("run",),
    )
