"""synkern: fast integrated information decomposition (ΦID) of all pairs of nodes.

    model → recorder → series → moments → kernel → atoms → node scores → ranking → figure

`phiid` decomposes all or chosen pairs of all trials of an array, `phiid_local` chosen pairs at
every sample, `calc_PhiID` one pair as phyid does; `LaggedMoments` takes in a series as it comes.
`phiid_blocks` decomposes more nodes than there is memory for, here or on many machines.
`stack_trials` makes a series of trials of unequal length, `lagged_pairs` of pasts and futures.
`record` and `replay` turn a language model into series, `node_scores` atoms into rankings.
`persistence_reference` and `null_test` say what persistence alone would give, and what chance.
`SynergyConnectivity` makes features of the pairs of each subject, for scikit-learn.
`ablate` takes nodes of a language model out; `ablation_curve` measures what that does to it, for
more and more nodes in the order of a ranking and of its controls.
`synkern.tasks` makes tasks for language models, and scores how well they do.
`read_series` reads files of series, of regions or sensors for instance, with all their names.
`training_mask` lets chosen nodes of a language model train, and nothing else of it.
"""

import importlib
import sys
from typing import TYPE_CHECKING

# Here, before two threads can ask for names below at once: until the code of this module has run,
# it is no package to another thread.
from synkern import kernels as kernels
from synkern._faces import face, moved
from synkern._version import VERSION

if TYPE_CHECKING:
    from synkern.analysis import (
        RANKINGS,
        NodeScores,
        NullTest,
        node_scores,
        null_test,
        persistence_reference,
    )
    from synkern.data import Dataset, SynergyConnectivity, read_series
    from synkern.decomposition import (
        LaggedMoments,
        NodeMeans,
        PhiIDResult,
        calc_PhiID,
        lagged_pairs,
        phiid,
        phiid_lags,
        phiid_local,
        phiid_nodes,
        stack_trials,
    )
    from synkern.interventions import AblationCurve, ablate, ablation_curve, perturb
    from synkern.kernels import ATOMS, limit_threads, long_name
    from synkern.models import Node
    from synkern.recording import Recording, record, replay
    from synkern.scale import PhiIDBlocks, phiid_blocks
    from synkern.study import Comparison, compare
    from synkern.training import training_mask

__version__ = VERSION

__all__ = [
    "ATOMS",
    "RANKINGS",
    "AblationCurve",
    "Comparison",
    "Dataset",
    "LaggedMoments",
    "Node",
    "NodeMeans",
    "NodeScores",
    "NullTest",
    "PhiIDBlocks",
    "PhiIDResult",
    "Recording",
    "SynergyConnectivity",
    "ablate",
    "ablation_curve",
    "calc_PhiID",
    "compare",
    "lagged_pairs",
    "limit_threads",
    "long_name",
    "node_scores",
    "null_test",
    "persistence_reference",
    "perturb",
    "phiid",
    "phiid_blocks",
    "phiid_lags",
    "phiid_local",
    "phiid_nodes",
    "read_series",
    "record",
    "replay",
    "stack_trials",
    "training_mask",
]

# Imported when first used: the command has to set what OpenMP reads from the environment before
# torch is loaded, and nobody should wait for what is not asked for.
_HOMES = {
    "ATOMS": "kernels",
    "AblationCurve": "interventions",
    "Comparison": "study",
    "Dataset": "data",
    "LaggedMoments": "decomposition",
    "Node": "models",
    "NodeMeans": "decomposition",
    "NodeScores": "analysis",
    "NullTest": "analysis",
    "PhiIDBlocks": "scale",
    "PhiIDResult": "decomposition",
    "RANKINGS": "analysis",
    "Recording": "recording",
    "SynergyConnectivity": "data",
    "ablate": "interventions",
    "ablation_curve": "interventions",
    "calc_PhiID": "decomposition",
    "compare": "study",
    "lagged_pairs": "decomposition",
    "limit_threads": "kernels",
    "long_name": "kernels",
    "node_scores": "analysis",
    "null_test": "analysis",
    "persistence_reference": "analysis",
    "perturb": "interventions",
    "phiid": "decomposition",
    "phiid_blocks": "scale",
    "phiid_lags": "decomposition",
    "phiid_local": "decomposition",
    "phiid_nodes": "decomposition",
    "read_series": "data",
    "record": "recording",
    "replay": "recording",
    "stack_trials": "decomposition",
    "training_mask": "training",
}
_SHOWN = (
    "analysis",
    "data",
    "decomposition",
    "interventions",
    "models",
    "recording",
    "scale",
    "study",
    "tasks",
    "training",
)
_FOLDERS = {name: name for name in _SHOWN}


if "torch" in sys.modules:
    # Notes torch's number of threads, to know later whether it was lowered.
    importlib.import_module(f"{__name__}.kernels.cpu_backend.threads")

moved(
    __name__,
    {
        "attention": "models",
        "averages": "analysis",
        "backends": "decomposition",
        "batches": "decomposition.batches",
        "checkpoint": "models",
        "decoding": "recording",
        "decompose": "decomposition",
        "dropin": "decomposition",
        "figures": "study.report",
        "findings": "study.report",
        "generation": "recording",
        "local": "decomposition",
        "masks": "decomposition",
        "measures": "decomposition",
        "moments": "decomposition",
        "node_means": "decomposition",
        "nulls": "analysis",
        "numerals": "study.numerals",
        "persistence": "analysis",
        "preprocess": "decomposition",
        "profile": "analysis",
        "prompts": "study.prompts",
        "recorder": "recording",
        "recording.Node": "models",
        "recording.nodes_of": "models",
        "reference": "decomposition",
        "replayer": "recording",
        "report": "study.report",
        "result": "decomposition",
        "saving": "decomposition.saving",
        "scores": "analysis",
        "selection": "decomposition.selection",
        "study_analysis": "study.stages.analysis",
        "study_choices": "study.settings",
        "study_folder": "study",
        "study.lock": "_locks",
        "study_lock": "_locks",
        "study_plan": "study.plan",
        "study_recording": "study.stages.recording",
        "study_room": "study.room",
        "study_settings": "study.settings",
        "upstream": "models.upstream",
    },
)

# Not for type checkers, to which the imports above say all: to them it would have any name.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        _HOMES,
        _FOLDERS,
        of_torch=("interventions", "models", "recording", "training"),
        needs={"SynergyConnectivity": "sklearn"},
    )
    # `from synkern import *` takes what there is, as `help` and completion do.
    __all__ = [name for name in __all__ if name in {*__dir__()}]
