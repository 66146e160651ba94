"""`phiid_local`: the atoms of chosen pairs at every sample."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import (
    in_float64,
    incoming,
    is_tensor,
    like,
    outside_transforms,
    placed,
    spacing,
)
from synkern._faces import Later
from synkern._names import unnamed
from synkern._warnings import warn
from synkern.decomposition import states
from synkern.decomposition.backends import select
from synkern.decomposition.batches import Batch, batches, concatenated
from synkern.decomposition.masks import Valid, filled, only_valid, valid_samples
from synkern.decomposition.options import (
    KINDS,
    OWN_UNIT,
    REDUNDANCIES,
    UNITS,
    Kind,
    Redundancy,
    Unit,
    unit_factor,
)
from synkern.kernels import ATOMS, Array, ArrayKind, Key, Outcome, Wanted, steady
from synkern.kernels import pointwise as kernel

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

Positions = npt.NDArray[np.int64]  # (pairs, 2): first node, second node
Decompose = Callable[[Any, Any, Any, Key], tuple[Any, Any]]


def phiid_local(
    series: Any,
    pairs: Any,
    *,
    tau: int = 1,
    kind: Kind = "gaussian",
    redundancy: Redundancy = "MMI",
    unit: Unit | None = None,
    mask: Any = None,
    fit: Any = None,
    fit_mask: Any = None,
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
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, as in
            `phiid`: what is fitted are the pairs of valid samples, and only they have values.
        fit: series to take means and moments, or counts, from, with the nodes of `series`: the
            samples of all its trials together, none of them across a seam. None: every trial of
            `series` from itself.
        fit_mask: as `mask`, of `fit`.
        backend: "auto": the first that takes the series as and where it is, as in `phiid`. Or a
            name that `synkern backends` lists: "cpu", "numpy", "torch" or "cupy"; "triton" cannot.

    Returns:
        float64 (pairs, 16, time - tau), or (trials, pairs, 16, time - tau) for a series of trials;
        axis -2 in the order of `synkern.ATOMS`; the same kind of array on the same device as
        `series`. NaN at samples t where t or t + tau is not valid; for a pair with a constant node
        (up to rounding, as in `phiid`) and, if Gaussian, where the past determines the future
        (infinite information); if discrete, at samples whose state `fit` never shows. Of Gaussian
        nodes that coincide one is dropped, which leaves sts = 0.

    Raises:
        ValueError: bad shape, NaN at a valid sample, tau too long, unknown option; a backend that
            cannot run here or do this; pairs of a node with itself or of nodes that do not exist;
            `fit` with other nodes, or a mask of it without it; fewer than 5 pairs of valid samples
            in what is fitted, a trial or all of `fit`.
        TypeError: series that do not hold real numbers, or pairs that are not whole numbers.

        MemoryError: the atoms do not fit.

    Warns:
        UserWarning: fewer than 30 of these; degenerate pairs; nodes that may hold rounding alone;
            if discrete, nodes of more than two states, as in `phiid`.
    """
    check.choice("kind", kind, KINDS)
    check.choice("redundancy", redundancy, REDUNDANCIES)
    check.choice("unit", unit, (*UNITS, None))
    tau = check.lag(tau)
    named = unnamed(series, "series")
    series, mask = named.array, named.mask(mask)
    series = outside_transforms(series, "series", "phiid_local")
    key = kind, redundancy
    runs_on = select(backend, series, Wanted(key, pointwise=True))
    library, decompose = runs_on.arrays, runs_on.pointwise
    assert decompose is not None  # It was wanted.
    series = only_valid(series, mask)
    # What is fitted elsewhere has to keep its offset from the series.
    data, restore = incoming(series, library, argument="series", offset_free=fit is None)
    xp: Any = sys.modules[library]
    trials = data.ndim == 3
    if fit is None and fit_mask is not None:
        raise ValueError("fit_mask is of fit, and there is no fit; use mask for the series itself")
    with placed(series, data):
        if fit is None:
            given = _of_itself(xp, data, mask, tau, spacing(series))
        else:
            given = _of_another(library, data, mask, tau, spacing(series), fit, fit_mask)
        chosen = check.node_pairs(pairs, data.shape[-1])
        if chosen.ndim != 2:
            raise ValueError(f"pairs must be (pairs, 2) here; got shape {chosen.shape}")
        _refuse_too_large(given.data, chosen, tau)
        if kind == "discrete":
            states.warn_of_many(given.finite, chosen)
        found = [_atoms(xp, decompose, part, given.fit, chosen, key) for part in given.parts]
        atoms = _in_place(xp, given, tau, [part for part, _ in found])
        factor = unit_factor(OWN_UNIT[kind], unit)
        if factor != 1:
            atoms *= factor
    _warn(np.concatenate([outcome for _, outcome in found]))
    return restore(atoms if trials else atoms[0])


class _Given(NamedTuple):
    """A series, and what distributions are fitted to.

    Attributes:
        data: (trials, time, nodes) float64, checked where it is valid.
        finite: the same, valid samples in place of the others.
        parts: where the distributions are evaluated.
        fit: what they are fitted to; None: each trial of the parts to itself.
    """

    data: Array
    finite: Array
    parts: Sequence[Batch]
    fit: Batch | None


def _of_itself(xp: Any, data: Array, mask: Any, tau: int, spacing: float) -> _Given:
    valid = valid_samples(mask, data)
    data = in_float64(check.series(xp, data, tau, valid=valid))
    finite = data if valid is None else filled(xp, data, valid)
    settled = check.steady_nodes(xp, finite, [tau], None, spacing)
    if valid is None:
        return _Given(data, finite, [Batch(settled(tau), tau)], None)
    return _Given(data, finite, batches(xp, data, valid, tau, None, spacing), None)


def _of_another(
    library: ArrayKind, data: Array, mask: Any, tau: int, step: float, fit: Any, fit_mask: Any
) -> _Given:
    xp: Any = sys.modules[library]
    valid = valid_samples(mask, data)
    data = in_float64(check.series(xp, data, None, valid=valid))
    finite = data if valid is None else filled(xp, data, valid)
    check.steady_nodes(xp, finite, [tau], None, step)  # for its warning
    named = unnamed(fit, "fit")
    other, fit_mask = named.array, named.mask(fit_mask, "fit_mask")
    other = outside_transforms(other, "fit", "phiid_local")
    other = only_valid(other, fit_mask, argument="fit_mask")
    taken = incoming(other, library, argument="fit").array
    fitted = _fitted(xp, taken, fit_mask, data, tau, spacing(other))
    return _Given(data, finite, _evaluated(data, valid, tau), fitted)


def _refuse_too_large(data: Array, pairs: Positions, tau: int) -> None:
    """Raise MemoryError where the atoms have no room."""
    sizes = (data.shape[0], len(pairs), len(ATOMS), data.shape[1] - tau)
    memory.require(
        8 * math.prod(sizes),
        data,
        f"{sizes[2]} atoms of {sizes[1]:,} pairs x {sizes[0]} trials x {sizes[3]:,} samples",
        "some of the pairs or trials at a time, or averages from phiid(pairs=...)",
    )


def _fitted(xp: Any, fit: Array, mask: Any, data: Array, tau: int, spacing: float) -> Batch:
    """Gather the samples that distributions are fitted to."""
    try:
        valid = valid_samples(mask, fit, argument="fit_mask")
        fit = _as_fit(check.series(xp, fit, tau, pooled="concatenate", valid=valid), data)
        if valid is None:
            return Batch(steady.settled(xp, fit, tau, "concatenate", spacing), tau)
        [batch] = batches(xp, fit, valid, tau, "concatenate", spacing)
    except ValueError as error:
        raise ValueError(f"fit: {error}") from error
    return batch


def _evaluated(data: Array, valid: Valid | None, tau: int) -> list[Batch]:
    """Gather the samples, any number, at which distributions fitted elsewhere are evaluated."""
    time = data.shape[1]
    if time <= tau:
        raise ValueError(
            f"series has {time} time points and tau = {tau}, which leaves no sample: lower tau"
        )
    if valid is None:
        return [Batch(data, tau)]
    batch = concatenated(data, valid, tau)
    if batch.tau == 0:
        raise ValueError(f"mask leaves no two valid samples tau = {tau} apart")
    return [batch]


def _in_place(xp: Any, given: _Given, tau: int, parts: Sequence[Array]) -> Array:
    """Put atoms of batches, (trials, pairs, 16, samples) each, at their samples; NaN between."""
    if given.parts[0].trial is None:
        return parts[0]
    trials, time, _ = given.data.shape
    whole = _empty(xp, given.data, (trials, *parts[0].shape[1:3], time - tau))
    whole[...] = math.nan
    for batch, part in zip(given.parts, parts, strict=True):
        trial, at = (like(index, given.data) for index in (batch.trial, batch.time))
        whole[trial, :, :, at] = xp.moveaxis(part, -1, 1)
    return whole


def _atoms(
    xp: Any, decompose: Decompose, batch: Batch, fit: Batch | None, pairs: Positions, key: Key
) -> tuple[Array, npt.NDArray[np.int64]]:
    """(trials, pairs, 16, samples), and the outcome of every (trial, pair) fitted."""
    variables = kernel.variables(xp, batch.series, batch.tau)
    if fit is not None:
        variables = kernel.fitted_to(xp, variables, kernel.variables(xp, fit.series, fit.tau))
    atoms, outcome = decompose(xp, variables, pairs, key)
    if fit is not None:  # Trials are one after another along the points.
        atoms = xp.moveaxis(atoms.reshape(*atoms.shape[1:3], len(batch.series), -1), 2, 0)
    return atoms, outcome


def _warn(outcome: npt.NDArray[np.int64]) -> None:
    counts = {o.name.lower(): int((outcome == o).sum()) for o in Outcome}
    if any(counts.values()):
        said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        warn(f"{sum(counts.values())} of {len(outcome)} (trial, pair) are degenerate: {said}")


def _as_fit(fit: Array, data: Array) -> Array:
    """(trials, time, nodes) float64, where the data are."""
    if fit.shape[-1] != data.shape[-1]:
        raise ValueError(
            f"its nodes must be those of series; got {fit.shape[-1]} nodes for {data.shape[-1]}"
        )
    fit = in_float64(fit)
    return fit.to(data.device) if is_tensor(fit) else fit


def _empty(xp: Any, like: Array, shape: tuple[int, ...]) -> Array:
    if is_tensor(like):
        return torch.empty(shape, dtype=torch.float64, device=like.device)
    return xp.empty(shape)
