"""What the stages of `bench.gpu.check` share: where they run, series, results held to NumPy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # Before triton is imported.
DEVICE = "cuda" if GPU else "cpu"

import synkern  # noqa: E402
from synkern.kernels.formulas.estimators import ESTIMATORS  # noqa: E402

NODES, TRIALS, TIME = (1152, 60, 100) if GPU else (40, 3, 30)
STUDY = f"{NODES} nodes, {TRIALS} trials, {TIME} samples"
VARIANTS = tuple(ESTIMATORS)
TWO = ("rtr", "sts")
SERIES = ("random", "near-singular", "degenerate", "duplicate")

Options = dict[str, Any]
"""Options of a decomposition, with what is asked for and the path of Gaussian MMI."""

Row = dict[str, Any]
"""What became of them."""


class NotRunError(Exception):
    """A stage cannot run here, and why."""


def series(kind: str, trials: int, time_: int, nodes: int) -> np.ndarray:
    """(trials, time, nodes) of one of `SERIES`."""
    rng = np.random.default_rng(trials * nodes)
    values = rng.standard_normal((trials, time_, nodes))
    if kind != "random":
        values = values.cumsum(1)
    half = nodes // 2
    if kind == "near-singular":
        scale = 10.0 ** -rng.integers(2, 8, half)
        values[..., half : 2 * half] = values[..., :half] + scale * values[..., half : 2 * half]
    elif kind == "degenerate":
        values[0, :, 0] = 3.0
        values[-1, 1:, half] = values[-1, :-1, 0]
    elif kind == "duplicate":
        values[..., half] = 1e3 - 2 * values[..., 0]
    return values


def every_options(by_node: tuple[tuple[str, str], ...] = VARIANTS) -> Iterator[Options]:
    """All that are tried.

    Args:
        by_node: estimators that are reduced to means by node.
    """
    for (kind, redundancy), average, dtype in itertools.product(
        VARIANTS, ("trials", None), ("float64", "float32")
    ):
        common = {"kind": kind, "redundancy": redundancy, "average": average, "dtype": dtype}
        mmi = (kind, redundancy) == ("gaussian", "MMI")
        for path, atoms in itertools.product(
            ("series", "moments") if mmi else ("series",), (TWO, "all")
        ):
            yield {"what": "all", "path": path, "atoms": atoms, **common}
        yield {"what": "pairs", "path": "series", "atoms": "all", **common}
        if (kind, redundancy) in by_node:
            yield {"what": "nodes", "path": "series", "atoms": "all", **common}
        if mmi:
            yield {"what": "gathered", "path": "moments", "atoms": "all", **common}
    for path, dtype in itertools.product(("series", "moments"), ("float64", "float32")):
        common = {"average": "trials", "dtype": dtype, "atoms": "all"}
        yield {"what": "reference", "path": path, **common}


# Numbers in a series from which on the compiled kernel of the CPU stands for NumPy, which takes
# minutes; every test of it holds it to NumPy.
_MANY = 20_000


class Truth:
    """Results of a backend of the CPU in float64, each computed once for all that are held to it.

    That is numpy for small series, and cpu for large ones.
    """

    def __init__(self, values: np.ndarray) -> None:
        """Take a series (trials, time, nodes)."""
        self.values = values
        self.backend = "numpy" if values.size < _MANY else "cpu"
        self._known: dict[str, Any] = {}
        # Below 1 - |r| = 1e-3 the promise is 1e-6 instead of 1e-9.
        with np.errstate(invalid="ignore"):
            each = [np.corrcoef(trial.T) - np.eye(values.shape[-1]) for trial in values]
        near = float(np.nanmax(np.abs(np.where(np.isnan(each), 0, each))))
        self._promise = 1e-6 if near > 1 - 1e-3 else 1e-9

    def compared(
        self, asked: Options, given: Any, backend: str, forced: Callable[[str], Any]
    ) -> Row:
        """Hold two computations to the truth.

        Args:
            asked: one of `every_options`.
            given: the series, where and as the backend takes it.
            backend: its name.
            forced: a context in which the backend takes a path, given its name.
        """
        options = {
            key: value for key, value in asked.items() if key not in ("what", "path", "dtype")
        }
        what, dtype = asked["what"], asked["dtype"]
        expected = self._expected(what, options)
        with forced(asked["path"]):
            results = [
                self._decomposed(what, given, options | {"dtype": dtype, "backend": backend})
                for _ in range(2)
            ]
        found, again = ({atom: _host(r[atom]) for atom in expected} for r in results)
        # As promised beside a truth; of two floating-point results each may be off by that much.
        tolerance = 2 * max(self._promise, 1e-6 if what == "gathered" else 0)
        if dtype == "float32":
            scale = max(float(np.nanmax(np.abs(v), initial=0)) for v in expected.values())
            tolerance = 2e-5 + 4 * float(np.finfo("float32").eps) * scale
        error, same_nan, same_bits = 0.0, True, True
        for atom in expected:
            here, there = found[atom], expected[atom]
            same_nan &= bool((np.isnan(here) == np.isnan(there)).all())
            same_bits &= np.array_equal(here, again[atom], equal_nan=True)
            error = max(error, float(np.nanmax(np.abs(here - there), initial=0)))
        same_degenerate = results[0].degenerate == expected.degenerate
        # A variance may lie on either side of the limit by rounding.
        few = abs(results[0].rescued - expected.rescued) <= 1 + expected.rescued // 1000
        return {
            "backend": backend,
            "held to": self.backend,
            **{key: str(value) for key, value in asked.items()},
            "error": error,
            "tolerance": tolerance,
            "same nan": same_nan,
            "same degenerate": same_degenerate,
            "same bits twice": same_bits,
            "rescued": [results[0].rescued, expected.rescued],
            "passed": same_nan and same_degenerate and same_bits and few and error <= tolerance,
        }

    def _expected(self, what: str, options: Options) -> Any:
        key = str((what, sorted(options.items())))
        if key not in self._known:
            self._known[key] = self._decomposed(
                what, self.values, options | {"backend": self.backend}
            )
        return self._known[key]

    def _decomposed(self, what: str, given: Any, options: Options) -> Any:
        nodes = self.values.shape[-1]
        if what == "reference":
            return synkern.persistence_reference(given, **options)
        if what == "gathered":
            moments = synkern.LaggedMoments().update(given)
            return synkern.phiid(moments, **options)
        if what == "nodes":
            return synkern.phiid_nodes(given, **options)
        if what == "pairs":
            pairs = [[k % nodes, (k + 1) % nodes] for k in range(min(nodes, 9))]
            options = options | {"pairs": pairs if nodes > 2 else [[0, 1]]}
        return synkern.phiid(given, **options)


def _host(array: Any) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array.get()


def summary(rows: list[Row], left_out: int) -> Row:
    """Summary of a stage: whether all passed, the worst, and each."""
    failures = [row for row in rows if not row["passed"]]
    worst = max((row["error"] / row["tolerance"] for row in rows), default=0)
    found = {"passed": not failures, "worst error over its tolerance": worst}
    return found | {"failures": failures, "left out": left_out, "rows": rows}
