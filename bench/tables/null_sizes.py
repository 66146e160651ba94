"""False-positive rates of the null tests on independent AR(1) nodes: the table in `analysis.nulls`.

    python -m bench.tables.null_sizes [--datasets 30] [--nodes 24] [--n 199] [--seed 0]

Each data set holds so many independent nodes over 100 time points; its rate is the share of pairs
with p <= 0.05. As pairs share nodes, the standard error is that of the mean over data sets.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator

import numpy as np

from synkern.analysis.nulls import NULLS, null_test

ATOMS = ("sts", "rtr")
RHO = (0.5, 0.97)
TRIALS = (1, 10)
TIME = 100


def ar1(rng: np.random.Generator, trials: int, nodes: int, rho: float) -> np.ndarray:
    """Independent stationary AR(1) nodes, (trials, time, nodes)."""
    noise = rng.standard_normal((trials, TIME, nodes))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0] / np.sqrt(1 - rho**2)
    for t in range(1, TIME):
        series[:, t] = rho * series[:, t - 1] + noise[:, t]
    return series


def rates(arguments: argparse.Namespace, null: str, rho: float, trials: int) -> np.ndarray:
    """(datasets, atoms) share of pairs with p <= 0.05; every null sees the same data."""
    rng = np.random.default_rng([arguments.seed, trials, round(100 * rho)])
    upper = np.triu_indices(arguments.nodes, 1)
    found = []
    for seed in range(arguments.datasets):
        series = ar1(rng, trials, arguments.nodes, rho)
        test = null_test(series, null, n=arguments.n, seed=seed, atoms=ATOMS)
        found.append([(test.p[atom][upper] <= 0.05).mean() for atom in ATOMS])
    return np.array(found)


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of the table; a cell is sts/rtr with the larger standard error of the two."""
    columns = list(itertools.product(TRIALS, RHO))
    heads = (f"{trials} trial{'s' * (trials > 1)}, rho {rho}" for trials, rho in columns)
    yield "null | " + " | ".join(heads)
    for null in NULLS:
        cells = []
        for trials, rho in columns:
            if null == "cross_trial" and trials == 1:
                cells.append("-")
                continue
            found = rates(arguments, null, rho, trials)
            error = found.std(0, ddof=1).max() / np.sqrt(len(found))
            cells.append("/".join(f"{rate:.3f}" for rate in found.mean(0)) + f" ±{error:.3f}")
        yield f"{null} | " + " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, default in (("datasets", 30), ("nodes", 24), ("n", 199), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default)
    for line in table(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
