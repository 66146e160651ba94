"""What the nodes of a language model do: the model with some of them changed."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.interventions.ablating import Ablation, ablate
    from synkern.interventions.calls import InterventionError
    from synkern.interventions.chosen import chosen_nodes
    from synkern.interventions.curve import AblationCurve
    from synkern.interventions.edits import Edit, Scale, Zero
    from synkern.interventions.effects import Effects, TeacherForced, effects_of
    from synkern.interventions.journal import WeightsChangedError, edited_weights
    from synkern.interventions.means import Mean
    from synkern.interventions.measuring import ablation_curve
    from synkern.interventions.noise import Noise, Perturbation, perturb
    from synkern.interventions.orders import ORDERS, Order, orders_of
    from synkern.interventions.resampling import Resample

__all__ = [
    "ORDERS",
    "Ablation",
    "AblationCurve",
    "Edit",
    "Effects",
    "InterventionError",
    "Mean",
    "Noise",
    "Order",
    "Perturbation",
    "Resample",
    "Scale",
    "TeacherForced",
    "WeightsChangedError",
    "Zero",
    "ablate",
    "ablation_curve",
    "chosen_nodes",
    "edited_weights",
    "effects_of",
    "orders_of",
    "perturb",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Ablation": "ablating",
            "AblationCurve": "curve",
            "Edit": "edits",
            "Effects": "effects",
            "InterventionError": "calls",
            "Mean": "means",
            "ORDERS": "orders",
            "Order": "orders",
            "Resample": "resampling",
            "Scale": "edits",
            "TeacherForced": "effects",
            "Noise": "noise",
            "Perturbation": "noise",
            "WeightsChangedError": "journal",
            "Zero": "edits",
            "ablate": "ablating",
            "ablation_curve": "measuring",
            "chosen_nodes": "chosen",
            "effects_of": "effects",
            "orders_of": "orders",
            "edited_weights": "journal",
            "perturb": "noise",
        },
        of_torch=(
            "ablating",
            "calls",
            "edits",
            "effects",
            "journal",
            "means",
            "measuring",
            "noise",
            "resampling",
        ),
    )
