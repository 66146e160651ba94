"""`phiid_local`: the atoms of chosen pairs at every sample."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

import synkern._checks as check
import synkern._states as states
from synkern._arrays import incoming, placed, to_numpy
from synkern.backends import Work, select
from synkern.kernels import local as kernel
from synkern.kernels.lattice import ATOMS
from synkern.kernels.stable import Outcome

CHUNK_ELEMENTS = 1 << 18
"""Numbers held at a time beside input and output, about 2 MB: they stay in the cache."""

_PER_SAMPLE, _PER_POINT = 16, 128  # numbers that a pair takes for each while it is computed

_OWN_UNIT = {"gaussian": "nats", "discrete": "bits"}
_FACTOR = {("nats", "bits"): 1 / math.log(2), ("bits", "nats"): math.log(2)}

Array = Any  # numpy.ndarray, torch.Tensor or cupy.ndarray
Positions = npt.NDArray[np.int64]  # (pairs, 3): group, first node, second node


def phiid_local(
    series: Any,
    pairs: Any,
    *,
    tau: int = 1,
    kind: Literal["gaussian", "discrete"] = "gaussian",
    redundancy: Literal["MMI", "CCS"] = "MMI",
    unit: Literal["nats", "bits"] | None = None,
    fit: Any = None,
    backend: str = "auto",
) -> Any:
    """Integrated information decomposition of chosen pairs, sample by sample.

    The value at sample t decomposes the information between the states of a pair at the times t and
    t + tau, under a distribution fitted to all samples. Its mean over the samples fitted is the
    atom that `phiid` gives.

    Args:
        series: (time, nodes) or (trials, time, nodes), real and finite: NumPy, torch (any device),
            CuPy or JAX through DLPack, or nested lists. Gradients do not flow.
        pairs: (pairs, 2) whole numbers: first node (x), second node (y) of each pair.
        tau: lag in samples.
        kind: "gaussian": informations of jointly Gaussian variables. "discrete": of bits, each
            variable above its mean (of what is fitted) or not, as in `phiid`.
        redundancy: "MMI": at every sample, the local information of the source whose mean is least
            (over the samples fitted). "CCS": common change in surprisal, the co-information where
            all its terms have one sign.
        unit: "nats" or "bits"; None: nats if Gaussian, bits if discrete.
        fit: series to take means and moments, or counts, from, with the nodes of `series`: the
            samples of all its trials together, none of them across a seam. None: every trial of
            `series` from itself.
        backend: "auto": NumPy, torch or CuPy, whichever takes the series as and where it is. Or a
            name that `synkern backends` lists: "numpy", "torch" or "cupy"; "cpu" has no code of its
            own for this and takes NumPy's, and "triton" cannot.

    Returns:
        float64 (pairs, 16, time - tau), or (trials, pairs, 16, time - tau) for a series of trials;
        axis -2 in the order of `synkern.ATOMS`; the same kind of array on the same device as
        `series`. NaN for a pair with a constant node and, if Gaussian, where the past determines
        the future (infinite information); if discrete, at samples whose state `fit` never shows. Of
        Gaussian nodes that coincide one is dropped, which leaves sts = 0.

    Raises:
        ValueError: bad shape, NaN in a series, tau too long, unknown option; a backend that cannot
            run here or do this; pairs of a node with itself or of nodes that do not exist; `fit`
            with other nodes.
        TypeError: series that do not hold real numbers, or pairs that are not whole numbers.

    Warns:
        UserWarning: fewer than 30 samples; degenerate pairs; if discrete, nodes of more than two
            states, as in `phiid`.
    """
    check.choice("kind", kind, tuple(_OWN_UNIT))
    check.choice("redundancy", redundancy, ("MMI", "CCS"))
    check.choice("unit", unit, ("nats", "bits", None))
    tau = check.lag(tau)
    series = _detached(series)
    library = select(backend, series, Work((kind, redundancy), pointwise=True)).arrays
    data, restore = incoming(series, library, argument="series")
    xp: Any = sys.modules[library]
    trials = data.ndim == 3
    with placed(series, data):
        data = _float64(check.series(xp, data, tau))
        if fit is not None:
            taken = incoming(_detached(fit), library, argument="fit").array
            try:
                fit = _as_fit(check.series(xp, taken, tau), data)
            except ValueError as error:
                raise ValueError(f"fit: {error}") from error
        chosen = check.node_pairs(pairs, data.shape[-1])
        if chosen.ndim != 2:
            raise ValueError(f"pairs must be (pairs, 2) here; got shape {chosen.shape}")

        if kind == "discrete":
            states.warn_of_many(data, chosen)
        atoms, outcome = _atoms(xp, data, fit, chosen, tau, kind, redundancy)
        factor = _FACTOR.get((_OWN_UNIT[kind], unit or _OWN_UNIT[kind]))
        if factor is not None:
            atoms *= factor
    _warn(outcome)
    return restore(atoms if trials else atoms[0])


def _atoms(
    xp: Any,
    data: Array,
    fit: Array | None,
    pairs: Positions,
    tau: int,
    kind: str,
    redundancy: str,
) -> tuple[Array, npt.NDArray[np.int64]]:
    """(trials, pairs, 16, samples), and the outcome of every (trial, pair) fitted."""
    variables = kernel.variables(xp, data, fit, tau)
    constant = kernel.constant_nodes(xp, variables)
    prepare, evaluate = _KINDS[kind]
    prepared = prepare(xp, variables)
    groups, points = prepared.fitted.shape[0], prepared.evaluated.shape[-1]
    atoms = _empty(xp, data, (groups * len(pairs), len(ATOMS), points))
    outcome = np.zeros(groups * len(pairs), np.int64)
    positions = np.concatenate(
        [np.repeat(np.arange(groups), len(pairs))[:, None], np.tile(pairs, (groups, 1))], -1
    )
    for part in _chunks(len(positions), prepared.fitted.shape[-1], points):
        group, i, j = positions[part].T
        atoms[part], found = evaluate(xp, prepared, group, i, j, redundancy)
        if found is not None:
            outcome[part] = to_numpy(found)
        lost = constant[group, i] | constant[group, j]
        atoms[part][lost] = math.nan
        outcome[part][to_numpy(lost)] = Outcome.CONSTANT
    atoms = atoms.reshape(groups, len(pairs), len(ATOMS), points)
    if fit is not None:  # Trials are one after another along the points.
        atoms = xp.moveaxis(atoms.reshape(len(pairs), len(ATOMS), len(data), -1), 2, 0)
    return atoms, outcome


def _gaussian(
    xp: Any, vectors: kernel.Variables, group: Any, i: Any, j: Any, redundancy: str
) -> tuple[Array, Array | None]:
    """Atoms (pairs, 16, points) and outcomes of some pairs, of a group each."""
    index = group[:, None], np.array([0, 0, 1, 1]), np.stack([i, j, i, j], -1)
    fitted = vectors.fitted[index]
    evaluated = fitted if vectors.evaluated is vectors.fitted else vectors.evaluated[index]
    found = kernel.gaussian(xp, fitted, evaluated, redundancy)
    return found.atoms, found.outcome


def _discrete(
    xp: Any, symbols: kernel.Variables, group: Any, i: Any, j: Any, redundancy: str
) -> tuple[Array, Array | None]:
    fitted, evaluated = (part[group, i] + 2 * part[group, j] for part in symbols)
    table = kernel.discrete(xp, fitted, redundancy).atoms
    found = table[np.arange(len(table))[:, None], :, evaluated]  # [pairs, points, 16]
    return xp.swapaxes(found, 1, 2), None


_KINDS: dict[str, tuple[Callable[..., kernel.Variables], Callable[..., Any]]] = {
    "gaussian": (kernel.unit_vectors, _gaussian),
    "discrete": (kernel.symbols, _discrete),
}


def _chunks(pairs: int, samples: int, points: int) -> Iterator[slice]:
    size = max(1, CHUNK_ELEMENTS // (_PER_SAMPLE * samples + _PER_POINT * points))
    for start in range(0, pairs, size):
        yield slice(start, start + size)


def _warn(outcome: npt.NDArray[np.int64]) -> None:
    counts = {o.name.lower(): int((outcome == o).sum()) for o in Outcome}
    if any(counts.values()):
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        warnings.warn(
            f"{sum(counts.values())} of {len(outcome)} (trial, pair) are degenerate: {said}",
            UserWarning,
            stacklevel=check.callers_level(),
        )


def _as_fit(fit: Array, data: Array) -> Array:
    """(trials, time, nodes) float64, where the data are."""
    if fit.shape[-1] != data.shape[-1]:
        raise ValueError(
            f"its nodes must be those of series; got {fit.shape[-1]} nodes for {data.shape[-1]}"
        )
    fit = _float64(fit)
    return fit.to(data.device) if isinstance(fit, torch.Tensor) else fit


def _detached(array: Any) -> Any:
    return array.detach() if isinstance(array, torch.Tensor) else array


def _float64(array: Array) -> Array:
    return array.double() if isinstance(array, torch.Tensor) else array.astype(np.float64)


def _empty(xp: Any, like: Array, shape: tuple[int, ...]) -> Array:
    if isinstance(like, torch.Tensor):
        return torch.empty(shape, dtype=torch.float64, device=like.device)
    return xp.empty(shape)
