"""Recordings in files: all pairs of them by phyid, one after the other, and by synkern at once.

`python -m bench.suites.recordings FILE ... --phyid PATH`: files as `synkern decompose` takes them,
with `--read NAME=VALUE` for its options of reading. All 16 atoms of all pairs, Gaussian and
discrete, MMI and CCS; the largest difference beside the times, and no time beside one above 1e-9.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import synkern
from bench.cases.peers import PHYID, find_phyid
from bench.harness.records import RESULTS, Run
from synkern.kernels import ATOMS

TOLERANCE = 1e-9
"""Nats or bits: what `synkern.phiid` promises for ordinary pairs."""

ESTIMATORS = tuple(itertools.product(("gaussian", "discrete"), ("MMI", "CCS")))


def compared(
    series: np.ndarray, kind: str, redundancy: str, most: int, calls: int
) -> dict[str, Any]:
    """Decompose by both, and say how far they are apart and how long each took.

    Args:
        series: (trials, time, nodes), all of it valid.
        kind, redundancy: the estimator.
        most: pairs of a trial that phyid takes, evenly spaced over all.
        calls: of synkern, of which the fastest counts.

    Returns:
        A row of the results; without times where the numbers are not the same.
    """
    phyid: Any = importlib.import_module("phyid.calculate")
    trials, _, nodes = series.shape
    options = {"atoms": "all", "average": None, "kind": kind, "redundancy": redundancy}
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        found = synkern.phiid(series, **options)
        seconds.append(time.perf_counter() - start)
    pairs = list(zip(*np.triu_indices(nodes, 1), strict=True))
    chosen = pairs[:: -(-len(pairs) // most)]
    worst, spent = 0.0, 0.0
    for trial, (i, j) in itertools.product(range(trials), chosen):
        start = time.perf_counter()
        atoms, _ = phyid.calc_PhiID(
            series[trial, :, i], series[trial, :, j], 1, kind=kind, redundancy=redundancy
        )
        spent += time.perf_counter() - start
        apart = [abs(np.mean(atoms[atom]) - found[atom][trial, i, j]) for atom in ATOMS]
        worst = max(worst, *map(float, apart))
    row = {
        "kind": kind,
        "redundancy": redundancy,
        "unit": found.unit,
        "backend": found.backend,
        "trials": trials,
        "nodes": nodes,
        "pairs": len(pairs) * trials,
        "compared": len(chosen) * trials,
        "worst": worst,
        "passed": bool(worst <= TOLERANCE),
    }
    if row["passed"]:
        each = spent / row["compared"]
        row |= {"phyid_seconds_a_pair": each, "phyid_seconds": each * row["pairs"]}
        row |= {"synkern_seconds": min(seconds)}
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a line for each estimator, and save."""
    parser = argparse.ArgumentParser(prog="python -m bench.suites.recordings", description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--phyid", help=f"path of a checkout of phyid; or set {PHYID}")
    parser.add_argument("--read", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--name", help="of the recording in the results")
    parser.add_argument("--most-pairs", type=int, default=1000, help="of a trial, for phyid")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "recordings.json")
    options = parser.parse_args(arguments)
    find_phyid(options.phyid)
    read: dict[str, Any] = dict(one.split("=", 1) for one in options.read)
    many = {name: value.split(",") if name == "drop" else value for name, value in read.items()}
    data = synkern.read_series(options.files, **many)
    if data.mask is not None:
        parser.error("samples of this recording are left out, which phyid cannot do")
    name = options.name or Path(options.files[0]).name
    run = Run.start()
    rows = []
    for kind, redundancy in ESTIMATORS:
        row = compared(data.series, kind, redundancy, options.most_pairs, options.calls)
        rows.append({"recording": name, **row})
        print(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    earlier = json.loads(options.out.read_text())["tables"] if options.out.exists() else {}
    kept = [row for row in earlier.get("recordings", []) if row["recording"] != name]
    run.tables = {"recordings": kept + rows}
    run.save(options.out)
    return int(not all(row["passed"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
