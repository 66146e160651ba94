"""synkern: fast integrated information decomposition (ΦID) of all pairs of nodes.

    model → recorder → series → moments → kernel → atoms → node scores → ranking → figure

`phiid` decomposes all or chosen pairs of all trials of an array, `phiid_local` chosen pairs at
every sample, `calc_PhiID` one pair as phyid does; `LaggedMoments` takes in a series as it comes.
`stack_trials` makes a series of trials of unequal length, `lagged_pairs` of pasts and futures.
`record` and `replay` turn a language model into series, `node_scores` atoms into rankings.
`persistence_reference` and `null_test` say what persistence alone would give, and what chance.
"""

from synkern.decompose import phiid
from synkern.dropin import calc_PhiID
from synkern.kernels.lattice import ATOMS
from synkern.local import phiid_local
from synkern.masks import lagged_pairs, stack_trials
from synkern.moments import LaggedMoments
from synkern.node_means import NodeMeans
from synkern.nulls import NullTest, null_test
from synkern.persistence import persistence_reference
from synkern.recorder import record
from synkern.recording import Node, Recording
from synkern.replayer import replay
from synkern.result import PhiIDResult
from synkern.scores import RANKINGS, NodeScores, node_scores

__version__ = "0.1.0"

__all__ = [
    "ATOMS",
    "RANKINGS",
    "LaggedMoments",
    "Node",
    "NodeMeans",
    "NodeScores",
    "NullTest",
    "PhiIDResult",
    "Recording",
    "calc_PhiID",
    "lagged_pairs",
    "node_scores",
    "null_test",
    "persistence_reference",
    "phiid",
    "phiid_local",
    "record",
    "replay",
    "stack_trials",
]
