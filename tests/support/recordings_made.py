"""A made recording with all that a recording may have: trials, groups, places in a space."""

import numpy as np

from synkern.data import Dataset


def recording(trials=6, time=60, nodes=6, **more):
    """Autoregressive nodes, on the left and on the right in turns, the last in no group."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((trials, time, nodes)) + rng.standard_normal((trials, time, 1)) / 2
    series = np.zeros((trials, time, nodes))
    for t in range(1, time):
        series[:, t] = 0.6 * series[:, t - 1] + noise[:, t]
    given = {
        "series": series,
        "node_names": tuple(f"area {k}" for k in range(nodes)),
        "trial_names": tuple(f"run {k}" for k in range(trials)),
        "groups": (*(("left", "right")[k % 2] for k in range(nodes - 1)), ""),
        "coordinates": rng.normal(size=(nodes, 3)) * 50,
        "space": "mni",
        "sources": ("made.npy",),
    }
    return Dataset(**{**given, **more})
