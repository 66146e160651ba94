"""Truth of nodes of several columns: informations of sets of variables in 80 decimal digits."""

import itertools

import mpmath
import numpy as np

from bench.harness.extended_precision import DIGITS, NOTHING, _centred
from synkern.decomposition import reference
from synkern.kernels import ATOMS, zeta_matrix


def exact_atoms(x, y, tau=1, redundancy="MMI"):
    """(16,) atoms, in nats, of float64 nodes (time, columns) taken as exact numbers.

    A column that depends on others of its set exactly counts once.
    """
    with mpmath.workdps(DIGITS):
        exact = _Sets({"x": x[:-tau], "y": y[:-tau], "a": x[tau:], "b": y[tau:]})
        if redundancy == "CCS":
            found = reference._ccs(exact.local)
            cumulative = [float(found[atom].mean()) for atom in ATOMS]
        else:
            cumulative = [
                min(
                    exact.mean(*pair)
                    for pair in itertools.product(
                        reference._PAST[atom[0]], reference._FUTURE[atom[2]]
                    )
                )
                for atom in ATOMS
            ]
    return np.linalg.solve(zeta_matrix(), np.array(cumulative, float))


class _Sets:
    def __init__(self, variables):
        self.columns = {name: [] for name in variables}
        centred = []
        for name, values in variables.items():
            for column in np.asarray(values, np.float64).T:
                whole = _centred(column)
                if whole.any():
                    self.columns[name].append(len(centred))
                    centred.append(whole)
        norms = [mpmath.sqrt(int(v @ v)) for v in centred]
        self.unit = [
            [mpmath.mpf(int(value)) / norm for value in v]
            for v, norm in zip(centred, norms, strict=True)
        ]
        self.samples = len(centred[0])
        self.gram = mpmath.matrix(len(centred))
        for i, j in itertools.product(range(len(centred)), repeat=2):
            self.gram[i, j] = int(centred[i] @ centred[j]) / (norms[i] * norms[j])

    def mean(self, source, target):
        return self._entropy(source) + self._entropy(target) - self._entropy(source + target)

    def local(self, source, target):
        mean = self.mean(source, target)
        sides = zip(*(self._distances(s) for s in (source, target, source + target)), strict=True)
        return np.array([float(mean + (self.samples - 1) * (u + v - w) / 2) for u, v, w in sides])

    def _pivots(self, names):
        """Columns of a set, each with its variance given those before; without dependent ones."""
        chosen, pivots = [], []
        index = [k for name in names for k in self.columns[name]]
        c = {(i, j): self.gram[i, j] for i in index for j in index}
        for place, k in enumerate(index):
            if c[k, k] < NOTHING:
                continue
            chosen.append(k)
            pivots.append(c[k, k])
            for i, j in itertools.product(index[place + 1 :], repeat=2):
                c[i, j] -= c[i, k] * c[k, j] / c[k, k]
            # Row and column k stay: those after it were cleared of it.
        return chosen, pivots

    def _entropy(self, names):
        return mpmath.fsum(mpmath.log(pivot) for pivot in self._pivots(names)[1]) / 2

    def _distances(self, names):
        chosen, _ = self._pivots(names)
        inverse = mpmath.matrix([[self.gram[i, j] for j in chosen] for i in chosen]) ** -1
        for t in range(self.samples):
            v = mpmath.matrix([self.unit[k][t] for k in chosen])
            yield (v.T * inverse * v)[0]
