"""Noise in the weights of nodes, and the weights bit for bit as they were afterwards."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from synkern.interventions.chosen import Chosen, chosen_nodes
from synkern.interventions.journal import Change, edited_weights
from synkern.models.nodes import Node
from synkern.models.slices import Slice, find_slices

SpreadOf = Literal["slice", "tensor"]
"""Whose standard deviation noise is a multiple of: that of the node's own slice of a parameter, or
of the whole parameter."""

# Numbers of a weight that are taken to float32 at a time, where its spread is measured.
_CHUNK = 1 << 24


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: every number w of a slice becomes w + alpha * SD * N(0, 1).

    The SD is that of the slice by default, so that all nodes are hit alike, however large their
    weights. It divides by the count, and is measured as the weights are when the noise is added:
    of noise on noise, the second is relative to what the first made of the weights.

    What is drawn for a slice depends on the seed, the node and the parameter's name alone: not on
    which other nodes are chosen, nor on the device or type of the weights, into which the sum is
    rounded at the end.
    """

    alpha: float = 0.5
    """Size of the noise, in standard deviations; 0 or more."""
    seed: int = 0
    scale: SpreadOf = "slice"
    """See `SpreadOf`."""

    def __post_init__(self) -> None:
        """Check the fields."""
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise TypeError(f"alpha: {self.alpha!r} is no number; give 0 or more")
        if not math.isfinite(self.alpha) or self.alpha < 0:
            raise ValueError(f"alpha: {self.alpha} is no size of noise; give 0 or more")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise TypeError(f"seed: {self.seed!r} is no integer")
        if self.scale not in get_args(SpreadOf):
            known = " or ".join(map(repr, get_args(SpreadOf)))
            raise ValueError(f"scale: {self.scale!r} is no scale of noise; use {known}")

    def changes(self, slices: Mapping[Node, Iterable[Slice]]) -> Iterator[Change]:
        """The changes of these slices, as `edited_weights` takes them.

        Raises:
            ValueError: weights are not finite.
        """
        parts = [(node, part) for node, of_node in slices.items() for part in of_node]
        whole: dict[int, float] = {}
        if self.scale == "tensor":  # before any of it is changed
            for _, part in parts:
                if id(part.parameter) not in whole:
                    whole[id(part.parameter)] = _spread(part.parameter.detach(), part.name)
        for node, part in parts:
            yield part, partial(self._added, node, part.name, whole.get(id(part.parameter)))

    def _added(self, node: Node, name: str, spread: float | None, weights: Tensor) -> Tensor:
        wide = torch.promote_types(weights.dtype, torch.float32)
        if spread is None:
            spread = _spread(weights, name)
        # On the CPU, so that it is the same on every device.
        drawn = torch.randn(weights.shape, generator=_generator(self.seed, node, name))
        return weights.to(wide) + self.alpha * spread * drawn.to(weights.device, wide)


class Perturbation:
    """A model whose nodes are given noise, some after others: their weights are found once.

    with Perturbation(model).applied(["L3H7"], Noise(alpha=0.5)): ...
    """

    def __init__(self, model: nn.Module, *, of: str = "heads") -> None:
        """Find the weights of each node.

        Args:
            model: a causal language model of transformers, or a module that holds one.
            of: the kind of nodes, one of `synkern.models.nodes.KINDS`.

        Raises:
            UnsupportedModelError: see `synkern.models.slices.find_slices`.
        """
        self.model = model
        self.slices = find_slices(model, of)
        """The parts of the weights that belong to each node."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that there are, in order."""
        return tuple(self.slices)

    def applied(self, chosen: Chosen, noise: Noise | None = None) -> AbstractContextManager[None]:
        """Add noise to the weights of some nodes, in a `with` block: see `perturb`.

        Args:
            chosen: labels ("L3H7"), nodes, indices into `nodes`, or a mask of bools.
            noise: what is added, `Noise()` by default.
        """
        noise = Noise() if noise is None else noise
        mask = chosen_nodes(chosen, self.nodes)
        some = {
            node: parts
            for (node, parts), meant in zip(self.slices.items(), mask, strict=True)
            if meant
        }
        return edited_weights(self.model, partial(noise.changes, some))


def perturb(
    model: nn.Module,
    nodes: Chosen,
    *,
    alpha: float = 0.5,
    seed: int = 0,
    scale: SpreadOf = "slice",
    of: str = "heads",
) -> AbstractContextManager[None]:
    """Add noise to the weights of some nodes, in a `with` block.

        with synkern.perturb(model, ["L3H7", "L5H0"], alpha=0.5, seed=0):
            ...

    Of a head, the rows of its query and its columns of the output projection are changed; of an
    expert, all its parameters; of other kinds see `synkern.models.slices`. Blocks may nest, and end
    in any order; after the last the weights are the same bits as before, also after an exception or
    Ctrl-C. The nodes are found anew at every call; `Perturbation` finds them once.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        nodes: labels ("L3H7"), nodes, indices into the nodes of this kind, or a mask of bools.
        alpha: size of the noise, in standard deviations of the weights; 0 or more.
        seed: of the noise; what is drawn for a node does not depend on which others are chosen.
        scale: whose standard deviation: "slice", that of each part of a parameter that belongs to
            the node; or "tensor", that of the whole parameter.
        of: the kind of nodes, one of `synkern.models.nodes.KINDS`.

    Raises:
        UnsupportedModelError: which weights belong to a node cannot be told, or they cannot be
            changed: see `synkern.models.slices.find_slices`.
        ValueError: no such node, kind, scale or size; weights that are not finite, or would not be.
        WeightsChangedError: at the end of the block, something else had changed these weights; see
            `synkern.interventions.journal.edited_weights`.
    """
    noise = Noise(alpha, seed, scale)
    return Perturbation(model, of=of).applied(nodes, noise)


def _generator(seed: int, node: Node, name: str) -> torch.Generator:
    what = f"{seed} {node.kind} {node.layer} {node.index} {name}".encode()
    digest = hashlib.blake2b(what, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _spread(weights: Tensor, name: str) -> float:
    """Standard deviation, dividing by the count, from sums in at least float32.

    Raises:
        ValueError: it is not finite.
    """
    wide = torch.promote_types(weights.dtype, torch.float32)
    rows = max(1, _CHUNK // max(1, weights[0].numel()))
    mean = sum(float(part.to(wide).sum()) for part in weights.split(rows)) / weights.numel()
    squares = (float((part.to(wide) - mean).square().sum()) for part in weights.split(rows))
    spread = math.sqrt(sum(squares) / weights.numel())
    if not math.isfinite(spread):
        raise ValueError(
            f"model: {name} holds NaN, infinity or numbers too large to tell their spread, so that "
            "noise cannot be scaled by it; load weights that are finite"
        )
    return spread
