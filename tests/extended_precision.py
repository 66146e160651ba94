"""Truth for the ill-conditioned: the definitions in 60 decimal digits, with mpmath."""

from __future__ import annotations

import itertools

import mpmath
import numpy as np
from synkern.kernels.lattice import ATOMS, moebius_matrix


def exact_atoms(x: np.ndarray, y: np.ndarray, tau: int) -> dict[str, float]:
    """The 16 atoms, in nats, of the float64 series taken as exact numbers."""
    with mpmath.workdps(60):
        variables = {
            "x": _unit(x[:-tau]),
            "y": _unit(y[:-tau]),
            "a": _unit(x[tau:]),
            "b": _unit(y[tau:]),
        }

        def determinant(names: str) -> mpmath.mpf:
            return mpmath.det(
                mpmath.matrix(
                    [[mpmath.fdot(variables[p], variables[q]) for q in names] for p in names]
                )
            )

        def information(source: str, target: str) -> mpmath.mpf:
            joint = determinant(source + target)
            return mpmath.log(determinant(source) * determinant(target) / joint) / 2

        past = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
        future = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}
        cumulative = [
            min(information(*pair) for pair in itertools.product(past[atom[0]], future[atom[2]]))
            for atom in ATOMS
        ]
        return {
            atom: float(mpmath.fdot(row, cumulative))
            for atom, row in zip(ATOMS, moebius_matrix().tolist(), strict=True)
        }


def _unit(values: np.ndarray) -> list[mpmath.mpf]:
    exact = [mpmath.mpf(float(value)) for value in values]
    mean = mpmath.fsum(exact) / len(exact)
    centred = [value - mean for value in exact]
    norm = mpmath.sqrt(mpmath.fdot(centred, centred))
    return [value / norm for value in centred]
