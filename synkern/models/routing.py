"""Where a language model routes tokens to experts: found by watching one tiny forward pass.

The routed experts of a layer are one module that is called with the hidden states of all tokens,
the indices of the experts that the router chose for each, and the weights of these, and returns the
weighted sum of what the chosen ones make of it. No list of architectures is kept: such a module is
told by its arguments, and by that sum, which must come out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError
from synkern.models.probe import PROBE_BATCH, PROBE_LENGTH, in_the_pass, probed
from synkern.models.upstream import experts_forward, experts_in
from synkern.models.upstream_torch import outside_graphs

Place: TypeAlias = int | str
"""Where an argument stands in a call: at a position, or under a name."""

# Rows of tokens that experts are run on at a time: what they compute on the way stays below this.
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Texts:
    """The module through whose calls tokens in one row are put back into texts."""

    module: nn.Module
    place: Place
    """Of the argument that is (trials, positions, width)."""

    def follow(self, shape: list[torch.Size]) -> RemovableHandle:
        """Keep (trials, positions) of its present call in `shape`, until the handle is removed."""

        def called(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            shape[:] = [argument(self.place, args, kwargs).shape[:2]]

        return self.module.register_forward_pre_hook(outside_graphs(called), with_kwargs=True)


@dataclass(frozen=True)
class Routing:
    """The call of one layer's experts during the probe, and what it says of later calls."""

    module: nn.Module
    name: str
    layer: int
    count: int
    texts: Texts
    places: tuple[Place, Place, Place]
    """Of the hidden states (N, width), the indices (N, choices) and their weights."""
    hidden: Tensor
    indices: Tensor
    weights: Tensor
    output: Tensor  # (N, width of the output)
    before: Sequence[tuple[nn.Module, int | None, Tensor]]
    """What modules returned since the experts of the layer before: where in a tuple, and rows."""

    @property
    def choices(self) -> int:
        """Experts per token."""
        return self.indices.shape[-1]


def argument(place: Place, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The argument of a call at a place."""
    return kwargs[place] if isinstance(place, str) else args[place]


def exchanged(
    new: Mapping[Place, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with others at some places."""
    positional = tuple(new.get(place, value) for place, value in enumerate(args))
    return positional, {name: new.get(name, value) for name, value in kwargs.items()}


def own_outputs(
    module: nn.Module,
    hidden: Tensor,
    rows: Tensor,
    experts: Tensor,
    take: Callable[[Tensor, slice], None],
) -> None:
    """Hand what single experts make of single tokens, unweighted, to `take`, some at a time.

    Args:
        module: the experts of a layer.
        hidden: (N, width), in the type that the module is given.
        rows: int64 (pairs,), which token.
        experts: int64 (pairs,), by which expert; sorted, they are run in fewest steps.
        take: is given outputs (some, width of the output) and which of the pairs they belong to.
    """
    forward, count = experts_forward(module), experts_in(module) or 1
    numbers = sum(p.numel() for p in module.parameters()) // (count * hidden.shape[-1])
    # The token, its output and what lies between, twice; and one-hot integers, likewise.
    row = 2 * (2 * hidden.shape[-1] + numbers) * hidden.element_size() + 16 * count
    step = max(1, _CHUNK_BYTES // row)
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        chosen = experts[some, None]
        ones = torch.ones_like(chosen, dtype=hidden.dtype)
        take(forward(hidden[rows[some]], chosen, ones).reshape(len(chosen), -1), some)


def find_routing(model: Any) -> tuple[Routing, ...]:
    """The experts of all layers of a causal language model, in layer order.

    Raises:
        UnsupportedModelError: there are none, or they cannot be read this way.
    """
    calls = probed(model, _calls_watched)
    if not calls:
        raise _no_experts(model)
    found = sorted((_checked(model, call) for call in calls), key=lambda routing: routing.layer)
    layers = [routing.layer for routing in found]
    twice = next((r for r in found if layers.count(r.layer) > 1), None)
    if twice is not None:
        names = sorted({r.name for r in found if r.layer == twice.layer})
        raise UnsupportedModelError(
            f"model: {type(model).__name__} calls experts {layers.count(twice.layer)} times in "
            f"layer {twice.layer} ({', '.join(names)}), so they are not the experts of one layer "
            f"each. {ANY_SERIES}"
        )
    return tuple(found)


@dataclass
class _Call:
    """A call of what may be experts; tensors are copies, as models go on in place."""

    module: nn.Module
    places: tuple[Place, Place, Place]
    hidden: Tensor
    indices: Tensor
    weights: Tensor
    before: list[tuple[nn.Module, int | None, Tensor]]
    texts: dict[nn.Module, Place]
    output: Any = None


@contextmanager
def _calls_watched(model: nn.Module) -> Iterator[list[_Call]]:
    """Note the calls of a pass through `model` that look like those of experts."""
    calls: list[_Call] = []
    texts: dict[nn.Module, Place] = {}
    returned: list[tuple[nn.Module, int | None, Tensor]] = []
    running: list[_Call] = []  # an adapter calls what it holds with the same arguments

    def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not in_the_pass():
            return
        given: dict[Place, Any] = dict(enumerate(args))
        given.update(kwargs.items())
        tensors = {place: v for place, v in given.items() if isinstance(v, Tensor)}
        for place, value in tensors.items():
            if _is_texts(value):
                texts[module] = place
                break
        places = None if running else _places(tensors)
        if places is not None:
            hidden, indices, weights = (tensors[place].clone() for place in places)
            noted = list(returned), dict(texts)
            running.append(_Call(module, places, hidden, indices, weights, *noted))
            returned.clear()

    def left(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not in_the_pass():
            return
        if running and running[-1].module is module:
            call = running.pop()
            if isinstance(output, Tensor) and output.numel() > 0:
                call.output = output.clone()
                calls.append(call)
        elif not running:
            several = isinstance(output, tuple)
            for place, value in enumerate(output if several else (output,)):
                if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1:
                    rows = value.flatten(0, -2)
                    if len(rows) == PROBE_BATCH * PROBE_LENGTH:
                        returned.append((module, place if several else None, rows.clone()))

    with ExitStack() as stack:
        for module in model.modules():
            handle = module.register_forward_pre_hook(entered, with_kwargs=True)
            stack.callback(handle.remove)
            stack.callback(module.register_forward_hook(left).remove)
        yield calls


def _is_texts(value: Tensor) -> bool:
    shape = (PROBE_BATCH, PROBE_LENGTH)
    return value.dim() == 3 and value.is_floating_point() and value.shape[:2] == shape


def _places(tensors: Mapping[Place, Tensor]) -> tuple[Place, Place, Place] | None:
    """Where hidden states, indices and weights are, if these three are what a call is given."""
    whole = [p for p, t in tensors.items() if t.dtype in (torch.int64, torch.int32)]
    floating = [p for p, t in tensors.items() if t.is_floating_point()]
    if len(tensors) != 3 or len(whole) != 1 or len(floating) != 2:
        return None
    indices = tensors[whole[0]]
    weights = [p for p in floating if tensors[p].shape == indices.shape]
    hidden = [p for p in floating if tensors[p].shape != indices.shape]
    if indices.dim() < 2 or len(weights) != 1 or tensors[hidden[0]].dim() < 2:
        return None
    tokens = PROBE_BATCH * PROBE_LENGTH
    if any(tensors[p].shape[:-1].numel() != tokens for p in (*whole, *hidden)):
        return None
    return hidden[0], whole[0], weights[0]


def _checked(model: Any, call: _Call) -> Routing:
    """What a call says of its layer, if it is one of experts."""
    names = {module: name for name, module in model.named_modules()}
    name = names[call.module]
    what = f"model: {type(model).__name__}: {name} ({type(call.module).__name__})"
    count = experts_in(call.module)
    if count is None or int(call.indices.max()) >= count or int(call.indices.min()) < 0:
        raise UnsupportedModelError(
            f"{what} is called as experts are, but does not say how many it holds "
            f"({'nothing found' if count is None else f'{count} found'}, of which number "
            f"{int(call.indices.max())} is chosen). {ANY_SERIES}"
        )
    above = [name, *(name.rsplit(".", k + 1)[0] for k in range(name.count(".")))]
    holder = next((m for n in above if (m := model.get_submodule(n)) in call.texts), None)
    layer = _layer_of(model, name)
    if holder is None or layer is None:
        missing = "layer" if layer is None else "texts"
        raise UnsupportedModelError(
            f"{what}: to which {missing} the tokens that it is given belong, none of the modules "
            f"around it says. {ANY_SERIES}"
        )
    hidden = call.hidden.reshape(-1, call.hidden.shape[-1])
    indices = call.indices.reshape(-1, call.indices.shape[-1])
    weights = call.weights.reshape(indices.shape)
    output = call.output.reshape(len(hidden), -1)
    _refuse_other_order(what, hidden, torch.where(weights != 0, indices, -1), weights)
    _refuse_other_sums(what, call.module, hidden, indices, weights, output)
    texts = Texts(holder, call.texts[holder])
    return Routing(
        call.module, name, layer, count, texts, call.places, hidden, indices, weights, output,
        call.before,
    )  # fmt: skip


def _layer_of(model: nn.Module, name: str) -> int | None:
    """The index in the outermost list of modules that holds the one of this name."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        holder = model.get_submodule(".".join(parts[:length]))
        if isinstance(holder, nn.ModuleList) and parts[length].isdigit():
            return int(parts[length])
    return None


def _refuse_other_order(what: str, hidden: Tensor, chosen: Tensor, weights: Tensor) -> None:
    """Check that rows are tokens, text after text, and that no token looks at later ones.

    The texts of the probe differ in the last token only, so before it they are equal up to
    rounding: the square root of the precision lies half-way between its digits and the first.
    """
    for values in (hidden, weights):
        first, second = values.unflatten(0, (PROBE_BATCH, PROBE_LENGTH)).double()
        tolerance = torch.finfo(values.dtype).eps ** 0.5
        if (first - second)[:-1].norm() > tolerance * first.norm():
            raise UnsupportedModelError(
                f"{what} is given tokens in another order than text after text, or what a token "
                f"is given depends on later tokens. {ANY_SERIES}"
            )
    first, second = hidden.unflatten(0, (PROBE_BATCH, PROBE_LENGTH)).double()
    if torch.equal(first[-1], second[-1]):
        raise UnsupportedModelError(
            f"{what} is given the same for different tokens, so that their order cannot be told; "
            f"weights of the model may be zero. {ANY_SERIES}"
        )


@torch.no_grad()
def _refuse_other_sums(
    what: str, module: nn.Module, hidden: Tensor, indices: Tensor, weights: Tensor, output: Tensor
) -> None:
    """Check that the output is the weighted sum of what single experts make of their tokens."""
    choices = indices.shape[-1]
    own: list[Tensor] = []
    try:
        own_outputs(
            module,
            hidden,
            torch.arange(len(hidden), device=hidden.device).repeat_interleave(choices),
            indices.reshape(-1).long(),
            lambda outputs, _: own.append(outputs.double()),
        )
        terms = torch.cat(own).unflatten(0, indices.shape) * weights.double()[..., None]
        off = (terms.sum(1) - output.double()).norm()
    except (RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise UnsupportedModelError(
            f"{what} is called as experts are, but cannot be asked for a single one "
            f"({type(error).__name__}: {error}). {ANY_SERIES}"
        ) from error
    if not (output.isfinite().all() and terms.isfinite().all()):
        raise UnsupportedModelError(
            f"{what}: what these experts return holds NaN or infinity: weights of the model are "
            "not finite, or its numbers are too large for "
            f"{str(hidden.dtype).removeprefix('torch.')}; load it in bfloat16 or float32"
        )
    if not off <= torch.finfo(hidden.dtype).eps ** 0.5 * terms.norm():
        raise UnsupportedModelError(
            f"{what} is called as experts are, but what it returns is not the weighted sum of what "
            f"single experts return (off by {float(off):.2g} of {float(terms.norm()):.2g}), so "
            f"their own outputs cannot be told from it. {ANY_SERIES}"
        )


def _no_experts(model: Any) -> UnsupportedModelError:
    kinds = {type(m).__name__ for m in model.modules()}
    named = sorted(kind for kind in kinds if re.search("expert|moe(?!.*For)|router", kind, re.I))
    if named:
        found = (
            f"it has modules called {', '.join(named)}, but none is called with the hidden states "
            "of all tokens, the indices of the experts chosen for each and the weights of these, "
            "which is where synkern sees what single experts do"
        )
    else:
        found = "no layer has experts: it is a dense model; record its heads instead"
    return UnsupportedModelError(f"model: {type(model).__name__}: {found}. {ANY_SERIES}")
