"""Sites: the places in a language model where the activity of nodes is read, and changed.

A module computes many nodes at once: the output projection of an attention layer is given all heads
of the layer side by side. So the place is the object, and a node is an index into it: one hook
serves all nodes of a site. What reads or changes nodes works on sites and knows of no kind;
`synkern.models.nodes` lists the kinds.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.upstream_torch import outside_graphs

With: TypeAlias = float | Tensor | Callable[[Tensor], Tensor]
"""What `Site.write` puts in place of nodes: a number or a tensor, or a function of their own."""


class Handles(RemovableHandle):
    """Several handles that are removed together, the last first."""

    def __init__(self, *handles: RemovableHandle) -> None:
        """Take handles of hooks that are there."""
        self._handles = handles

    def remove(self) -> None:
        """Remove the hooks of all of them."""
        for handle in reversed(self._handles):
            handle.remove()


@dataclass(frozen=True, eq=False)
class Site(ABC):
    """A place in one layer of a model at which one module handles `count` nodes together.

    The `values` of a site are one tensor (trials, positions, ...) for every call of the module:
    what the module is given, unless the kind says otherwise. What lies in the last axis only the
    site knows.
    """

    kind: str
    """What its nodes are, as one of `synkern.models.nodes.KINDS`."""
    layer: int
    """The layer's index in the model, from zero."""
    name: str
    """The module's dotted name in the transformers model (not in a wrapper around it)."""
    module: nn.Module
    count: int
    """Number of nodes; their indices are 0 ... count - 1."""

    @abstractmethod
    def read(self, values: Tensor) -> Tensor:
        """The activity of every node: values (..., of the site) to float32 (..., count)."""

    def routed(self, values: Tensor) -> Tensor | None:
        """Which nodes take part, bool (..., count); None where all do at every token.

        Args:
            values: of this site, as `read` takes them.
        """
        return None

    @abstractmethod
    def write(self, values: Tensor, nodes: Sequence[int], with_: With) -> Tensor:
        """The values with something else in place of some nodes, and all others as they are.

        Args:
            values: of this site; they stay as they are.
            nodes: indices of nodes of this site, each once.
            with_: what comes in their place: a number or a tensor, or a function that makes it of
                what is there. Nodes are its last axis but one.

        Returns:
            New values of the same shape, type and device; `values` itself if there are no nodes.

        Raises:
            ValueError: a node that the site does not have, or twice; a tensor of another shape.
        """

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """Hand the values of every call of the module to `receive`, until the handle is removed.

        Code that was compiled before does not notice it: see
        `synkern.models.upstream_torch.forget_compiled`. A kind whose values are not the module's
        first argument has a `watch` and an `edit` of its own.
        """

        def given(_: nn.Module, args: tuple[Any, ...]) -> None:
            receive(args[0])

        return self.module.register_forward_pre_hook(outside_graphs(given))

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Let the module go on with `change(values)` in every call, until the handle is removed.

        Edits are made in the order in which they were asked for; what watches sees those from
        before it began. For compiled code holds what `watch` says.
        """

        def changed(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return change(args[0]), *args[1:]

        return self.module.register_forward_pre_hook(outside_graphs(changed))


@dataclass(frozen=True, eq=False)
class SideBySideSite(Site):
    """Nodes that are vectors of one width, side by side: values (..., count * width)."""

    width: int
    """Numbers per node."""

    def write(self, values: Tensor, nodes: Sequence[int], with_: With) -> Tensor:
        """The values with other vectors in place of some: see `Site.write`.

        `with_` as a tensor has, or broadcasts to, the shape (..., nodes, width) of what it
        replaces; as a function it is given that and returns such a tensor.
        """
        indices = checked_nodes(nodes, self)
        if not indices:
            return values
        place = index_on(tuple(indices), values.device)
        written = values.clone()
        vectors = written.unflatten(-1, (self.count, self.width))
        new = with_
        if callable(with_) or isinstance(with_, Tensor):
            own = vectors[..., place, :]
            new = with_(own) if callable(with_) else with_
            new = fitting(new, own, self) if isinstance(new, Tensor) else new
        vectors[..., place, :] = new
        return written


@dataclass(frozen=True, eq=False)
class VectorSite(SideBySideSite):
    """Vectors side by side, the activity of each of which is its L2 norm.

    A kind that reads another number is another `SideBySideSite`: what reads many values at once
    counts on the norm.
    """

    @final
    def read(self, values: Tensor) -> Tensor:
        """The L2 norm of every node: (..., count * width) of any float to float32 (..., count)."""
        return vector_norms(values, self.width)


@dataclass(frozen=True, eq=False)
class OutputSite(VectorSite):
    """Vectors side by side in what a module returns, or in the first entry of it."""

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """See `Site.watch`; the values are what the module returns."""

        def returned(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            receive(first_returned(output))

        return self.module.register_forward_hook(outside_graphs(returned))

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """See `Site.edit`; the module returns the changed values."""

        def changed(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            return with_first(output, change(first_returned(output)))

        return self.module.register_forward_hook(outside_graphs(changed))


def first_returned(output: Any) -> Any:
    """What a module returns, or the first entry of it where it returns several things."""
    return output[0] if isinstance(output, tuple | list) and output else output


def with_first(output: Any, new: Tensor) -> Any:
    """What a module returns, with something else where `first_returned` looks."""
    if not isinstance(output, tuple | list):
        return new
    entries = (new, *output[1:])
    return list(entries) if isinstance(output, list) else entries


def vector_norms(values: Tensor, width: int) -> Tensor:
    """L2 norms of vectors side by side: (..., n * width) of any float type to float32 (..., n)."""
    vectors = values.detach().view(*values.shape[:-1], -1, width)
    # At least in float32: bfloat16 norms would take a few dozen values.
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=dtype)
    return norms.float()


@functools.lru_cache(maxsize=1024)
def index_on(nodes: tuple[int, ...], device: torch.device) -> Tensor:
    """Indices as a tensor on a device, kept: a copy to an accelerator has the model wait for it."""
    with torch.inference_mode(False):  # else it could not be used where gradients are wanted
        return torch.tensor(nodes, device=device)


def _fits(shape: torch.Size, place: torch.Size) -> bool:
    """Whether a tensor of this shape broadcasts to that of the place without enlarging it."""
    return len(shape) <= len(place) and all(
        n in (1, of) for n, of in zip(reversed(shape), reversed(place), strict=False)
    )


def fitting(new: Tensor, own: Tensor, site: Site) -> Tensor:
    """What is to come in place of the nodes' own (..., nodes, width), in their type and place.

    Raises:
        ValueError: it does not broadcast to their shape.
    """
    if not _fits(new.shape, own.shape):
        raise ValueError(
            f"with_: shape {tuple(new.shape)} does not fit the {own.shape[-2]} nodes of "
            f"{site.name}, {tuple(own.shape)}; give (..., nodes, width)"
        )
    return new.to(own)


def checked_nodes(nodes: Sequence[int], site: Site) -> list[int]:
    """Indices of nodes of a site, checked.

    Raises:
        ValueError: a node that the site does not have, or twice.
    """
    indices = [int(node) for node in nodes]
    wrong = [index for index in indices if not 0 <= index < site.count]
    if wrong:
        raise ValueError(
            f"nodes: {wrong[0]} is none of the {site.count} {site.kind} of {site.name}; give "
            f"indices 0 to {site.count - 1}"
        )
    if len(set(indices)) < len(indices):
        raise ValueError(f"nodes: {indices} names a node twice; give each once")
    return indices
