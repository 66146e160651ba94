"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.accuracy.curve import AccuracyCurve, accuracy_curve
    from synkern.interventions.accuracy.noised import NoiseAccuracy
    from synkern.interventions.accuracy.scoring import Scoring
    from synkern.interventions.accuracy.under_noise import noise_accuracy
    from synkern.interventions.activity.ablating import Ablation, ablate
    from synkern.interventions.activity.calls import InterventionError
    from synkern.interventions.activity.edits import Edit, Scale, Zero
    from synkern.interventions.activity.means import Mean
    from synkern.interventions.activity.resampling import Resample
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.compressing.compressed import Compression
    from synkern.interventions.compressing.measuring import compression
    from synkern.interventions.compressing.statistics import Comparison
    from synkern.interventions.curves.curve import AblationCurve
    from synkern.interventions.curves.measuring import ablation_curve
    from synkern.interventions.curves.orders import ORDERS, Order, orders_of
    from synkern.interventions.effects import Effects, TeacherForced, effects_of
    from synkern.interventions.weights.journal import WeightsChangedError, edited_weights
    from synkern.interventions.weights.noise import Noise, Perturbation, perturb
    from synkern.interventions.weights.rounding import Rounding

__all__ = [
    "ORDERS",
    "Ablation",
    "AblationCurve",
    "AccuracyCurve",
    "Comparison",
    "Compression",
    "Edit",
    "Effects",
    "InterventionError",
    "Mean",
    "Noise",
    "NoiseAccuracy",
    "Order",
    "Perturbation",
    "Resample",
    "Rounding",
    "Scale",
    "Scoring",
    "TeacherForced",
    "WeightsChangedError",
    "Zero",
    "ablate",
    "ablation_curve",
    "accuracy_curve",
    "chosen_nodes",
    "compression",
    "edited_weights",
    "effects_of",
    "noise_accuracy",
    "orders_of",
    "perturb",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Ablation": "activity.ablating",
            "AblationCurve": "curves.curve",
            "AccuracyCurve": "accuracy.curve",
            "Comparison": "compressing.statistics",
            "Compression": "compressing.compressed",
            "Edit": "activity.edits",
            "Effects": "effects",
            "InterventionError": "activity.calls",
            "Mean": "activity.means",
            "Noise": "weights.noise",
            "NoiseAccuracy": "accuracy.noised",
            "ORDERS": "curves.orders",
            "Order": "curves.orders",
            "Perturbation": "weights.noise",
            "Resample": "activity.resampling",
            "Rounding": "weights.rounding",
            "Scale": "activity.edits",
            "Scoring": "accuracy.scoring",
            "TeacherForced": "effects",
            "WeightsChangedError": "weights.journal",
            "Zero": "activity.edits",
            "ablate": "activity.ablating",
            "ablation_curve": "curves.measuring",
            "accuracy_curve": "accuracy.curve",
            "chosen_nodes": "chosen",
            "compression": "compressing.measuring",
            "edited_weights": "weights.journal",
            "effects_of": "effects",
            "noise_accuracy": "accuracy.under_noise",
            "orders_of": "curves.orders",
            "perturb": "weights.noise",
        },
        of_torch=(
            "activity.ablating",
            "accuracy.under_noise",
            "activity.calls",
            "compressing.compressed",
            "compressing.measuring",
            "accuracy.curve",
            "activity.edits",
            "effects",
            "weights.journal",
            "activity.means",
            "curves.measuring",
            "weights.noise",
            "activity.resampling",
            "weights.rounding",
        ),
    )
