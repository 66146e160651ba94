"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.ablating import Ablation, ablate
    from synkern.interventions.calls import InterventionError
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.edits import Edit, Scale, Zero
    from synkern.interventions.journal import WeightsChangedError, edited_weights
    from synkern.interventions.noise import Noise, Perturbation, perturb

__all__ = [
    "Ablation",
    "Edit",
    "InterventionError",
    "Noise",
    "Perturbation",
    "Scale",
    "WeightsChangedError",
    "Zero",
    "ablate",
    "chosen_nodes",
    "edited_weights",
    "perturb",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Ablation": "ablating",
            "Edit": "edits",
            "InterventionError": "calls",
            "Noise": "noise",
            "Perturbation": "noise",
            "Scale": "edits",
            "WeightsChangedError": "journal",
            "Zero": "edits",
            "ablate": "ablating",
            "chosen_nodes": "chosen",
            "edited_weights": "journal",
            "perturb": "noise",
        },
    )
