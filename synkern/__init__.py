"""synkern: fast integrated information decomposition (ΦID) of all pairs of nodes.

    model → recorder → series → moments → kernel → atoms → node scores → ranking → figure

`phiid` decomposes all pairs of all trials of an array, `calc_PhiID` one pair as phyid does,
`record` and `replay` turn a language model into series, `node_scores` atoms into rankings.
"""

from synkern.decompose import phiid
from synkern.dropin import calc_PhiID
from synkern.kernels.lattice import ATOMS
from synkern.recorder import record
from synkern.recording import Node, Recording
from synkern.replayer import replay
from synkern.result import PhiIDResult
from synkern.scores import RANKINGS, NodeScores, node_scores

__version__ = "0.1.0"

__all__ = [
    "ATOMS",
    "RANKINGS",
    "Node",
    "NodeScores",
    "PhiIDResult",
    "Recording",
    "calc_PhiID",
    "node_scores",
    "phiid",
    "record",
    "replay",
]
