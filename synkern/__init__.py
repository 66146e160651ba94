"""synkern: fast integrated information decomposition (ΦID) of all pairs of nodes.

    model → recorder → series → moments → kernel → atoms → node scores → ranking → figure

`phiid` decomposes all or chosen pairs of all trials of an array, `phiid_local` chosen pairs at
every sample, `calc_PhiID` one pair as phyid does; `LaggedMoments` takes in a series as it comes.
`stack_trials` makes a series of trials of unequal length, `lagged_pairs` of pasts and futures.
`record` and `replay` turn a language model into series, `node_scores` atoms into rankings.
`persistence_reference` and `null_test` say what persistence alone would give, and what chance.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

# Here, before two threads can ask for names below at once: until the code of this module has run,
# it is no package to another thread.
from synkern import kernels as kernels

if TYPE_CHECKING:
    from synkern.decompose import phiid
    from synkern.dropin import calc_PhiID
    from synkern.kernels.cpu_threads import limit_threads
    from synkern.kernels.lattice import ATOMS, long_name
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
    "limit_threads",
    "long_name",
    "node_scores",
    "null_test",
    "persistence_reference",
    "phiid",
    "phiid_local",
    "record",
    "replay",
    "stack_trials",
]

# Imported when first used: torch alone takes seconds, and the command has to set what OpenMP reads
# from the environment before torch is loaded.
_HOMES = {
    "ATOMS": "kernels.lattice",
    "LaggedMoments": "moments",
    "Node": "recording",
    "NodeMeans": "node_means",
    "NodeScores": "scores",
    "NullTest": "nulls",
    "PhiIDResult": "result",
    "RANKINGS": "scores",
    "Recording": "recording",
    "calc_PhiID": "dropin",
    "lagged_pairs": "masks",
    "limit_threads": "kernels.cpu_threads",
    "long_name": "kernels.lattice",
    "node_scores": "scores",
    "null_test": "nulls",
    "persistence_reference": "persistence",
    "phiid": "decompose",
    "phiid_local": "local",
    "record": "recorder",
    "replay": "replayer",
    "stack_trials": "masks",
}


if "torch" in sys.modules:
    # Notes torch's number of threads, to know later whether it was lowered.
    importlib.import_module(f"{__name__}.kernels.cpu_threads")


# Not for type checkers, to which the imports above say all: to them it would have any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if home := _HOMES.get(name):
            value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
        # `synkern.measures` and the like work without an import of their own.
        public = name.isidentifier() and not name.startswith("_")
        if public and importlib.util.find_spec(f"{__name__}.{name}"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
