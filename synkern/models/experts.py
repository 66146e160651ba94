"""Sites of the routed experts of a language model: what the experts module of a layer is given.

An expert's own output is nowhere to be seen: the experts of a layer are one module, which returns
the weighted sum of those chosen. So what the module is given is kept (its input at a token, which
experts were chosen, with what weights), and the experts chosen are run again on it when it is read:
many steps at once, one product of matrices per expert. The model itself is only watched, so what it
computes is the same bits with and without a recording, whichever implementation runs its experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.routing import (
    Place,
    Routing,
    Texts,
    argument,
    exchanged,
    find_routing,
    own_outputs,
)
from synkern.models.signals import Signal
from synkern.models.sites import Handles, Site, With, checked_nodes, fitting, index_on
from synkern.models.upstream_torch import outside_graphs, weight_versions

EXPERT_SIGNALS = {
    "weighted": Signal(
        "L2 norm of each expert's output times its routing weight; 0 where it was not chosen",
        zero_filled=True,
    ),
    "output": Signal(
        "L2 norm of each expert's output, unweighted; 0 where it was not chosen",
        zero_filled=True,
    ),
    "gate": Signal(
        "router probability of each expert, chosen or not: softmax of the router's logits, or "
        "sigmoid where that is what the routing weights are made of"
    ),
    "dense": Signal("L2 norm of each expert's own output at every token, chosen or not"),
}
"""What can be read of an expert."""


@dataclass(frozen=True, eq=False)
class ExpertsSite(Site):
    """The routed experts of one layer.

    Its values are (trials, positions, width + 2 * choices), in float32 or wider: a token as the
    experts are given it, the indices of those that the router chose for it, and their weights. A
    chosen expert took part if its weight is not 0: some routers fill up with such.
    """

    texts: Texts
    places: tuple[Place, Place, Place]
    width: int
    """Numbers per token that the experts are given."""
    choices: int
    """Experts per token."""
    dtype: torch.dtype
    """In which the experts are given their tokens."""
    signal: str
    """What is read, one of `EXPERT_SIGNALS`."""
    versions: list[int] = field(default_factory=list, init=False)
    """Of the weights at the last call that was watched: how often each was changed in place."""

    def read(self, values: Tensor) -> Tensor:
        """The signal of every expert, float32 (..., count).

        Runs the chosen experts, or all for "dense", as they are now: weights must not change
        between the call of the model and this.

        Raises:
            RuntimeError: they have changed in place since the last call that was watched.
        """
        if self.versions and self.versions != weight_versions(self.module):
            raise RuntimeError(
                f"weights of {self.name} were changed after the model was called, and before what "
                "its experts did was read; change them outside of the recording, or between calls "
                "of generate"
            )
        # Reductions in at least float32: bfloat16 norms would take a few dozen values.
        tokens = values.detach().reshape(-1, values.shape[-1])
        gates, took_part = self.gates(tokens)
        wanted = torch.ones_like(took_part) if self.signal == "dense" else took_part
        norms = self._norms(tokens[:, : self.width], wanted)
        if self.signal == "weighted":
            norms *= gates.abs()
        return norms.float().reshape(*values.shape[:-1], self.count)

    def routed(self, values: Tensor) -> Tensor:
        """Which experts the router chose, and gave a weight other than 0: bool (..., count)."""
        tokens = values.detach().reshape(-1, values.shape[-1])
        return self.gates(tokens)[1].reshape(*values.shape[:-1], self.count)

    def write(self, values: Tensor, nodes: Sequence[int], with_: With) -> Tensor:
        """The values with other routing weights of some experts, where they were chosen.

        0.0 takes an expert's output out of the sum; the router is not asked again, and no other
        weight changes. Where an expert was not chosen, nothing can be put in its place.

        Args:
            values: of this site.
            nodes: indices of experts, each once.
            with_: a routing weight; or a tensor of such, that has or broadcasts to the shape
                (..., nodes, 1); or a function that is given the routing weights (..., nodes, 1), 0
                where an expert was not chosen, and returns such a tensor.
        """
        chosen = checked_nodes(nodes, self)
        if not chosen:
            return values
        indices, weights = self._split(values)
        its = indices[..., None, :] == index_on(tuple(chosen), values.device)[:, None]
        new: Any = with_
        if callable(with_) or isinstance(with_, Tensor):
            own = torch.where(its, weights[..., None, :], 0).sum(-1, keepdim=True)
            new = with_(own) if callable(with_) else with_
            if isinstance(new, Tensor):
                new = fitting(new, own, self)
                # A router may choose an expert for a token more than once.
                shares = new / its.sum(-1, keepdim=True).clamp(min=1)
                new = torch.where(its, shares, 0).sum(-2)
        written = values.clone()
        written[..., -self.choices :] = torch.where(its.any(-2), new, weights)
        return written

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """Hand the values of every call of the experts to `receive`: see `Site.watch`."""
        shape: list[torch.Size] = []

        def given(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.versions[:] = weight_versions(self.module)
            receive(self._packed(argument(self.places[0], args, kwargs), args, kwargs, shape))

        return Handles(self.texts.follow(shape), self._before(given))

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Let the experts go on with `change(values)` in every call: see `Site.edit`."""
        shape: list[torch.Size] = []

        def changed(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            own = [argument(place, args, kwargs) for place in self.places]
            values = self._packed(own[0], args, kwargs, shape)
            new = change(values)
            if new is values:
                return None
            widths = (self.width, self.choices, self.choices)
            parts = new.split(widths, dim=-1)
            fitted = (part.reshape(o.shape).to(o.dtype) for part, o in zip(parts, own, strict=True))
            return exchanged(dict(zip(self.places, fitted, strict=True)), args, kwargs)

        return Handles(self.texts.follow(shape), self._before(changed))

    def _before(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self.module.register_forward_pre_hook(outside_graphs(hook), with_kwargs=True)

    def _packed(
        self,
        of_token: Tensor,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        shape: Sequence[torch.Size],
    ) -> Tensor:
        """What is known of every token, the indices and the weights, text by text."""
        indices, weights = (argument(place, args, kwargs) for place in self.places[1:])
        # Indices are whole numbers below 2 ** 24, so that float32 holds them as they are.
        dtype = torch.promote_types(
            torch.promote_types(of_token.dtype, weights.dtype), torch.float32
        )
        parts = [part.flatten(0, -2).to(dtype) for part in (of_token, indices, weights)]
        if not shape or len(parts[0]) != shape[0].numel() or parts[1].shape[-1] != self.choices:
            raise UnsupportedModelError(
                f"model: {self.name} was called with {len(parts[0])} tokens and "
                f"{parts[1].shape[-1]} experts each, in texts of {list(map(tuple, shape))}; "
                f"{self.choices} experts and all tokens of all texts were expected. {ANY_SERIES}"
            )
        return torch.cat(parts, -1).view(*shape[0], -1)

    def _split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Indices, int64, and weights of the experts chosen: (..., choices) each."""
        indices, weights = values[..., -2 * self.choices :].split(self.choices, -1)
        return indices.long(), weights

    def gates(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Of values (N, ...) routing weights (N, count), 0 where not chosen, and who took part."""
        indices, weights = self._split(tokens)
        # A column more: of experts that lie on several devices, those elsewhere have that index.
        gates = tokens.new_zeros(len(tokens), self.count + 1)
        gates.scatter_add_(1, indices.clamp(max=self.count), weights)
        gates = gates[:, : self.count]
        return gates, gates != 0

    @torch.no_grad()
    def _norms(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Norms of the experts' own outputs: (N, count), 0 where they are not wanted."""
        experts, rows = wanted.T.nonzero().unbind(-1)  # sorted by expert
        norms = hidden.new_zeros(wanted.shape)
        given = hidden.to(self.dtype)

        def take(outputs: Tensor, some: slice) -> None:
            lengths = torch.linalg.vector_norm(outputs, dim=-1, dtype=norms.dtype)
            norms[rows[some], experts[some]] = lengths

        own_outputs(self.module, given, rows, experts, take)
        return norms


@dataclass(frozen=True, eq=False, kw_only=True)
class GateSite(ExpertsSite):
    """The routed experts of one layer, with what the router said of all of them.

    What is watched holds, in place of the token, what the router returned of every expert; what is
    edited is that of `ExpertsSite`.
    """

    router: nn.Module
    part: int | None
    """Where in what the router returns; None if it returns nothing else."""
    scores: str
    """What makes probabilities of it, one of `SCORES`."""

    def read(self, values: Tensor) -> Tensor:
        """The router probability of every expert, float32 (..., count)."""
        return SCORES[self.scores](values.detach()[..., : self.count]).float()

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """Hand the values of every call of the experts to `receive`: see `Site.watch`."""
        shape: list[torch.Size] = []
        said: list[Tensor] = []

        def asked(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            said[:] = [output if self.part is None else output[self.part]]

        def given(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not said:
                raise UnsupportedModelError(
                    f"model: {self.name} was called before its router. {ANY_SERIES}"
                )
            receive(self._packed(said.pop(), args, kwargs, shape))

        asking = self.router.register_forward_hook(outside_graphs(asked))
        return Handles(self.texts.follow(shape), asking, self._before(given))


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "probabilities": lambda said: said,
    "softmax": lambda logits: logits.softmax(-1),
    "sigmoid": torch.sigmoid,
}
"""What makes router probabilities of what a router returns."""


def find_experts(model: nn.Module, signal: str = "weighted") -> tuple[ExpertsSite, ...]:
    """Find the sites of the routed experts: of all layers that have some, in layer order.

    Runs one forward pass of a few tokens without gradient and cache, in evaluation mode, and the
    experts of each layer once more on these; the model is left as it was.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `EXPERT_SIGNALS`.

    Returns:
        One site per layer with experts; dense layers have none.

    Raises:
        UnsupportedModelError: a dense model, or experts that cannot be read this way: in modules of
            their own, without weights, with outputs that are no weighted sum; for "gate", a router
            whose probabilities cannot be told.
    """
    language_model = causal_lm(model)
    return tuple(
        _gate_site(language_model, routing)
        if signal == "gate"
        else ExpertsSite(**_found(routing), signal=signal)
        for routing in find_routing(language_model)
    )


def _found(routing: Routing) -> dict[str, Any]:
    return {
        "kind": "experts",
        "layer": routing.layer,
        "name": routing.name,
        "module": routing.module,
        "count": routing.count,
        "texts": routing.texts,
        "places": routing.places,
        "width": routing.hidden.shape[-1],
        "choices": routing.choices,
        "dtype": routing.hidden.dtype,
    }


def _gate_site(model: Any, routing: Routing) -> GateSite:
    """The site with the module that returned what the routing weights were made of."""
    unclear: set[str] = set()
    for router, part, said in reversed(routing.before):
        if said.shape[-1] != routing.count:
            continue
        scores = _scores(said, routing)
        if len(scores) == 1:
            return GateSite(
                **_found(routing), signal="gate", router=router, part=part, scores=scores[0]
            )
        unclear.update(scores)
    why = (
        f"the routing weights fit {' and '.join(sorted(unclear))} of the router's logits alike "
        "(the weights of the router may be zero)"
        if unclear
        else f"the routing weights of {routing.name} are proportional neither to the softmax nor "
        f"to the sigmoid of anything that a module returns for its {routing.count} experts"
    )
    raise UnsupportedModelError(
        f"model: {type(model).__name__}: router probabilities cannot be told, since {why}; read "
        "another signal of the experts, such as 'weighted' or 'dense'"
    )


def _scores(said: Tensor, routing: Routing) -> list[str]:
    """Of `SCORES`, those by which this (N, count) of a router may have given the weights.

    Probabilities add up to 1, and those chosen are the largest. Else the weights are proportional,
    token by token, to the scores of the experts chosen; with one expert per token, all alike.
    """
    # Both were rounded, and what was made of them on the way, which is float32 in most families
    # whatever the model is: a few units in the last place each.
    kept = (routing.weights.dtype, said.dtype, torch.float32)
    tolerance = 8 * max(torch.finfo(dtype).eps for dtype in kept)
    said, indices = said.double(), routing.indices.long()
    one = (said.sum(-1) - 1).abs().max() <= tolerance
    chosen = said.gather(-1, indices)
    largest = said.topk(routing.choices).values
    if one and bool((said >= 0).all()) and torch.equal(chosen.sort().values, largest.sort().values):
        return ["probabilities"]
    fits = []
    for name in ("softmax", "sigmoid"):
        ratios = routing.weights.double() / SCORES[name](said).gather(-1, indices)
        if routing.choices == 1:
            ratios = ratios.T
        spread = (ratios.amax(-1) - ratios.amin(-1)) / ratios.abs().amax(-1)
        if bool((spread <= tolerance).all()):  # not where it is NaN
            fits.append(name)
    return fits
