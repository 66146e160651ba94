"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.ablating import Ablation, ablate
    from synkern.interventions.calls import InterventionError
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.edits import Edit, Scale, Zero

__all__ = [
    "Ablation",
    "Edit",
    "InterventionError",
    "Scale",
    "Zero",
    "ablate",
    "chosen_nodes",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Ablation": "ablating",
            "Edit": "edits",
            "InterventionError": "calls",
            "Scale": "edits",
            "Zero": "edits",
            "ablate": "ablating",
            "chosen_nodes": "chosen",
        },
    )
