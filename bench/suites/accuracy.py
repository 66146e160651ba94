"""Errors of every backend and dtype, by atom, against the definitions in exact arithmetic.

Kinds of series, each a few pairs side by side in one call, so that what is checked is the path that
all pairs take: `kinds`, and the heads of SmolLM2-135M, trained and with random weights, recorded
here and now. The truth is `bench.harness.extended_precision`: exact sums and 80 digits. Where
that has no finite value, as for a constant node, a backend must not have one either; where it has
one, a missing one is counted.

Backend `triton` is interpreted on the CPU where there is no GPU: as exact, but no measure of speed.
"""

from __future__ import annotations

import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # Before triton is imported.

import synkern
from bench.harness.gate import TOLERANCE
from bench.suites.conditioning import Draws, ar1, exact_atoms, least_gaps, promise, truth
from synkern import ATOMS
from synkern.decomposition import BACKENDS
from synkern.kernels import Wanted

REDUNDANCIES = ("MMI", "CCS")
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Kind:
    """Pairs of one kind.

    Attributes:
        name: short.
        what: a line on it.
        series: (trials, time, nodes).
        places: (pairs, 3) trial, first and second node of the pairs that are looked at.
        tau: lag in samples.
    """

    name: str
    what: str
    series: np.ndarray
    places: np.ndarray
    tau: int = 1

    @property
    def draws(self) -> Draws:
        """The pairs, one after the other."""
        k, i, j = self.places.T
        return Draws(
            self.name, np.stack([self.series[k, :, i], self.series[k, :, j]], -1), self.tau
        )

    @property
    def interpretable(self) -> bool:
        """Whether a kernel that goes from sample to sample ends soon when it is interpreted."""
        return self.series.shape[0] == 1 and self.series.shape[1] <= 100


def _side_by_side(name: str, what: str, pairs: np.ndarray, tau: int = 1) -> Kind:
    """Series of nodes side by side, from (pairs, time, 2)."""
    count, samples, _ = pairs.shape
    series = pairs.swapaxes(0, 1).reshape(1, samples, 2 * count)
    first = 2 * np.arange(count)
    return Kind(name, what, series, np.stack([0 * first, first, first + 1], -1), tau)


def kinds(draws: int, seed: int = 0) -> Iterator[Kind]:
    """All but recordings."""
    rng = np.random.default_rng(seed)
    pairs = ar1(rng, draws, 0.8)
    pairs[..., 1] += 0.5 * pairs[..., 0]
    yield _side_by_side("benign", "AR(1) of 0.8, correlated", pairs)
    pairs = ar1(rng, draws, 0.9)
    scale = 10.0 ** -rng.uniform(1, 7, draws)
    pairs[..., 1] = pairs[..., 0] + scale[:, None] * pairs[..., 1]
    yield _side_by_side("near-collinear", "y = x + 1e-1 to 1e-7 noise", pairs)
    yield _side_by_side("persistent", "AR(1) of 0.999", ar1(rng, draws, 0.999))
    yield _side_by_side(
        "degenerate", "y = -4 x; y a delayed x; constant y", _degenerate(rng, draws)
    )
    noise = rng.standard_t(1.5, (draws, 100, 2))
    for t in range(1, 100):
        noise[:, t] += 0.5 * noise[:, t - 1]
    yield _side_by_side(
        "heavy-tailed", "AR(1) of 0.5 by Student's t, 1.5 degrees of freedom", noise
    )
    yield _side_by_side("short", "12 samples, AR(1) of 0.8", ar1(rng, draws, 0.8, 12))
    few = max(2, draws // 8)
    yield _side_by_side("long", "10,000 samples, AR(1) of 0.9", ar1(rng, few, 0.9, 10_000))


def _degenerate(rng: np.random.Generator, draws: int) -> np.ndarray:
    pairs = ar1(rng, draws, 0.5)
    x, y = pairs[..., 0], pairs[..., 1]
    y[0::3] = -4 * x[0::3]
    y[1::3, 1:] = x[1::3, :-1]
    y[2::3] = 0.1
    return pairs


def heads(trials: int, time_: int, draws: int, say: Callable[[str], None]) -> Iterator[Kind]:
    """Recorded with `synkern.record`; pairs at random and the worst conditioned.

    Raises:
        ImportError: what recording needs is not installed.
    """
    import transformers  # noqa: PLC0415

    from synkern.models.language_model import load, randomly_initialised  # noqa: PLC0415
    from synkern.recording.answers import record_answers  # noqa: PLC0415
    from synkern.study.prompts import load_prompts  # noqa: PLC0415

    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load("smollm2-135m", device="cpu")
    prompts = [prompt.text for prompt in load_prompts()[:: 60 // trials]][:trials]
    for name in ("trained", "random"):
        one = model if name == "trained" else randomly_initialised(model, 0)
        answers = record_answers(one, tokenizer, prompts, new_tokens=time_, batch_size=trials)
        say(f"recorded SmolLM2-135M, {name} weights: {answers.series.shape}")
        series = answers.series.astype(np.float64)
        what = f"heads of SmolLM2-135M, {name} weights: {draws} pairs at random, {draws} worst"
        yield Kind(f"heads, {name}", what, series, _chosen(series, draws))


def _chosen(series: np.ndarray, draws: int) -> np.ndarray:
    """(2 draws, 3): trial, row, column of pairs at random, and of the largest correlations."""
    rng = np.random.default_rng(0)
    trials, _, nodes = series.shape
    rows, columns = np.triu_indices(nodes, 1)
    drawn = rng.integers((trials, len(rows)), size=(draws, 2))
    chance = [(k, rows[p], columns[p]) for k, p in drawn]
    worst = []
    for k in range(trials):
        r = np.abs(np.corrcoef(series[k, :-1].T))[rows, columns]
        worst += [(float(r[p]), k, rows[p], columns[p]) for p in np.argsort(r)[-draws:]]
    return np.array(chance + [place for _, *place in sorted(worst)[-draws:]], np.int64)


def backends() -> list[str]:
    """Backends that can run here, triton interpreted if need be."""
    return [b.name for b in BACKENDS if b.status().available]


def missing() -> dict[str, str]:
    """Backends that cannot run here, and why."""
    return {
        b.name: f"{status.why}; {status.remedy}"
        for b in BACKENDS
        if not (status := b.status()).available
    }


def measure(
    every: Iterator[Kind], say: Callable[[str], None] = lambda line: None
) -> list[dict[str, Any]]:
    """A row for every kind, redundancy, backend and dtype; see `row`."""
    rows = []
    by_name = {b.name: b for b in BACKENDS}
    for kind in every:
        start = time.perf_counter()
        gaps = [least_gaps(x, y, kind.tau) for x, y in kind.draws.series.swapaxes(1, 2)]
        for redundancy in REDUNDANCIES:
            exact = truth(kind.draws, redundancy)
            for name, dtype in itertools.product(backends(), DTYPES):
                if by_name[name].lacks(Wanted(("gaussian", redundancy))):
                    continue
                if redundancy == "CCS" and _interpreted(name) and not kind.interpretable:
                    continue
                found = computed(kind, redundancy, name, dtype)
                rows.append(
                    {"kind": kind.name, "what": kind.what, "time": kind.series.shape[1]}
                    | {"redundancy": redundancy, "backend": name, "dtype": dtype}
                    | row(found, exact, gaps, dtype)
                )
        say(f"{kind.name}: {len(kind.places)} pairs in {time.perf_counter() - start:.0f} s")
    return rows


def computed(kind: Kind, redundancy: str, backend: str, dtype: str) -> np.ndarray:
    """(pairs, 16) of the pairs that are looked at, from a call for all pairs of nodes.

    What interprets kernels gets no other nodes and trials than those of the pairs, or it would take
    minutes.
    """
    series, (k, i, j) = kind.series, kind.places.T
    if _interpreted(backend):
        trials, k = np.unique(k, return_inverse=True)
        nodes, both = np.unique([i, j], return_inverse=True)
        (i, j), series = both.reshape(2, -1), series[np.ix_(trials, range(series.shape[1]), nodes)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = synkern.phiid(
            torch.from_numpy(series) if backend in ("torch", "triton") else series,
            tau=kind.tau,
            redundancy=redundancy,  # type: ignore[arg-type]
            atoms="all",
            average=None,
            backend=backend,
            dtype=dtype,  # type: ignore[arg-type]
        )
    return np.stack([np.asarray(result[atom])[k, i, j] for atom in ATOMS], -1).astype(np.float64)


def _interpreted(backend: str) -> bool:
    return backend == "triton" and not torch.cuda.is_available()


def row(
    found: np.ndarray, exact: np.ndarray, gaps: list[tuple[float, float]], dtype: str
) -> dict[str, Any]:
    """Errors in nats.

    Args:
        found: (pairs, 16) of a backend, NaN where it has no value.
        exact: (pairs, 16), NaN where there is none.
        gaps: of each pair `extended_precision.least_gaps`.
        dtype: of the arithmetic.

    Returns:
        `pairs`; `lost`: pairs with a value of which the backend has none; `invented`: the other way
        round; `mean` and `worst`: by atom, over the pairs of which both have one; `broken`: pairs
        that are further off than promised for their conditioning.
    """
    has, true = np.isfinite(found).all(-1), np.isfinite(exact).all(-1)
    both = has & true
    errors = np.abs(found - exact)[both]
    kept = [gap for gap, use in zip(gaps, both, strict=True) if use]
    rounding = float(np.finfo(np.float32).eps) if dtype == "float32" else 0.0
    largest = np.abs(exact[both]).max(-1, initial=0)
    bounds = np.array([promise(*gap, dtype) for gap in kept]) + rounding * largest
    return {
        "pairs": len(found),
        "lost": int((true & ~has).sum()),
        "invented": int((has & ~true).sum()),
        "broken": int((errors.max(-1, initial=0) > bounds).sum()),
        "mean": errors.mean(0).tolist() if len(errors) else None,
        "worst": errors.max(0).tolist() if len(errors) else None,
    }


__all__ = ["TOLERANCE", "exact_atoms", "heads", "kinds", "measure"]
