"""What phyid itself computes, of series of many kinds: see tests/data/README.md."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).resolve().parents[1] / "data"

ESTIMATORS = tuple(itertools.product(("gaussian", "discrete"), ("MMI", "CCS")))


@dataclass(frozen=True)
class GoldenCase:
    """A series (time, 2) with the atoms that phyid computes for it.

    Attributes:
        average: (16,) means over time.
        local: (16, time - tau) of every sample; None for long series, of which there are none.
    """

    name: str
    series: np.ndarray
    tau: int
    average: np.ndarray
    local: np.ndarray | None
    kind: str = "gaussian"
    redundancy: str = "MMI"

    def __str__(self) -> str:
        return f"{self.name}-{self.kind}-{self.redundancy}"


def _golden() -> Iterator[GoldenCase]:
    """Gaussian MMI for every series, then the other three estimators."""
    with (
        np.load(DATA / "phyid_gaussian_mmi.npz") as gaussian_mmi,
        np.load(DATA / "phyid_golden_variants.npz") as others,
    ):
        meta = json.loads(str(gaussian_mmi["meta"]))
        yield from (_case(entry, gaussian_mmi, gaussian_mmi) for entry in meta)
        for kind, redundancy in (("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")):
            yield from (_case(entry, gaussian_mmi, others, kind, redundancy) for entry in meta)


def _case(
    entry: Mapping[str, Any],
    series: Any,
    file: Any,
    kind: str = "gaussian",
    redundancy: str = "MMI",
) -> GoldenCase:
    case, variant = entry["case"], "" if file is series else f"{kind}_{redundancy}_"
    return GoldenCase(
        name=f"{entry['process']}-T{entry['T']}-tau{entry['tau']}",
        series=series[f"{case}_series"],
        tau=entry["tau"],
        average=file[f"{variant}average"][case] if variant else file[f"{case}_average"],
        local=file.get(f"{case}_{variant}local"),
        kind=kind,
        redundancy=redundancy,
    )


def _held_out() -> Iterator[GoldenCase]:
    with np.load(DATA / "phyid_held_out.npz") as file:
        for entry in json.loads(str(file["meta"])):
            for kind, redundancy in ESTIMATORS:
                local = file[f"{entry['case']}_{kind}_{redundancy}"]
                yield GoldenCase(
                    name=entry["process"].replace(" ", "_"),
                    series=file[f"{entry['case']}_series"],
                    tau=entry["tau"],
                    average=local.mean(1),
                    local=local,
                    kind=kind,
                    redundancy=redundancy,
                )


GOLDEN_VARIANTS = tuple(_golden())
"""Golden numbers of all four estimators."""

GOLDEN = tuple(case for case in GOLDEN_VARIANTS if str(case).endswith("gaussian-MMI"))

HELD_OUT = tuple(_held_out())
"""Series on which nothing was tuned."""
