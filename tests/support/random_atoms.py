"""Atoms of random numbers for nodes of four layers, of different sizes: for what is drawn."""

import numpy as np

from synkern.analysis import TrialAverages

LAYER = np.array([0, 0, 0, 1, 1, 2, 2, 2, 5, 5, 5])  # layers may differ in size, or be missing
HEAD = np.array([0, 1, 2, 0, 1, 0, 1, 2, 0, 1, 2])


def atoms(seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for scale in (1.0, 0.3):
        matrix = scale * rng.random((6, 11, 11))
        matrix = matrix + matrix.transpose(0, 2, 1)
        matrix[:, np.arange(11), np.arange(11)] = np.nan
        out.append(matrix)
    return out


def averages(sts, rtr):
    return TrialAverages.of([{"sts": sts, "rtr": rtr}])


def mean_of(sts, rtr):
    mean = averages(sts, rtr).mean()
    return mean["sts"], mean["rtr"]
