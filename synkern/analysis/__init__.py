"""Atoms to statements: scores of nodes, profiles over depth, averages, references and tests."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.analysis.averages import Averages, NodeAverages, PooledAverages, TrialAverages
    from synkern.analysis.comparison import DepthProfile, Similarity, similarities
    from synkern.analysis.normalisation import NORMALISATIONS, normalised
    from synkern.analysis.nulls import NullTest, benjamini_hochberg, null_test
    from synkern.analysis.persistence import persistence_reference
    from synkern.analysis.profile import MEANS, LayerProfile, layer_profiles
    from synkern.analysis.scores import RANKINGS, NodeScores, node_scores
    from synkern.analysis.surrogates import NULLS

__all__ = [
    "MEANS",
    "NORMALISATIONS",
    "NULLS",
    "RANKINGS",
    "Averages",
    "DepthProfile",
    "LayerProfile",
    "NodeAverages",
    "NodeScores",
    "NullTest",
    "PooledAverages",
    "Similarity",
    "TrialAverages",
    "benjamini_hochberg",
    "layer_profiles",
    "node_scores",
    "normalised",
    "null_test",
    "persistence_reference",
    "similarities",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "Averages": "averages",
            "DepthProfile": "comparison",
            "LayerProfile": "profile",
            "MEANS": "profile",
            "NORMALISATIONS": "normalisation",
            "NULLS": "surrogates",
            "NodeAverages": "averages",
            "NodeScores": "scores",
            "NullTest": "nulls",
            "PooledAverages": "averages",
            "RANKINGS": "scores",
            "Similarity": "comparison",
            "TrialAverages": "averages",
            "benjamini_hochberg": "nulls",
            "layer_profiles": "profile",
            "node_scores": "scores",
            "normalised": "normalisation",
            "null_test": "nulls",
            "persistence_reference": "persistence",
            "similarities": "comparison",
        },
    )
