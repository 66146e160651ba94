"""Series to atoms: all pairs or chosen ones, averages or every sample, and what may go before.

`phiid`, `phiid_lags`, `phiid_nodes` and `phiid_local` decompose, `LaggedMoments` takes in a series
as it comes, `calc_PhiID` is phyid's call. `PREPROCESSING` has the steps that change a series,
`MEASURES` what is a sum of atoms, `phiid_pair` the reference that all backends are held to.
"""

from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from synkern.decomposition.decompose import phiid, phiid_lags, phiid_nodes
    from synkern.decomposition.masks import lagged_pairs, stack_trials
    from synkern.decomposition.measures import MEASURES, Measure, atoms_of
    from synkern.decomposition.moments import LaggedMoments
    from synkern.decomposition.node_means import NodeMeans
    from synkern.decomposition.phyid_compat import calc_PhiID
    from synkern.decomposition.pointwise import phiid_local
    from synkern.decomposition.preprocess import PREPROCESSING, copula, detrend, difference, zscore
    from synkern.decomposition.reference import local_pair, phiid_pair
    from synkern.decomposition.result import PhiIDResult
    from synkern.kernels import BACKENDS

__all__ = [
    "BACKENDS",
    "MEASURES",
    "PREPROCESSING",
    "LaggedMoments",
    "Measure",
    "NodeMeans",
    "PhiIDResult",
    "atoms_of",
    "calc_PhiID",
    "copula",
    "detrend",
    "difference",
    "lagged_pairs",
    "local_pair",
    "phiid",
    "phiid_lags",
    "phiid_local",
    "phiid_nodes",
    "phiid_pair",
    "stack_trials",
    "zscore",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "BACKENDS": "backends",
            "LaggedMoments": "moments",
            "MEASURES": "measures",
            "Measure": "measures",
            "NodeMeans": "node_means",
            "PREPROCESSING": "preprocess",
            "PhiIDResult": "result",
            "atoms_of": "measures",
            "calc_PhiID": "phyid_compat",
            "copula": "preprocess",
            "detrend": "preprocess",
            "difference": "preprocess",
            "lagged_pairs": "masks",
            "local_pair": "reference",
            "phiid": "decompose",
            "phiid_lags": "decompose",
            "phiid_local": "pointwise",
            "phiid_nodes": "decompose",
            "phiid_pair": "reference",
            "stack_trials": "masks",
            "zscore": "preprocess",
        },
    )
