"""What a tiny pass tells of a model's decoder layers and of the parts that they are made of.

One pass is watched for all of it. `synkern.models.stack` and `synkern.models.blocks` say what it
means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from synkern.models.probe import PROBE_BATCH, PROBE_LENGTH, differs, in_the_pass, probed, run_again
from synkern.models.sites import first_returned
from synkern.models.upstream import observed_attention

Place: TypeAlias = int | str
"""Where a module is given something: a position among its arguments, or a name."""

STREAM = (PROBE_BATCH, PROBE_LENGTH)
"""How the shape of a stream begins in the probe."""

MIXES = "mixes tokens"
"""Why a part is no block, if what it makes of a token depends on others."""


@dataclass
class MemberCalls:
    """The calls of one module during the probe."""

    given: dict[Place, Tensor] = field(default_factory=dict)  # what looks like the output
    output: Any = None
    rewritten: bool = False
    count: int = 0


@dataclass
class PartCall:
    """One call of a module in the probe."""

    given: Tensor | None
    output: Any


@dataclass
class PartCalls:
    """What a pass told of the parts of the layers."""

    calls: dict[nn.Module, list[PartCall]] = field(default_factory=dict)
    attending: set[nn.Module] = field(default_factory=set)
    blocks: dict[nn.Module, tuple[nn.Module, int] | None] = field(default_factory=dict)
    """Of the parts that are blocks, their down projections."""
    near_misses: dict[nn.Module, str] = field(default_factory=dict)
    """Of parts of a block's shape, why they are none."""

    def width(self, block: nn.Module) -> int:
        """How many numbers per token a block returns."""
        return int(self.calls[block][0].output.shape[-1])


@dataclass
class Survey:
    """What a pass told."""

    members: dict[nn.Module, MemberCalls]
    """Of all members of lists of modules, as decoder layers are."""
    parts: PartCalls
    """Of the modules that such members are made of."""


class _Known:
    """What was found out by running modules again, once for all that are made alike."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, Any], str] = {}

    def of(self, module: nn.Module, ask: Callable[[], str]) -> str:
        """The answer of `ask` for a module, or for one of the same classes and sizes before."""
        if any("forward" in inner.__dict__ for inner in module.modules()):
            return ask()  # it was given a forward of its own
        tensors = (*module.named_parameters(), *module.named_buffers())
        made = repr(module), tuple((name, tensor.shape) for name, tensor in tensors)
        if made not in self._answers:
            self._answers[made] = ask()
        return self._answers[made]


def survey(model: Any) -> Survey:
    """Watch a pass of a few tokens through the causal language model itself."""
    return probed(model, _watched)


@contextmanager
def _watched(model: nn.Module) -> Iterator[Survey]:
    with _members_watched(model) as members, _parts_watched(model) as parts:
        yield Survey(members, parts)


@contextmanager
def _members_watched(model: nn.Module) -> Iterator[dict[nn.Module, MemberCalls]]:
    """Note what the members of all lists of modules are given and return in a pass."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    called = {member: MemberCalls() for modules in lists for member in modules}

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if in_the_pass():
            called[module].given = {
                place: value.clone() for place, value in streams_among(args, kwargs).items()
            }

    def ran(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        if not in_the_pass():
            return
        calls, output = called[module], first_returned(out)
        calls.count += 1
        if isinstance(output, Tensor):
            now = streams_among(args, kwargs)
            alike = {p: v for p, v in calls.given.items() if v.shape == output.shape}
            calls.rewritten = any(not torch.equal(now[p], v) for p, v in alike.items())
            calls.given, calls.output = alike, output.clone()

    with ExitStack() as stack:
        for member in called:
            handle = member.register_forward_pre_hook(entered, with_kwargs=True)
            stack.callback(handle.remove)
            handle = member.register_forward_hook(ran, with_kwargs=True)
            stack.callback(handle.remove)
        yield called


def streams_among(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Place, Tensor]:
    """The arguments of a call in the probe that may be a stream: floats for texts and tokens."""
    every: list[tuple[Place, Any]] = [*enumerate(args), *kwargs.items()]
    return {
        place: value
        for place, value in every
        if isinstance(value, Tensor)
        and value.is_floating_point()
        and value.dim() > 2
        and STREAM in pairwise(value.shape)
    }


def own_parts(layer: nn.Module) -> list[nn.Module]:
    """The modules at a layer's own level: its children, and the members of its lists."""
    parts: list[nn.Module] = []
    for child in layer.children():
        inside = own_parts(child) if isinstance(child, nn.ModuleList | nn.ModuleDict) else [child]
        parts += [part for part in inside if part not in parts]
    return parts


def matrices(module: nn.Module, *, recurse: bool = True) -> int:
    """How many tensors of two or more dimensions a module holds."""
    tensors = (*module.parameters(recurse=recurse), *module.buffers(recurse=recurse))
    return sum(tensor.dim() > 1 for tensor in tensors)


def has_stacks(module: nn.Module) -> bool:
    """Whether a module holds weight matrices in stacks."""
    return any(p.dim() > 2 and min(p.shape[-2:]) > 1 for p in module.parameters())


@contextmanager
def _parts_watched(model: nn.Module) -> Iterator[PartCalls]:
    """Find out which parts of layers are MLP blocks, and what projects down in them."""
    seen = PartCalls()
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    parts = {part for modules in lists for member in modules for part in own_parts(member)}
    known = _Known()
    given: dict[nn.Module, Tensor | None] = {}

    def attended(module: nn.Module, *_: Any) -> None:
        if in_the_pass():
            seen.attending.add(module)

    def entered(module: nn.Module, args: tuple[Any, ...]) -> None:
        if in_the_pass():
            first = args[0] if args else None
            given[module] = first.clone() if isinstance(first, Tensor) else None

    def ran(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], out: Any) -> None:
        if not in_the_pass():
            return
        output = first_returned(out)
        output = output.clone() if isinstance(output, Tensor) else None
        seen.calls.setdefault(module, []).append(PartCall(given.pop(module, None), output))
        if module not in parts or output is None:
            return
        if not _has_a_blocks_shape(module, output):
            return
        with run_again():
            why = _why_no_block(module, args, kwargs, output, seen, known)
            if why:
                seen.near_misses[module] = why
            else:
                seen.blocks[module] = _down_projection(module, seen.calls, known)

    inside = {module for part in parts for module in part.modules()}
    with ExitStack() as stack:
        stack.enter_context(observed_attention(attended))
        for module in inside:
            handle = module.register_forward_pre_hook(entered)
            stack.callback(handle.remove)
            handle = module.register_forward_hook(ran, with_kwargs=True)
            stack.callback(handle.remove)
        yield seen


def _has_a_blocks_shape(module: nn.Module, output: Tensor) -> bool:
    """Whether a part returns one vector per token, and holds more than one linear layer may."""
    leaf = next(module.children(), None) is None
    enough = has_stacks(module) if leaf else matrices(module) > 1
    return enough and output.dim() == 3 and tuple(output.shape[:2]) == STREAM


def _why_no_block(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    output: Tensor,
    seen: PartCalls,
    known: _Known,
) -> str:
    """Why a part of a block's shape is none; empty if it is one."""
    if seen.attending & set(module.modules()):
        return "holds attention"
    if len(seen.calls[module]) > 1:
        return "runs more than once in a pass"
    streams = [v for v in streams_among(args, kwargs).values() if v.shape == output.shape]
    if len(streams) != 1:
        return f"is given {len(streams)} tensors of its output's shape instead of one"

    def ask() -> str:
        try:
            turned = {name: _turned(value) for name, value in kwargs.items()}
            again = first_returned(module.forward(*map(_turned, args), **turned)).flip(1)
        except Exception as error:  # whatever it is, it is not known to be a block
            return f"cannot be run on its own ({type(error).__name__}: {error})"
        return MIXES if differs(again, output) else ""

    return known.of(module, ask)


def _turned(value: Any) -> Any:
    """An argument with its tokens in the opposite order."""
    tokens = isinstance(value, Tensor) and tuple(value.shape[:2]) == STREAM
    return value.flip(1) if tokens else value


def _down_projection(
    block: nn.Module, calls: Mapping[nn.Module, list[PartCall]], known: _Known
) -> tuple[nn.Module, int] | None:
    """The last linear layer of a block, if what it returns is what the block returns.

    An adapter around a linear layer counts as the layer. Linear is what sums: the outputs for any
    two halves of the neurons add up.
    """
    (whole,) = calls[block]
    if not whole.output.any():
        return None
    for module in block.modules():
        its = calls.get(module, [])
        if module is block or len(its) != 1 or not matrices(module):
            continue
        given, output = its[0].given, its[0].output
        if (
            given is not None
            and given.shape[:-1] == STREAM
            and output is not None
            and output.shape == whole.output.shape
            and torch.equal(output, whole.output)
            and not known.of(module, partial(_why_not_linear, module.forward, given))
        ):
            return module, given.shape[-1]
    return None


def _why_not_linear(forward: Callable[[Tensor], Any], given: Tensor) -> str:
    """Empty if a module's output is a sum over the numbers that it is given, and a constant."""
    even = torch.arange(given.shape[-1], device=given.device) % 2 == 0
    try:
        parts = [
            first_returned(forward(values)).double()
            for values in (given * even, given * ~even, given, torch.zeros_like(given))
        ]
    except Exception as error:  # whatever it is, it is not known to be linear
        return f"cannot be run on its own ({type(error).__name__}: {error})"
    one, other, both, none = parts
    return "is not linear" if differs(one + other, both + none, dtype=given.dtype) else ""
