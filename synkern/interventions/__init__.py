"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.ablating import Ablation, ablate
    from synkern.interventions.curve_of_accuracy import AccuracyCurve, accuracy_curve
    from synkern.interventions.calls import InterventionError
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.edits import Edit, Scale, Zero
    from synkern.interventions.journal import WeightsChangedError, edited_weights
    from synkern.interventions.noise import Noise, Perturbation, perturb
    from synkern.interventions.accuracy import noise_accuracy
    from synkern.interventions.noised import NoiseAccuracy
    from synkern.interventions.scoring import Scoring

__all__ = [
    "Ablation",
    "AccuracyCurve",
    "Edit",
    "InterventionError",
    "Noise",
    "NoiseAccuracy",
    "Perturbation",
    "Scale",
    "Scoring",
    "WeightsChangedError",
    "Zero",
    "ablate",
    "accuracy_curve",
    "chosen_nodes",
    "edited_weights",
    "noise_accuracy",
    "perturb",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Ablation": "ablating",
            "AccuracyCurve": "curve_of_accuracy",
            "Edit": "edits",
            "InterventionError": "calls",
            "Noise": "noise",
            "NoiseAccuracy": "noised",
            "Perturbation": "noise",
            "Scale": "edits",
            "Scoring": "scoring",
            "WeightsChangedError": "journal",
            "Zero": "edits",
            "ablate": "ablating",
            "accuracy_curve": "curve_of_accuracy",
            "chosen_nodes": "chosen",
            "edited_weights": "journal",
            "noise_accuracy": "accuracy",
            "perturb": "noise",
        },
    )
