"""The per-pair arithmetic, and the one door to it: the folder `kernels/` of the repository.

The folder lies beside `synkern/` in a checkout and inside it in a wheel. It has no `__init__.py`,
because a top-level package of that name would hide Hugging Face's `kernels` from whoever runs
Python in the repository root; this module gives it the import path `synkern.kernels` instead.

All that crosses into `synkern/` is listed here, once for type checkers, which know the folder as
`kernels`, and once for Python, which imports a name when it is first used.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from synkern._faces import face

if TYPE_CHECKING:
    from kernels.backend import Backend, Status, Wanted
    from kernels.contract import (
        LIMITS,
        Array,
        ArrayKind,
        Estimator,
        Key,
        Limits,
        Nodes,
        Outcome,
        Pairs,
        Rectangle,
        Request,
        lost_flags,
    )
    from kernels.cpu_backend import compiled_samples
    from kernels.cpu_backend.threads import limit_threads
    from kernels.engine import first_derivative
    from kernels.engine.all_pairs import narrowed, request_for
    from kernels.engine.libraries import NUMPY
    from kernels.engine.marks import quantities
    from kernels.formulas import moments, pointwise, steady, uncorrelated, unit_vectors
    from kernels.formulas.above_mean import above_mean
    from kernels.formulas.discrete import binarise
    from kernels.formulas.estimators import ESTIMATORS, PERSISTENCE
    from kernels.formulas.members.bases import Bases, bases
    from kernels.formulas.members.estimators import OF_MEMBERS
    from kernels.lattice import ATOMS, LEAST_SUM, long_name, swap_nodes, zeta_matrix
    from kernels.registry import BACKENDS

__all__ = [
    "ATOMS",
    "BACKENDS",
    "ESTIMATORS",
    "LEAST_SUM",
    "LIMITS",
    "NUMPY",
    "OF_MEMBERS",
    "PERSISTENCE",
    "Array",
    "ArrayKind",
    "Backend",
    "Bases",
    "Estimator",
    "Key",
    "Limits",
    "Nodes",
    "Outcome",
    "Pairs",
    "Rectangle",
    "Request",
    "Status",
    "Wanted",
    "above_mean",
    "bases",
    "binarise",
    "compiled_samples",
    "first_derivative",
    "limit_threads",
    "long_name",
    "lost_flags",
    "moments",
    "narrowed",
    "pointwise",
    "quantities",
    "request_for",
    "steady",
    "swap_nodes",
    "uncorrelated",
    "unit_vectors",
    "zeta_matrix",
]

_HERE = Path(__file__).resolve().parent
__path__ = [str(p) for p in (_HERE / "kernels", _HERE.parent / "kernels") if p.is_dir()][:1]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "ATOMS": "lattice",
            "Array": "contract",
            "ArrayKind": "contract",
            "BACKENDS": "registry",
            "Backend": "backend",
            "Bases": "formulas.members.bases",
            "ESTIMATORS": "formulas.estimators",
            "Estimator": "contract",
            "LEAST_SUM": "lattice",
            "LIMITS": "contract",
            "Key": "contract",
            "Limits": "contract",
            "NUMPY": "engine.libraries",
            "Nodes": "contract",
            "OF_MEMBERS": "formulas.members.estimators",
            "Outcome": "contract",
            "PERSISTENCE": "formulas.estimators",
            "Pairs": "contract",
            "Rectangle": "contract",
            "Request": "contract",
            "Status": "backend",
            "Wanted": "backend",
            "above_mean": "formulas.above_mean",
            "bases": "formulas.members.bases",
            "binarise": "formulas.discrete",
            "limit_threads": "cpu_backend.threads",
            "long_name": "lattice",
            "lost_flags": "contract",
            "narrowed": "engine.all_pairs",
            "quantities": "engine.marks",
            "request_for": "engine.all_pairs",
            "swap_nodes": "lattice",
            "zeta_matrix": "lattice",
        },
        {
            "compiled_samples": "cpu_backend.compiled_samples",
            "first_derivative": "engine.first_derivative",
            "moments": "formulas.moments",
            "pointwise": "formulas.pointwise",
            "steady": "formulas.steady",
            "uncorrelated": "formulas.uncorrelated",
            "unit_vectors": "formulas.unit_vectors",
        },
    )
