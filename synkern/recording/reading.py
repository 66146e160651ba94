"""What `record` and `replay` share: reading sites, and judging what was read."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from synkern._warnings import warn
from synkern.models.nodes import Node, checked_kind
from synkern.models.sites import Site
from synkern.recording.recording import RecordingError, Texts

# Two readers of one model would see each other's calls.
_BEING_READ: weakref.WeakSet[nn.Module] = weakref.WeakSet()


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


def read_steps(site: Site, steps: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """The activity of a site's nodes in calls of its module: float32 (steps, trials, nodes).

    Args:
        site: whose module was called.
        steps: its values in each call at one position, (trials, ...) of one shape.

    Returns:
        The activity, and bool (steps, trials, nodes) where a node took part, None if all always do.
    """
    # On a GPU too: a kernel that read the norms of steps unjoined took twice as long on an H100
    # (bench/results/h100.json: 0.149 ms, joined and read by torch 0.074).
    joined = torch.stack(tuple(steps))
    return site.read(joined), site.routed(joined)


def side_by_side(
    parts: Sequence[tuple[Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor | None]:
    """What was read of several sites, (..., nodes of all sites) each, on the device of the first.

    Args:
        parts: of each site activity and where a node took part, None if all always do.
    """
    device = parts[0][0].device
    values = torch.cat([activity.to(device) for activity, _ in parts], dim=-1)
    if all(routed is None for _, routed in parts):
        return values, None
    took_part = [
        torch.ones_like(activity, dtype=torch.bool, device=device)
        if routed is None
        else routed.to(device)
        for activity, routed in parts
    ]
    return values, torch.cat(took_part, dim=-1)


def refuse_not_finite(values: Tensor, nodes: Sequence[Node], *, first_step: int) -> None:
    """Check the activity (steps, trials, nodes), the first of which belongs to `first_step`.

    Raises:
        RecordingError: one is infinite or not a number.
    """
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        step, trial, which = (~finite).nonzero()[0].tolist()
        node, value = nodes[which], values[step, trial, which].item()
        raise RecordingError(
            f"{checked_kind(node.kind).one} {node} has the value {value} at "
            f"step {first_step + step} of trial {trial} (of its batch); the model overflows in "
            "this dtype: load it in bfloat16 or float32"
        )


def text_lengths(fed: Tensor | None, end_tokens: tuple[int, ...], values: Tensor) -> Tensor:
    """Steps before an end token was fed, int64 (trials,).

    `fed` (steps - 1, trials) are the tokens fed at steps 2, 3, ...; `values` (steps, trials, nodes)
    give the number of steps, which stands where no end token was fed, and the device.
    """
    steps, trials = values.shape[:2]
    lengths = torch.full((trials,), steps, dtype=torch.int64, device=values.device)
    if fed is None or len(fed) == 0 or not end_tokens:
        return lengths
    ended = torch.isin(fed, torch.tensor(end_tokens, device=fed.device)).to(values.device)
    return torch.where(ended.any(0), 1 + ended.int().argmax(0), lengths)


def warn_of_early_ends(runs: Sequence[Texts]) -> None:
    """Warn if a text ended before its last step."""
    trials = sum(len(texts.lengths) for texts in runs)
    early = sum(int((texts.lengths < texts.series.shape[1]).sum()) for texts in runs)
    steps = max(texts.series.shape[1] for texts in runs)
    if early:
        warn(
            f"{early} of {trials} trials ended before step {steps}, and their series continue "
            f"with the model reading padding; pass min_new_tokens={steps} to generate (which "
            "changes the text) or trim by recording.lengths"
        )
