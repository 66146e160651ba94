"""`LaggedMoments`: what `phiid` needs of a series, gathered while the series passes by."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

import synkern._checks as check
import synkern._memory as memory
from synkern._arrays import (
    incoming,
    is_cupy,
    is_tensor,
    like,
    native,
    outside_transforms,
    placed,
    spacing,
    to_numpy,
)
from synkern._faces import Later
from synkern._names import Named, unnamed
from synkern.decomposition.masks import Valid, only_valid, valid_samples
from synkern.kernels import ArrayKind
from synkern.kernels import moments as kernel

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")

PENDING = 64
"""Time points that wait until their products are formed: one matrix product for all of them."""


class LaggedMoments:
    """Moments of a series that arrives in chunks of time, however long it gets.

    Holds three (trials, nodes, nodes) matrices for each lag, on the device of the chunks, and never
    more than a few chunks of the series. Formula: `synkern.kernels.formulas.moments`.

        moments = LaggedMoments(tau=1)
        for chunk in chunks:  # (time, nodes) or (trials, time, nodes)
            moments.update(chunk)
        result = phiid(moments)

    What is decomposed are moments alone, so Gaussian MMI alone; and without the data, pairs too
    near singular for the closed form cannot be recomputed. These are NaN and flagged
    (`Outcome.UNRESOLVED`), coinciding nodes among them. The rest is as good as from the whole
    series, and at worst off by 1e-6 nats. No gradient flows.

    Args:
        tau: lag in samples, or several different ones, all gathered in one pass.

    Raises:
        ValueError: tau is not a positive whole number, or several.
    """

    def __init__(self, tau: int | Sequence[int] = 1) -> None:  # noqa: D107 (see the class)
        self.tau = tuple(check.lags(tau)) if check.several(tau) else check.lag(tau)
        self._sums: dict[int, kernel.Sums] = {}
        self._last: Any = None  # time points whose future may still come, (trials, <= lag, nodes)
        self._pending: list[Any] = []  # chunks that are not in the sums
        self._valid: list[Valid] = []  # masks of `_last`, if there is one, and of these chunks
        self._time = 0
        self._shape: tuple[int, int] | None = None  # trials, nodes
        self._gaps = False  # whether some sample was not valid
        self._spacing = 0.0  # of the coarsest values, see `formulas.steady`
        self._complete = False
        self.named = Named(None, None, lambda array: array)
        """The last chunk whose nodes had names; for `phiid`."""
        self._library: ArrayKind = "numpy"
        self._restore: Callable[[Any], Any] = lambda array: array

    def __repr__(self) -> str:
        """One line: lags, and what has been gathered."""
        trials, nodes = self._shape or (0, 0)
        return f"LaggedMoments(tau={self.tau}; {trials} trials x {self._time} time x {nodes} nodes)"

    @property
    def lags(self) -> tuple[int, ...]:
        """The lags, as a tuple even if there is one."""
        return self.tau if isinstance(self.tau, tuple) else (self.tau,)

    def update(self, chunk: Any, *, mask: Any = None) -> Self:
        """Take in the next time points.

        Args:
            chunk: (time, nodes) or (trials, time, nodes), real and finite, at least one time point;
                any kind of array, the same in every call, on one device.
            mask: None, or (time,) or (trials, time) truth values, True where a sample of the chunk
                is valid, as in `phiid`: a sample and the one tau later count where both are valid,
                also across chunks, and what the chunk holds elsewhere is not looked at.

        Returns:
            Itself.

        Raises:
            ValueError: bad shape, NaN or infinity at a valid sample; trials or nodes other than
                before; numbers that float64 cannot hold (integers beyond 2**53, extended precision
                beyond its range).
            TypeError: not real numbers; another kind of array than before; a mask that does not
                hold truth values.
        """
        named = unnamed(chunk, "chunk")
        chunk, mask = named.array, named.mask(mask)
        if self._complete:
            raise ValueError("stacked moments take no further chunks; update the parts, then stack")
        detached = outside_transforms(chunk, "chunk", "LaggedMoments.update")
        library: ArrayKind = "cupy" if is_cupy(chunk) else native(chunk)[0]
        if self._shape and library != self._library:
            raise TypeError(f"chunk is of {library}, those before it of {self._library}")
        array, restore = incoming(only_valid(detached, mask), library, argument="chunk")
        with placed(chunk, array):
            self._update(array, mask, spacing(chunk), library, restore)
        self.named = self.named if named.nodes is None else named
        return self

    def _update(
        self,
        array: Any,
        mask: Any,
        spacing: float,
        library: ArrayKind,
        restore: Callable[[Any], Any],
    ) -> None:
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(
                "chunk must be (time, nodes) or (trials, time, nodes), nothing empty; got shape "
                f"{tuple(array.shape)}"
            )
        valid = valid_samples(mask, array)
        array = array[None] if array.ndim == 2 else array
        xp: Any = sys.modules[library]
        finite = xp.isfinite(array)
        if valid is not None:
            finite = finite | ~like(valid, array)[..., None]
        if not bool(finite.all()):
            raise ValueError(
                "chunk has values that are NaN or infinite; leave them out by update(chunk, "
                "mask=...), True where a sample is valid"
            )
        shape = array.shape[0], array.shape[2]
        if self._shape and shape != self._shape:
            raise ValueError(
                f"chunk has {shape[0]} trials and {shape[1]} nodes, those before it "
                f"{self._shape[0]} and {self._shape[1]}: use another LaggedMoments for it"
            )
        self._shape, self._library, self._restore = shape, library, restore
        self._spacing = max(self._spacing, spacing)
        self._time += array.shape[1]
        # A copy: the caller may write the next chunk into the same memory.
        self._pending.append(_copy(array))
        self._gaps |= valid is not None
        self._valid.append(valid if valid is not None else np.ones(array.shape[:2], np.bool_))
        if sum(chunk.shape[1] for chunk in self._pending) >= PENDING:
            self._flush()

    @classmethod
    def stack(cls, parts: Sequence[LaggedMoments]) -> LaggedMoments:
        """The trials of several, which may differ in length: generations of a model, for example.

        Args:
            parts: with the same lags, nodes and kind of array.

        Returns:
            A new one, complete: it takes no further chunks.

        Raises:
            ValueError: nothing to stack, or parts that differ.
        """
        parts = list(parts)
        if not parts or len({(part.tau, part._library) for part in parts}) > 1:
            raise ValueError(
                "parts must be LaggedMoments of the same lags and kind of array, at least one; got "
                f"{parts}"
            )
        nodes = {part._shape[1] if part._shape else 0 for part in parts}
        if len(nodes) > 1:
            raise ValueError(f"parts must have the same nodes; got {sorted(nodes)}")
        for part in parts:
            part._flush()
        first, stacked = parts[0], cls(parts[0].tau)
        xp: Any = sys.modules[first._library]
        for lag in first.lags:
            short = next((part for part in parts if lag not in part._sums), None)
            if short is not None:
                raise ValueError(f"parts must be longer than their lag; got {short}")
            sums = [part._sums[lag] for part in parts]
            with placed(sums[0].past, sums[0].past):
                stacked._sums[lag] = kernel.stacked(xp, sums)
        trials = sum(part._shape[0] for part in parts if part._shape)
        stacked._shape = trials, nodes.pop()
        stacked._library, stacked._restore = first._library, first._restore
        stacked._time = max(part._time for part in parts)
        stacked._spacing = max(part._spacing for part in parts)
        stacked._complete = True
        stacked.named = next((p.named for p in parts if p.named.nodes), first.named)
        return stacked

    @property
    def shape(self) -> tuple[int, int, int]:
        """(trials, time, nodes) of what was gathered; time of the longest trial."""
        trials, nodes = self._shape or (0, 0)
        return trials, self._time, nodes

    @property
    def library(self) -> ArrayKind:
        """Name of the library that holds the moments, "numpy", "torch" or "cupy"."""
        return self._library

    def restore(self, array: Any) -> Any:
        """Return an array of that library as the kind of the chunks."""
        return self._restore(array)

    def features(self, lag: int, pooled: str | None) -> kernel.Moments:
        """Correlations at a lag, of every trial or pooled as `phiid(..., average=pooled)`.

        Raises:
            ValueError: a lag that was not gathered; too few samples or nodes; values so large or
                small that their squares leave the range of float64.

        Warns:
            UserWarning: few samples, as `phiid` judges them; nodes that may hold rounding alone.
        """
        if lag not in self.lags:
            raise ValueError(f"tau = {lag} was not gathered; the moments hold {self.tau}")
        self._flush()
        trials, time, nodes = self.shape
        counts = np.zeros(max(trials, 1), np.int64)
        if lag in self._sums:
            counts = to_numpy(self._sums[lag].count).astype(np.int64)
        whole = (counts == max(time - lag, 0)).all()  # no sample left out, trials of one length
        check.pairs_of_samples(counts, lag, pooled, time=time if whole else None)
        if nodes < 2:
            raise ValueError(f"moments must be of at least 2 nodes; got {self}")
        xp: Any = sys.modules[self._library]
        sums = self._sums[lag]
        with (
            placed(sums.past, sums.past),
            np.errstate(divide="ignore", invalid="ignore", over="ignore"),
        ):
            faint = kernel.faint(xp, sums, self._spacing)
            if faint is not None:
                check.warn_of_faint(*map(to_numpy, faint))
            pooled_sums = kernel.pooled(xp, sums, pooled, self._spacing)
            return kernel.correlations(xp, pooled_sums, self._spacing)

    def _flush(self) -> None:
        """Form the products of all chunks that wait, with the end of those before them."""
        if self._pending:
            with placed(self._pending[0], self._pending[0]):
                self._add_pending()

    def _add_pending(self) -> None:
        xp: Any = sys.modules[self._library]
        if not self._sums:
            self._refuse_too_large(self._pending[0])
        before = 0 if self._last is None else self._last.shape[1]
        parts = self._pending if self._last is None else [self._last, *self._pending]
        rows = xp.concatenate(parts, 1)
        valid = np.concatenate(self._valid, 1)
        for lag in self.lags:
            start = max(before, lag)  # the first time point that is a new future
            if start >= rows.shape[1]:
                continue
            old = self._sums.get(lag)
            with np.errstate(over="ignore", invalid="ignore"):  # `features` says which node it is
                past, future = rows[:, start - lag : rows.shape[1] - lag], rows[:, start:]
                use = valid[:, start - lag : rows.shape[1] - lag] & valid[:, start:]
                taken = None if use.all() else like(use, rows)
                # Where a mask may have kept a trial from beginning, it has no origin yet.
                origin = None if old is None or self._gaps else old.origin
                new = kernel.sums(xp, past, future, self._spacing, origin, taken)
                self._sums[lag] = new if old is None else kernel.merged(xp, old, new)
        self._last = _copy(rows[:, -max(self.lags) :])
        self._pending, self._valid = [], [valid[:, -max(self.lags) :]]

    def _refuse_too_large(self, array: Any) -> None:
        """Raise MemoryError where these, and those of a lag as correlations, have no room."""
        trials, _, nodes = self.shape
        memory.require(
            3 * (len(self.lags) + 1) * trials * nodes * nodes * 8,
            array,
            f"moments of {nodes:,} nodes x {trials} trials x {len(self.lags)} lags",
            "phiid_nodes of the series, phiid with pairs=, or fewer nodes, trials or lags",
        )


def _copy(array: Any) -> Any:
    """Copy an array, as float64."""
    if is_tensor(array):
        return array.to(torch.float64, copy=True)
    return array.astype(np.float64)
