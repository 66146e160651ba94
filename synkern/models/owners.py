"""Which outputs of linear layers drive one node alone: one head, or one neuron.

No layout is assumed. In a tiny pass every linear layer's output is exchanged for numbers that a
gradient is asked of, and what the nodes are made of is differentiated by them: outputs that move
one node are that node's own, whether a fused layer interleaves its parts or stacks them. Its linear
layers being cut off from each other, a node is followed back to the last one on its way only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from synkern.models.heads import Attention, has_weight_matrix
from synkern.models.probe import in_the_pass, probed
from synkern.models.upstream import observed_attention

SHARED = -1
"""In `Owned.owner`: moves several nodes, or something else beside one."""
IDLE = -2
"""In `Owned.owner`: moves none of them."""


@dataclass(frozen=True)
class Owned:
    """To which node the outputs of a linear layer belong."""

    linear: nn.Module
    owner: Tensor
    """The node of every output, int64 (outputs,) on the CPU; or `SHARED`, or `IDLE`."""
    calls: int
    """How often the layer was called in the pass."""
    nodes: int
    """How many nodes there are."""


def owners_of_queries(model: Any, calls: Sequence[Attention]) -> list[list[Owned]]:
    """For every attention layer, to which head's query the outputs of its linear layers belong.

    An output that moves keys or values is `SHARED`. Layers that move no query are left out.
    """
    followed = {
        call.module: [m for m in call.module.modules() if m is not call.projection]
        for call in calls
    }
    found = probed(model, partial(_queries_watched, followed=followed))
    return [found.get(call.module, []) for call in calls]


def owners_of_keys_and_values(
    model: Any, calls: Sequence[Attention]
) -> list[tuple[list[Owned], list[Owned]]]:
    """For every attention layer, to which head's keys the outputs of its linear layers belong.

    And to which head's values. These heads are those of keys, each of which a group of query heads
    may share. An output that moves queries is `SHARED`.
    """
    followed = {
        call.module: [m for m in call.module.modules() if m is not call.projection]
        for call in calls
    }
    found = probed(model, partial(_keys_watched, followed=followed))
    return [found.get(call.module, ([], [])) for call in calls]


def owners_of_inputs(
    model: Any, entered: Mapping[nn.Module, Sequence[nn.Module]]
) -> dict[nn.Module, list[Owned]]:
    """To which of the numbers that enter a layer the outputs of other linear layers belong.

    Args:
        model: the causal language model itself.
        entered: by the layer that is entered, as a down projection by neurons, the modules whose
            outputs are followed.

    Returns:
        By the layer that is entered, those that move what enters it.
    """
    return probed(model, partial(_inputs_watched, entered=entered))


@contextmanager
def _queries_watched(
    model: nn.Module, followed: Mapping[nn.Module, Sequence[nn.Module]]
) -> Iterator[dict[nn.Module, list[Owned]]]:
    found: dict[nn.Module, list[Owned]] = {}
    with ExitStack() as stack:
        leaves = stack.enter_context(_outputs_exchanged(followed.values()))

        def asked(module: nn.Module, given: Sequence[Any]) -> None:
            if in_the_pass() and module in followed and module not in found:
                query, *others = given
                found[module] = _owned(query.transpose(0, 1), others, followed[module], leaves)

        stack.enter_context(observed_attention(lambda *_: None, asked))
        yield found


@contextmanager
def _keys_watched(
    model: nn.Module, followed: Mapping[nn.Module, Sequence[nn.Module]]
) -> Iterator[dict[nn.Module, tuple[list[Owned], list[Owned]]]]:
    found: dict[nn.Module, tuple[list[Owned], list[Owned]]] = {}
    with ExitStack() as stack:
        leaves = stack.enter_context(_outputs_exchanged(followed.values()))

        def asked(module: nn.Module, given: Sequence[Any]) -> None:
            if in_the_pass() and module in followed and module not in found:
                query, key, value = given
                inside = followed[module]
                found[module] = (
                    _owned(key.transpose(0, 1), (query,), inside, leaves),
                    _owned(value.transpose(0, 1), (query,), inside, leaves),
                )

        stack.enter_context(observed_attention(lambda *_: None, asked))
        yield found


@contextmanager
def _inputs_watched(
    model: nn.Module, entered: Mapping[nn.Module, Sequence[nn.Module]]
) -> Iterator[dict[nn.Module, list[Owned]]]:
    found: dict[nn.Module, list[Owned]] = {}
    with ExitStack() as stack:
        leaves = stack.enter_context(_outputs_exchanged(entered.values()))

        def given(module: nn.Module, args: tuple[Any, ...]) -> None:
            if in_the_pass() and module not in found:
                found[module] = _owned(args[0].movedim(-1, 0), (), entered[module], leaves)

        for module in entered:
            stack.callback(module.register_forward_pre_hook(given).remove)
        yield found


@contextmanager
def _outputs_exchanged(
    followed: Iterable[Sequence[nn.Module]],
) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """Let linear layers return numbers that a gradient can be asked of, noted by layer.

    They are random and positive, so that no activation function is flat there, whatever a text
    makes of the weights.
    """
    leaves: dict[nn.Module, list[Tensor]] = {}
    generator = torch.Generator().manual_seed(0)

    def returned(module: nn.Module, _: Any, output: Any) -> Tensor | None:
        if not in_the_pass() or not isinstance(output, Tensor) or not output.is_floating_point():
            return None
        numbers = 0.5 + torch.rand(output.shape, generator=generator)
        leaf = numbers.to(output.device, output.dtype).requires_grad_()
        leaves.setdefault(module, []).append(leaf)
        return leaf.clone()  # as some models go on in place

    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for module in {m for modules in followed for m in modules if has_weight_matrix(m)}:
            stack.callback(module.register_forward_hook(returned).remove)
        yield leaves


def _owned(
    nodes: Tensor,
    others: Sequence[Tensor],
    modules: Sequence[nn.Module],
    leaves: Mapping[nn.Module, list[Tensor]],
) -> list[Owned]:
    """To which of the nodes (nodes, ...) the outputs of modules belong, of those that move any."""
    linears = [module for module in modules if module in leaves]
    if not linears:
        return []
    of_linears = [leaves[linear] for linear in linears]
    # Of two sums over the nodes that differ in one binary digit of their number, an output of one
    # node alone moves one: the digits of its number. So few gradients do for many nodes.
    digits = max(1, (len(nodes) - 1).bit_length())
    numbers = torch.arange(len(nodes), device=nodes.device)
    owner, moved = torch.zeros((), dtype=torch.long), torch.zeros((), dtype=torch.long)
    for digit in range(digits):
        for side in (0, 1):
            hit = _moving(nodes[(numbers >> digit) & 1 == side], of_linears)
            owner = owner + hit * (side << digit)
            moved = moved + hit
    elsewhere = torch.zeros_like(owner, dtype=torch.bool)
    for other in others:
        elsewhere |= _moving(other, of_linears)
    owner[(moved != digits) | elsewhere] = SHARED
    owner[moved == 0] = IDLE
    by_linear = owner.split([its[0].shape[-1] for its in of_linears])
    return [
        Owned(linear, own, len(leaves[linear]), len(nodes))
        for linear, own in zip(linears, by_linear, strict=True)
        if bool((own != IDLE).any())
    ]


def _moving(value: Tensor, of_linears: Sequence[Sequence[Tensor]]) -> Tensor:
    """Which outputs of layers, one behind the other, move a value: bool (all outputs,) on the CPU.

    Args:
        value: numbers.
        of_linears: of every layer, what it returned in each of its calls.
    """
    flat = [leaf for its in of_linears for leaf in its]
    gradients: list[Tensor | None] = [None] * len(flat)
    if value.requires_grad and value.numel():
        # Random, so that what moves two numbers in opposite directions is seen as well.
        noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(value.device, value.dtype)
        gradients = list(
            torch.autograd.grad(value, flat, noise, retain_graph=True, allow_unused=True)
        )
    moving, rest = [], iter(gradients)
    for its in of_linears:
        hit = torch.zeros(its[0].shape[-1], dtype=torch.bool)
        for _ in its:
            gradient = next(rest)
            if gradient is not None:
                hit |= (gradient.flatten(0, -2) != 0).any(0).cpu()
        moving.append(hit)
    return torch.cat(moving)
