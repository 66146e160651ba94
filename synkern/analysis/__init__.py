"""Atoms to statements: scores of nodes, profiles over depth, averages, references and tests."""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.analysis.activation import ActivationSlopes, activation_slopes, mean_activation
    from synkern.analysis.averages import Averages, NodeAverages, PooledAverages, TrialAverages
    from synkern.analysis.categories import GroupComparison, compare_groups
    from synkern.analysis.comparison import DepthProfile, Similarity, similarities
    from synkern.analysis.gains import ConditionGain, GainComparison, Gains
    from synkern.analysis.graph.drawing import plot_network
    from synkern.analysis.graph.intervals import NetworkIntervals, network_intervals
    from synkern.analysis.graph.null_graphs import NULL_GRAPHS
    from synkern.analysis.graph.results import Network, Networks
    from synkern.analysis.graph.topology import networks
    from synkern.analysis.graph.weights import WeightedGraph
    from synkern.analysis.normalisation import NORMALISATIONS, normalised
    from synkern.analysis.nulls import benjamini_hochberg, null_test
    from synkern.analysis.persistence import persistence_reference
    from synkern.analysis.profile import MEANS, LayerProfile, layer_profiles
    from synkern.analysis.scores import RANKINGS, NodeScores, node_scores
    from synkern.analysis.surrogates import NULLS
    from synkern.analysis.tested import NullTest

__all__ = [
    "MEANS",
    "NORMALISATIONS",
    "NULLS",
    "NULL_GRAPHS",
    "RANKINGS",
    "ActivationSlopes",
    "Averages",
    "ConditionGain",
    "DepthProfile",
    "GainComparison",
    "Gains",
    "GroupComparison",
    "LayerProfile",
    "Network",
    "NetworkIntervals",
    "Networks",
    "NodeAverages",
    "NodeScores",
    "NullTest",
    "PooledAverages",
    "Similarity",
    "TrialAverages",
    "WeightedGraph",
    "activation_slopes",
    "benjamini_hochberg",
    "compare_groups",
    "layer_profiles",
    "mean_activation",
    "network_intervals",
    "networks",
    "node_scores",
    "normalised",
    "null_test",
    "persistence_reference",
    "plot_network",
    "similarities",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "ActivationSlopes": "activation",
            "Averages": "averages",
            "ConditionGain": "gains",
            "DepthProfile": "comparison",
            "GainComparison": "gains",
            "Gains": "gains",
            "GroupComparison": "categories",
            "LayerProfile": "profile",
            "MEANS": "profile",
            "NORMALISATIONS": "normalisation",
            "NULLS": "surrogates",
            "NULL_GRAPHS": "graph.null_graphs",
            "Network": "graph.results",
            "NetworkIntervals": "graph.intervals",
            "Networks": "graph.results",
            "NodeAverages": "averages",
            "NodeScores": "scores",
            "NullTest": "tested",
            "PooledAverages": "averages",
            "RANKINGS": "scores",
            "Similarity": "comparison",
            "TrialAverages": "averages",
            "WeightedGraph": "graph.weights",
            "activation_slopes": "activation",
            "benjamini_hochberg": "nulls",
            "compare_groups": "categories",
            "layer_profiles": "profile",
            "mean_activation": "activation",
            "network_intervals": "graph.intervals",
            "networks": "graph.topology",
            "node_scores": "scores",
            "normalised": "normalisation",
            "null_test": "nulls",
            "persistence_reference": "persistence",
            "similarities": "comparison",
            "plot_network": "graph.drawing",
        },
    )
