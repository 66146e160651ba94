"""Writes tests/data/phyid_held_out.npz: what phyid finds for series that nothing was tuned on.

    python -m bench.tables.held_out --phyid PATH --trained FILE.npz --random FILE.npz OUT.npz

Needs a checkout of phyid, and two recordings with `norms` (trials, time, nodes), of a trained and a
randomly initialised model. The file holds by case the series, `{case}_series` (time, 2), and for
the four estimators phyid's pointwise atoms, `{case}_{kind}_{redundancy}` (16, time - tau); `meta`
is JSON with case, process and tau.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from bench.cases.peers import find_phyid
from synkern import ATOMS

VARIANTS = tuple(itertools.product(("gaussian", "discrete"), ("MMI", "CCS")))

Series = npt.NDArray[np.float64]


def driven(noise: Series, matrix: list[list[float]]) -> Series:
    """v(t) = matrix v(t-1) + noise(t), (time, 2)."""
    series = np.array(noise)
    for t in range(1, len(series)):
        series[t] += np.array(matrix) @ series[t - 1]
    return series


def logistic(rng: np.random.Generator, time: int) -> Series:
    """Two logistic maps, the second driven by the first."""
    series = np.empty((time, 2))
    series[0] = rng.uniform(0.2, 0.8, 2)
    for t in range(1, time):
        x, y = series[t - 1]
        mixed = 0.7 * y + 0.3 * x
        series[t] = 3.9 * x * (1 - x), 3.8 * mixed * (1 - mixed)
    return series


def counts(rng: np.random.Generator, time: int) -> Series:
    """Poisson counts whose rates rise with the other's last count."""
    series = np.ones((time, 2))
    for t in range(1, time):
        series[t] = rng.poisson(1 + 0.4 * series[t - 1, ::-1])
    return series


def processes(trained: Series, random: Series) -> Iterator[tuple[str, Series, int]]:
    """Name, series and tau."""
    rng = np.random.default_rng(20261122)
    white = rng.standard_normal
    yield "AR(1) of 0.4", driven(white((50, 2)), [[0.4, 0], [0, 0.4]]), 1
    yield "AR(1) of 0.97", driven(white((120, 2)), [[0.97, 0], [0, 0.97]]), 2
    yield "coupled AR(1)", driven(white((60, 2)), [[0.5, 0.3], [-0.4, 0.6]]), 5
    yield "anticorrelated noise", driven(white((70, 2)) @ [[1, -0.8], [0, 0.6]], [[0.7, 0]] * 2), 1
    yield "heads of a trained model", trained[41][:, [57, 203]].astype(np.float64), 1
    yield "heads of a random model", random[17][:, [8, 141]].astype(np.float64), 5
    heavy = driven(rng.standard_t(1.5, (80, 2)), [[0.3, 0.3], [0, 0.5]])
    yield "heavy tails", heavy, 1
    yield "coupled logistic maps", logistic(rng, 90), 2
    yield "counts", counts(rng, 100), 1
    time = np.arange(75.0)[:, None]
    yield "noisy sines", np.sin(time * [0.31, 0.47]) + 0.3 * white((75, 2)), 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("phyid", "trained", "random"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("out")
    arguments = parser.parse_args()
    find_phyid(arguments.phyid)
    calculate = importlib.import_module("phyid.calculate").calc_PhiID
    with np.load(arguments.trained) as trained, np.load(arguments.random) as random:
        recorded = trained["norms"], random["norms"]
    arrays, meta = {}, []
    for k, (process, series, tau) in enumerate(processes(*recorded)):
        meta.append({"case": f"held{k}", "process": process, "tau": tau})
        arrays[f"held{k}_series"] = series
        for kind, redundancy in VARIANTS:
            atoms, _ = calculate(*series.T, tau, kind, redundancy)
            local = np.stack([atoms[name] for name in ATOMS])
            arrays[f"held{k}_{kind}_{redundancy}"] = local
    np.savez_compressed(arguments.out, meta=json.dumps(meta), **arrays)


if __name__ == "__main__":
    main()
