"""What the stages of `bench.gpu.check` share: where they run, series, results held to the CPU.

The stage `truths` computes what they are held to, in a folder, on the cores beside the device;
whoever needs one that is not there yet computes it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import itertools
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # Before triton is imported.
DEVICE = "cuda" if GPU else "cpu"

import synkern  # noqa: E402
from bench.gpu.stage import Items  # noqa: E402
from synkern.kernels.formulas.estimators import ESTIMATORS  # noqa: E402

NODES, TRIALS, TIME = (1152, 60, 100) if GPU else (40, 3, 30)
STUDY = f"{NODES} nodes, {TRIALS} trials, {TIME} samples"
VARIANTS = tuple(ESTIMATORS)
TWO = ("rtr", "sts")
SIZES: tuple[tuple[int, int, int], ...] = ((1, 20, 2), (3, 30, 19))
"""Trials, samples, nodes of what is held to the CPU, on both sides of tiles and chunks."""
if GPU:
    SIZES = ((1, 40, 2), (3, 60, 37), (9, 100, 65), (17, 100, 130), (4, 1100, 33))
TRUTHS = "truths"
"""Folder of the truths in that of a check."""

RESCUED_SIZES: tuple[tuple[int, int, int], ...] = ((2, 30, 12),)
"""Of series of which every pair is rescued: of the larger, more than a list holds at first."""
if GPU:
    RESCUED_SIZES = ((2, 60, 120), (2, 60, 280))

SERIES = ("random", "near-singular", "degenerate", "duplicate")
RESCUED = "near one walk"
"""A further kind, all nodes of which nearly coincide."""

Options = dict[str, Any]
"""Options of a decomposition, with what is asked for and the path of Gaussian MMI."""

Row = dict[str, Any]
"""What became of them."""


def series(kind: str, trials: int, time_: int, nodes: int) -> np.ndarray:
    """(trials, time, nodes) of one of `SERIES`, or of `RESCUED`."""
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
    elif kind == RESCUED:
        values = values[..., :1] + 1e-6 * rng.standard_normal(values.shape)
    elif kind == "duplicate":
        values[..., half] = 1e3 - 2 * values[..., 0]
    return values


PLAIN: Options = {
    **{"what": "all", "path": "series", "atoms": "all", "average": "trials"},
    **{"kind": "gaussian", "redundancy": "MMI", "dtype": "float64"},
}
"""The options of most calls."""


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


@dataclass(frozen=True)
class Known:
    """What results are held to.

    Attributes:
        atoms: by name, on the host.
        degenerate: number of (trial, pair) by kind of degeneracy.
        rescued: number of (trial, pair) that the stable path computed.
    """

    atoms: dict[str, np.ndarray]
    degenerate: dict[str, int]
    rescued: int


class Truth:
    """Results of a backend of the CPU in float64, each computed once for all that are held to it.

    That is numpy for small series, and cpu for large ones.
    """

    def __init__(self, values: np.ndarray, folder: Path | None = None) -> None:
        """Take a series (trials, time, nodes), and a folder that keeps results for others."""
        self.values = values
        self.backend = "numpy" if values.size < _MANY else "cpu"
        self.folder = folder
        self._digest = hashlib.sha256(values.tobytes() + str(values.shape).encode()).hexdigest()
        self._known: dict[str, Known] = {}
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
        known = self.known(asked)
        expected = known.atoms
        with forced(asked["path"]):
            results = [decomposed(given, asked | {"backend": backend}) for _ in range(2)]
        found, again = ({atom: _host(r[atom]) for atom in expected} for r in results)
        tolerance = self.tolerance(asked)
        error, same_nan, same_bits = 0.0, True, True
        for atom in expected:
            here, there = found[atom], expected[atom]
            same_nan &= bool((np.isnan(here) == np.isnan(there)).all())
            same_bits &= np.array_equal(here, again[atom], equal_nan=True)
            error = max(error, float(np.nanmax(np.abs(here - there), initial=0)))
        same_degenerate = results[0].degenerate == known.degenerate
        # A variance may lie on either side of the limit by rounding.
        few = abs(results[0].rescued - known.rescued) <= 1 + known.rescued // 1000
        return {
            "backend": backend,
            "held to": self.backend,
            **{key: str(value) for key, value in asked.items()},
            "error": error,
            "tolerance": tolerance,
            "same nan": same_nan,
            "same degenerate": same_degenerate,
            "same bits twice": same_bits,
            "rescued": [results[0].rescued, known.rescued],
            "passed": same_nan and same_degenerate and same_bits and few and error <= tolerance,
        }

    def tolerance(self, asked: Options) -> float:
        """As promised beside a truth; of two floating-point results each may be off by that."""
        if asked["dtype"] == "float32":
            atoms = self.known(asked).atoms.values()
            scale = max(float(np.nanmax(np.abs(v), initial=0)) for v in atoms)
            return 2e-5 + 4 * float(np.finfo("float32").eps) * scale
        return 2 * max(self._promise, 1e-6 if asked["what"] == "gathered" else 0)

    def known(self, asked: Options) -> Known:
        """What is expected of one of `every_options`, whatever its path and dtype."""
        key = str((asked["what"], sorted(_options(asked).items())))
        if key not in self._known:
            self._known[key] = self._kept(asked, key)
        return self._known[key]

    def _kept(self, asked: Options, key: str) -> Known:
        if self.folder is None:
            return self._computed(asked)
        name = hashlib.sha256((self._digest + key).encode()).hexdigest()
        path = self.folder / f"{name}.pickle"
        if path.exists():
            kept: Known = pickle.loads(path.read_bytes())
            return kept
        found = self._computed(asked)
        self.folder.mkdir(exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_bytes(pickle.dumps(found))
        beside.replace(path)  # Others find all of it, or nothing.
        return found

    def _computed(self, asked: Options) -> Known:
        exact = {"dtype": "float64", "backend": self.backend}
        found = decomposed(self.values, asked | exact)
        atoms = {atom: np.asarray(found[atom]) for atom in found}
        return Known(atoms, dict(found.degenerate), int(found.rescued))


def decomposed(given: Any, asked: Options) -> Any:
    """What one of `every_options`, with a backend, makes of a series on its device."""
    options, what, nodes = _options(asked), asked["what"], given.shape[-1]
    if "dtype" in asked:
        options["dtype"] = asked["dtype"]
    if what == "reference":
        return synkern.persistence_reference(given, **options)
    if what == "gathered":
        return synkern.phiid(synkern.LaggedMoments().update(given), **options)
    if what == "nodes":
        return synkern.phiid_nodes(given, **options)
    if what == "pairs":
        pairs = [[k % nodes, (k + 1) % nodes] for k in range(min(nodes, 9))]
        options = options | {"pairs": pairs if nodes > 2 else [[0, 1]]}
    return synkern.phiid(given, **options)


def _host(array: Any) -> np.ndarray:
    return array.cpu().numpy() if isinstance(array, torch.Tensor) else array.get()


def _options(asked: Options) -> Options:
    """Those that the truth depends on."""
    return {key: value for key, value in asked.items() if key not in ("what", "path", "dtype")}


@functools.lru_cache(maxsize=4)
def held_to(folder: Path, kind: str, size: tuple[int, int, int]) -> Truth:
    """The truth of one of `SERIES` of a size, kept in a folder of a check."""
    return Truth(series(kind, *size), folder / TRUTHS)


def items(folder: Path) -> Items:
    """The stage `truths`: what the stages of correctness are held to, on the CPU alone."""
    for size, kind in itertools.product(SIZES, SERIES):
        for estimator in VARIANTS:

            def call(size: Any = size, kind: str = kind, estimator: Any = estimator) -> Row:
                for asked in every_options():
                    if (asked.get("kind", "gaussian"), asked.get("redundancy", "MMI")) == estimator:
                        held_to(folder, kind, size).known(asked)
                return {}

            yield f"{kind} {times(size)}, {' '.join(estimator)}", call
    for size in RESCUED_SIZES:
        for what in ("all", "nodes"):

            def rescued(size: Any = size, what: str = what) -> Row:
                held_to(folder, RESCUED, size).known(PLAIN | {"what": what})
                return {}

            yield f"{RESCUED} {times(size)}, {what}", rescued


def times(size: Iterable[int]) -> str:
    """A size in words."""
    return " x ".join(map(str, size))


def on(values: np.ndarray, backend: str) -> Any:
    """A series where and as a backend takes it."""
    if backend == "cupy":
        return importlib.import_module("cupy").asarray(values)
    return torch.from_numpy(values).to(DEVICE)


def compared(
    folder: Path,
    backends: Callable[[Options], tuple[str, ...]],
    forced: Callable[[str], Any],
    by_node: tuple[tuple[str, str], ...] = VARIANTS,
) -> Items:
    """The items of a stage of correctness: one for each series, size, and what is asked.

    Args:
        folder: of the check.
        backends: names of those that are asked something.
        forced: a context in which a backend takes a path, given its name.
        by_node: see `every_options`.
    """
    for size, kind in itertools.product(SIZES, SERIES):
        for asked in every_options(by_node):
            for backend in backends(asked):

                def call(
                    size: Any = size, kind: str = kind, asked: Any = asked, backend: str = backend
                ) -> Row:
                    truth = held_to(folder, kind, size)
                    given = on(truth.values, backend)
                    row = truth.compared(asked, given, backend, forced)
                    rows = [{"size": size, "series": kind} | row]
                    found = {"passed": row["passed"], "rows": rows}
                    return found if GPU else found | {"not run": "no GPU: kernels on the CPU"}

                said = " ".join(
                    value if isinstance(value, str) else str(len(value)) if value else "apart"
                    for value in asked.values()
                )
                yield f"{backend}, {kind} {times(size)}, {said}", call
