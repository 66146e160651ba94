"""Rounding of weights to nearest by group, as a quantised model keeps them, simulated.

Weights are rounded to a grid of `2**bits` steps and put back as numbers of their own type: what a
model computes with them is what a quantised one would, but for its speed. The grid of a group of
weights that follow each other along the input axis is its own: a step and, unless it is symmetric,
an offset, each kept as a number of 16 bits (float16) and counted among the bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

HALF = 16
"""Bits of a weight that is a half-precision number by itself, without a grid."""
MOST_BITS = 8
"""Beyond it a grid gains nothing over half precision."""
ON_A_GRID = 0.25
"""Rounding that changes weights by less than this part of what it does to even ones finds them on
its grid already: they were rounded before."""
_SMALLEST_STEP = 2.0**-24  # of float16


@dataclass(frozen=True)
class Loss:
    """Sums of squares over weights, of what rounding does to them."""

    changed: float = 0.0
    """Of the differences that rounding makes."""
    weights: float = 0.0
    """Of the weights."""
    even: float = 0.0
    """Of the differences to be expected of weights that lie anywhere between two steps: a twelfth
    of the square of the step for each."""

    @property
    def on_a_grid(self) -> bool:
        """Whether the weights lie on the grid already, by `ON_A_GRID`; not of constant groups."""
        return self.even > 0 and self.changed < ON_A_GRID**2 * self.even

    def __add__(self, other: Loss) -> Loss:
        """Sum of both, as of the weights of both together."""
        return Loss(
            self.changed + other.changed, self.weights + other.weights, self.even + other.even
        )


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded: to nearest, on a grid by group along the last axis.

    With L the largest whole number, the group's weights w become

        symmetric:  step * round(w / step),  step = max |w| / L,  L = 2**(bits - 1) - 1, from -L
        otherwise:  low + step * round((w - low) / step),  low = min w,  step = (max w - low) / L,
                    L = 2**bits - 1, from 0

    where step and low are float16 numbers, and halves go to the even number. A symmetric grid holds
    zero exactly and leaves one of its numbers unused, so that 2 bits have three; the other reaches
    from the smallest to the largest weight and costs 16 bits more per group. Arithmetic is that of
    float32, or of float64 for weights of that type; the result has the type of the weights.

    The largest difference is half a step, `L * 2**-11` steps more for the rounding of the step to
    float16, and `2**-11 * |low|` for that of the offset (the steps of tiny weights are multiples of
    2**-24: `L * 2**-25` more). Other numbers of bits: 0 makes weights zero and costs nothing; 16
    are half-precision numbers without a grid: float16, or the weights themselves if they have no
    more bits than that.

    Attributes:
        group: weights along the input axis that share a grid; the last group of a row may be
            smaller.
        symmetric: whether the grid lies around zero and has no offset.

    Raises:
        ValueError: a group of less than one.
    """

    group: int = 32
    symmetric: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no group."""
        if isinstance(self.group, bool) or not isinstance(self.group, int) or self.group < 1:
            raise ValueError(f"group = {self.group!r}; give how many weights share a step, as 32")

    @property
    def fewest_bits(self) -> int:
        """The fewest bits of a grid: a symmetric one of 1 bit would hold zero alone."""
        return 2 if self.symmetric else 1

    def check(self, bits: int) -> None:
        """Refuse a number of bits that weights cannot be kept in.

        Raises:
            ValueError: it is none of 0, those of a grid, and 16.
        """
        whole = isinstance(bits, int) and not isinstance(bits, bool)
        if not whole or not (self.fewest_bits <= bits <= MOST_BITS or bits in (0, HALF)):
            kind = "symmetric" if self.symmetric else "asymmetric"
            raise ValueError(
                f"bits = {bits!r}; use 0 (weights become zero), {self.fewest_bits} to {MOST_BITS} "
                f"for a grid ({kind}), or {HALF} for half precision"
            )

    def cost(self, shape: Sequence[int], bits: int) -> int:
        """The bits that weights of this shape take: of each element, and of each group's grid.

        Raises:
            ValueError: see `check`.
        """
        self.check(bits)
        if bits in (0, HALF):
            return bits * prod(shape)
        *rows, inputs = shape
        groups = prod(rows) * -(-inputs // self.group)
        return bits * prod(shape) + groups * HALF * (1 if self.symmetric else 2)

    def rounded(self, weights: Tensor, bits: int) -> Tensor:
        """The weights rounded, in a new tensor.

        Args:
            weights: (..., inputs), floating point.
            bits: per weight.

        Raises:
            ValueError: see `check`; weights that are not finite, or beyond what float16 can hold.
            TypeError: weights that are no floating point numbers.
        """
        self.check(bits)
        wide = _checked(weights)
        if bits == 0:
            return torch.zeros_like(weights)
        if bits == HALF:
            narrow = weights.element_size() <= 2
            return weights.detach().clone() if narrow else _held_in_half(wide).to(weights.dtype)
        parts = [self._on_grid(groups, bits)[0] for groups in self._groups(wide)]
        return torch.cat(parts, -1).to(weights.dtype)

    def loss(self, weights: Tensor, bits: int) -> Loss:
        """What rounding does to the weights: see `rounded`, which takes and refuses the same."""
        after = self.rounded(weights, bits).double()
        before = weights.detach().double()
        even = 0.0
        if bits not in (0, HALF):
            for groups in self._groups(_checked(weights)):
                steps = self._on_grid(groups, bits)[1]
                even += float(steps.double().square().sum()) * groups.shape[-1] / 12
        return Loss(float((after - before).square().sum()), float(before.square().sum()), even)

    def _groups(self, wide: Tensor) -> list[Tensor]:
        """Weights as (..., groups, size): the whole groups, and the rest of each row if any."""
        whole = wide.shape[-1] // self.group * self.group
        parts = [wide[..., :whole].unflatten(-1, (-1, self.group))] if whole else []
        return [*parts, wide[..., whole:].unsqueeze(-2)] if whole < wide.shape[-1] else parts

    def _on_grid(self, groups: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Groups (..., groups, size) rounded, (..., groups * size), and steps (..., groups, 1)."""
        if self.symmetric:
            largest = 2 ** (bits - 1) - 1
            smallest, low = -largest, torch.zeros((), dtype=groups.dtype, device=groups.device)
            reach = groups.abs().amax(-1, keepdim=True)
        else:
            largest, smallest = 2**bits - 1, 0
            low = _held_in_half(groups.amin(-1, keepdim=True))
            # Below zero where float16 rounds an offset up, past all weights of its group.
            reach = (groups.amax(-1, keepdim=True) - low).clamp_min(0)
        step = _held_in_half(reach / largest)
        step = step.clamp_min(_SMALLEST_STEP).where(reach > 0, 0)
        places = ((groups - low) / step.where(step > 0, 1)).round().clamp(smallest, largest)
        return (places * step + low).flatten(-2), step


def _checked(weights: Tensor) -> Tensor:
    """The weights in at least float32, detached."""
    if not weights.is_floating_point():
        raise TypeError(f"weights: {weights.dtype} is no floating point type; load them as one")
    if weights.dim() < 1 or not weights.numel():
        raise ValueError(f"weights: shape {tuple(weights.shape)} holds none along an input axis")
    wide = weights.detach().to(torch.promote_types(weights.dtype, torch.float32))
    if not bool(torch.isfinite(wide).all()):
        wrong = int((~torch.isfinite(wide)).sum())
        raise ValueError(
            f"weights: {wrong} of {weights.numel()} are NaN or infinite, which no grid can hold; "
            "load a model whose weights are finite"
        )
    return wide


def _held_in_half(values: Tensor) -> Tensor:
    """Values rounded to float16, in their own type.

    Raises:
        ValueError: one is too large for it.
    """
    held = values.half()
    if not bool(torch.isfinite(held).all()):
        raise ValueError(
            f"weights: {float(values.abs().max()):.3g} is more than float16 can hold (65504), in "
            "which steps and offsets are kept; no weights of a trained model are so large"
        )
    return held.to(values.dtype)
