"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.ablating import Ablation, ablate
    from synkern.interventions.accuracy import noise_accuracy
    from synkern.interventions.calls import InterventionError
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.compressed import Compression
    from synkern.interventions.compressing import compression
    from synkern.interventions.compression_statistics import Comparison
    from synkern.interventions.curve import AblationCurve
    from synkern.interventions.curve_of_accuracy import AccuracyCurve, accuracy_curve
    from synkern.interventions.edits import Edit, Scale, Zero
    from synkern.interventions.effects import Effects, TeacherForced, effects_of
    from synkern.interventions.journal import WeightsChangedError, edited_weights
    from synkern.interventions.means import Mean
    from synkern.interventions.measuring import ablation_curve
    from synkern.interventions.noise import Noise, Perturbation, perturb
    from synkern.interventions.noised import NoiseAccuracy
    from synkern.interventions.orders import ORDERS, Order, orders_of
    from synkern.interventions.resampling import Resample
    from synkern.interventions.rounding import Rounding
    from synkern.interventions.scoring import Scoring

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
            "Ablation": "ablating",
            "AblationCurve": "curve",
            "AccuracyCurve": "curve_of_accuracy",
            "Comparison": "compression_statistics",
            "Compression": "compressed",
            "Edit": "edits",
            "Effects": "effects",
            "InterventionError": "calls",
            "Mean": "means",
            "Noise": "noise",
            "NoiseAccuracy": "noised",
            "ORDERS": "orders",
            "Order": "orders",
            "Perturbation": "noise",
            "Resample": "resampling",
            "Rounding": "rounding",
            "Scale": "edits",
            "Scoring": "scoring",
            "TeacherForced": "effects",
            "WeightsChangedError": "journal",
            "Zero": "edits",
            "ablate": "ablating",
            "ablation_curve": "measuring",
            "accuracy_curve": "curve_of_accuracy",
            "chosen_nodes": "chosen",
            "compression": "compressing",
            "edited_weights": "journal",
            "effects_of": "effects",
            "noise_accuracy": "accuracy",
            "orders_of": "orders",
            "perturb": "noise",
        },
        of_torch=(
            "ablating",
            "accuracy",
            "calls",
            "compressed",
            "compressing",
            "curve_of_accuracy",
            "edits",
            "effects",
            "journal",
            "means",
            "measuring",
            "noise",
            "resampling",
            "rounding",
        ),
    )
