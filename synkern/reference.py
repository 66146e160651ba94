"""The one truth: Gaussian ΦID with MMI redundancy of one pair of series, from the definitions.

Written to be read beside the paper (Mediano, Rosas, Luppi et al., PNAS 2025, arXiv:2109.13186), in
NumPy and float64, one pair at a time. It shares no arithmetic with any backend: entropies are
log-determinants of sub-matrices, and the atoms solve the lattice's equations.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from synkern.kernels.lattice import ATOMS, zeta_matrix

Series = npt.NDArray[np.float64] | Sequence[float]


def phiid_pair(x: Series, y: Series, tau: int) -> dict[str, float]:
    """All 16 atoms of a pair.

    Args:
        x: first node, (time,).
        y: second node, (time,).
        tau: lag in samples.

    Returns:
        By atom name, in nats.

    Raises:
        numpy.linalg.LinAlgError: some of the four variables determine another one: the
            definitions give no number. What a backend makes of this is in `kernels.stable.Outcome`.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # Two variables of the past and two of the future; correlation standardises each on its own.
    variables = {"x": x[:-tau], "y": y[:-tau], "a": x[tau:], "b": y[tau:]}
    if any(np.ptp(variable) == 0 for variable in variables.values()):
        raise np.linalg.LinAlgError("a series is constant, and its correlations are undefined")
    correlation = np.asarray(np.corrcoef(np.stack(list(variables.values()))))

    def entropy(names: str) -> float:
        """Of jointly Gaussian variables, up to a constant that cancels in every information."""
        index = [list(variables).index(name) for name in names]
        sign, log_determinant = np.linalg.slogdet(correlation[np.ix_(index, index)])
        if not sign > 0:
            raise np.linalg.LinAlgError(f"the correlation matrix of {names} is singular")
        return 0.5 * float(log_determinant)

    def information(source: str, target: str) -> float:
        return entropy(source) + entropy(target) - entropy(source + target)

    # A point of the redundancy lattice is a set of sources; MMI redundancy between sets is the
    # least information that one of the first carries about one of the second.
    past = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
    future = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}
    cumulative = [
        min(information(*pair) for pair in itertools.product(past[atom[0]], future[atom[2]]))
        for atom in ATOMS
    ]
    # Each cumulative quantity is the sum of the atoms at or below it.
    atoms = np.linalg.solve(zeta_matrix(), cumulative)
    return dict(zip(ATOMS, atoms.tolist(), strict=True))
