"""Past one machine: one call as many blocks of pairs, results in a zarr store.

`phiid_blocks` decomposes block after block, here or on the workers of dask, and goes on where it
was stopped; `PhiIDBlocks` reads what is there; `plan_blocks` says beforehand what it will take.
"""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.scale.errors import BlocksError, StoreInUseError
    from synkern.scale.matrix import BlockedMatrix
    from synkern.scale.plan import Plan, plan_blocks
    from synkern.scale.progress import Progress
    from synkern.scale.result import PhiIDBlocks
    from synkern.scale.run import phiid_blocks

__all__ = [
    "BlockedMatrix",
    "BlocksError",
    "PhiIDBlocks",
    "Plan",
    "Progress",
    "StoreInUseError",
    "phiid_blocks",
    "plan_blocks",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "BlockedMatrix": "matrix",
            "BlocksError": "errors",
            "PhiIDBlocks": "result",
            "Plan": "plan",
            "Progress": "progress",
            "StoreInUseError": "errors",
            "phiid_blocks": "run",
            "plan_blocks": "plan",
        },
    )
