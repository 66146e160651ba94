"""Atoms to statements: scores of nodes, profiles over depth, averages, references and tests."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.analysis.averages import Averages, NodeAverages, PooledAverages, TrialAverages
    from synkern.analysis.nulls import NullTest, benjamini_hochberg, null_test
    from synkern.analysis.persistence import persistence_reference
    from synkern.analysis.profile import MEANS, LayerProfile, layer_profiles
    from synkern.analysis.scores import RANKINGS, NodeScores, node_scores
    from synkern.analysis.surrogates import NULLS

__all__ = [
    "MEANS",
    "NULLS",
    "RANKINGS",
    "Averages",
    "LayerProfile",
    "NodeAverages",
    "NodeScores",
    "NullTest",
    "PooledAverages",
    "TrialAverages",
    "benjamini_hochberg",
    "layer_profiles",
    "node_scores",
    "null_test",
    "persistence_reference",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Averages": "averages",
            "LayerProfile": "profile",
            "MEANS": "profile",
            "NULLS": "surrogates",
            "NodeAverages": "averages",
            "NodeScores": "scores",
            "NullTest": "nulls",
            "PooledAverages": "averages",
            "RANKINGS": "scores",
            "TrialAverages": "averages",
            "benjamini_hochberg": "nulls",
            "layer_profiles": "profile",
            "node_scores": "scores",
            "null_test": "nulls",
            "persistence_reference": "persistence",
        },
    )
