"""A recording of attention heads, and what `record` and `replay` share to make one."""

from __future__ import annotations

import importlib
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synkern.kernels import triton_computes_on
from synkern.models.heads import OutputProjection
from synkern.recording.decoding import RecordingError

# Two readers of one model would see each other's calls.
_BEING_READ: weakref.WeakSet[nn.Module] = weakref.WeakSet()


@dataclass(frozen=True, order=True)
class Node:
    """An attention head; `str(Node(3, 7))` is `"L3H7"`. Both indices count from zero."""

    layer: int
    head: int

    def __str__(self) -> str:
        """Return the usual short name, such as `"L3H7"`."""
        return f"L{self.layer}H{self.head}"


class Recording:
    """The head norms of one or more generated texts, one trial per text.

    `synkern.replay` returns it; that of `synkern.record` can be read after the `with` block.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Begin an empty recording of `nodes`; only `record` and `replay` have use for this."""
        self.nodes: tuple[Node, ...] = tuple(nodes)
        """The heads in the order of the last axis of `series`: by layer, then by head."""
        self._runs: list[tuple[Tensor, Tensor]] | None = None

    def __repr__(self) -> str:
        """Return the shape of what was recorded."""
        if self._runs is None:
            return f"Recording({len(self.nodes)} nodes, not complete)"
        shapes = ", ".join(str(tuple(norms.shape)) for norms, _ in self._runs)
        return f"Recording(trials x steps x nodes: {shapes})"

    @property
    def series(self) -> Tensor:
        """L2 norms of the head outputs, float32 (trials, steps, nodes), on the model's device.

        Step t is the call that produced generated token t.

        Raises:
            RecordingError: the recording is not complete, or its texts have different numbers of
                steps.
        """
        norms = [norms for norms, _ in self._complete()]
        counts = [n.shape[1] for n in norms]
        if len(set(counts)) > 1:
            raise RecordingError(
                f"the recorded texts have different numbers of steps {counts}, so they do not form "
                "one array; pass max_new_tokens=T and min_new_tokens=T to every generate, or use "
                "one synkern.record for each"
            )
        return torch.cat(norms)

    @property
    def lengths(self) -> Tensor:
        """Steps of each trial before its end-of-text token was fed, int64 (trials,).

        Equal to the number of steps for a trial that did not end before. What a trial's series
        holds after that is the model reading padding.

        Raises:
            RecordingError: the recording is not complete.
        """
        return torch.cat([lengths for _, lengths in self._complete()])

    def fill(self, runs: list[tuple[Tensor, Tensor]]) -> None:
        """Complete it with the series and lengths of each batch; for `record` and `replay` only."""
        self._runs = runs

    def _complete(self) -> list[tuple[Tensor, Tensor]]:
        if self._runs is None:
            raise RecordingError(
                "the recording is not complete: read it after the `with synkern.record(...)` "
                "block, and only if the block ended without an error"
            )
        return self._runs


@contextmanager
def sole_reader(model: nn.Module) -> Iterator[None]:
    """Keep every other `record` and `replay` off `model` for the `with` block.

    Raises:
        RecordingError: the model is already being recorded.
    """
    if model in _BEING_READ:
        raise RecordingError(
            f"{type(model).__name__} is already being recorded: synkern.record and synkern.replay "
            "take one model one at a time; leave the `with synkern.record` block first"
        )
    _BEING_READ.add(model)
    try:
        yield
    finally:
        _BEING_READ.discard(model)


def nodes_of(projections: Sequence[OutputProjection]) -> tuple[Node, ...]:
    """The heads that these projections read, in their order."""
    return tuple(Node(p.layer, head) for p in projections for head in range(p.heads))


def head_norms(inputs: Tensor, projection: OutputProjection) -> Tensor:
    """L2 norm of every head: (..., heads * width) of any float type to float32 (..., heads)."""
    heads = inputs.detach().view(*inputs.shape[:-1], projection.heads, projection.width)
    # At least in float32: bfloat16 norms would take a few dozen values.
    dtype = torch.promote_types(heads.dtype, torch.float32)
    norms: Tensor = torch.linalg.vector_norm(heads, dim=-1, dtype=dtype)
    return norms.float()


def stacked_head_norms(steps: Sequence[Tensor], projection: OutputProjection) -> Tensor:
    """`head_norms` (steps, trials, heads) of steps (trials, heads * width) of one shape.

    On a GPU with triton those of the usual types are read once, without being joined first.
    """
    if triton_computes_on(steps[0].device.type):
        # Imported when used, as the backend is.
        kernels = importlib.import_module("synkern.kernels.triton_backend.norms")
        if steps[0].dtype in kernels.TYPES:
            norms: Tensor = kernels.stacked_head_norms(steps, projection.width)
            return norms
    return head_norms(torch.stack(tuple(steps)), projection)


def refuse_not_finite(norms: Tensor, nodes: Sequence[Node], *, first_step: int) -> None:
    """Check norms (steps, trials, nodes), the first of which belong to `first_step`.

    Raises:
        RecordingError: one is infinite or not a number.
    """
    finite = torch.isfinite(norms)
    if not bool(finite.all()):
        step, trial, node = (~finite).nonzero()[0].tolist()
        raise RecordingError(
            f"the output of head {nodes[node]} has the norm {norms[step, trial, node].item()} at "
            f"step {first_step + step} of trial {trial} (of its batch); the model overflows in "
            "this dtype: load it in bfloat16 or float32"
        )


def text_lengths(fed: Tensor | None, end_tokens: tuple[int, ...], norms: Tensor) -> Tensor:
    """Steps before an end token was fed, int64 (trials,).

    `fed` (steps - 1, trials) are the tokens fed at steps 2, 3, ...; `norms` (steps, trials, nodes)
    gives the number of steps, which stands where no end token was fed, and the device.
    """
    steps, trials = norms.shape[:2]
    lengths = torch.full((trials,), steps, dtype=torch.int64, device=norms.device)
    if fed is None or len(fed) == 0 or not end_tokens:
        return lengths
    ended = torch.isin(fed, torch.tensor(end_tokens, device=fed.device)).to(norms.device)
    return torch.where(ended.any(0), 1 + ended.int().argmax(0), lengths)


def warn_of_early_ends(runs: Sequence[tuple[Tensor, Tensor]], *, stacklevel: int) -> None:
    """Warn if a text of these series and lengths ended before its last step."""
    trials = sum(len(lengths) for _, lengths in runs)
    early = sum(int((lengths < series.shape[1]).sum()) for series, lengths in runs)
    steps = max(series.shape[1] for series, _ in runs)
    if early:
        warnings.warn(
            f"{early} of {trials} trials ended before step {steps}, and their series continue "
            f"with the model reading padding; pass min_new_tokens={steps} to generate (which "
            "changes the text) or trim by recording.lengths",
            UserWarning,
            stacklevel=stacklevel,
        )
