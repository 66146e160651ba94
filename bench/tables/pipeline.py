"""Time of scikit-learn's cross-validation with `SynergyConnectivity` in the pipeline.

    python -m bench.tables.pipeline [--subjects 50 --nodes 100 --time 200]

Made series: autoregressive nodes of which, in every second subject, the first ten follow their
neighbours' past. Prints the accuracy with the groups as they are and with shuffled ones.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from synkern import SynergyConnectivity


def made(subjects: int, samples: int, nodes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    group = np.arange(subjects) % 2
    series = rng.standard_normal((subjects, samples, nodes))
    coupled = np.where(group, 0.4, 0.0)[:, None]
    for t in range(1, samples):
        series[:, t] += 0.4 * series[:, t - 1]
        series[:, t, :10] += coupled * np.roll(series[:, t - 1, :10], 1, axis=1)
    return series, group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("subjects", 50), ("nodes", 100), ("time", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    series, group = made(options.subjects, options.time, options.nodes)
    pipeline = make_pipeline(
        SynergyConnectivity(), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    shuffled = np.random.default_rng(1).permutation(group)
    for name, labels in (("groups", group), ("groups, shuffled", shuffled)):
        start = time.perf_counter()
        scores = cross_val_score(pipeline, series, labels, cv=5)
        took = time.perf_counter() - start
        print(f"{name}: accuracy {scores.mean():.2f} in 5 folds, {took:.1f} s")


if __name__ == "__main__":
    main()
