"""The part of one expert in the parameters of a layer's experts, which are one module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError
from synkern.models.probe import differs
from synkern.models.routing import find_routing, own_outputs
from synkern.models.sites import Site
from synkern.models.upstream_linears import adapter_in, why_not_editable


def parts_of_experts(model: Any, sites: Sequence[Site]) -> list[list[str]]:
    """For the experts of every site, the names of their parameters, within the module.

    The first axis of each is that of the experts: what the module returns for an expert is the same
    when all others are given the weights of that one, and another one then returns it too.

    Raises:
        UnsupportedModelError: it is not so.
    """
    of_module = {routing.module: routing for routing in find_routing(model)}
    found = []
    for site in sites:
        what = f"model: {type(model).__name__}: {site.name} ({type(site.module).__name__})"
        adapter = adapter_in(site.module)
        if adapter is not None:
            raise UnsupportedModelError(
                f"{what}: an adapter ({type(adapter).__name__}) is inside, whose matrices add to "
                "those of the experts; merge it (merge_and_unload()) or disable it"
            )
        parameters = dict(site.module.named_parameters())
        for name, parameter in parameters.items():
            why = why_not_editable(parameter)
            if why is None and (parameter.dim() < 2 or len(parameter) != site.count):
                why = f"{tuple(parameter.shape)} does not begin with {site.count} experts"
            if why is not None:
                raise UnsupportedModelError(
                    f"{what}: which weights belong to one expert cannot be told, or changed: "
                    f"{name} {why}"
                )
        own = _outputs(site.module, of_module[site.module].hidden, site.count)
        for expert in {0, site.count - 1}:
            alike = _Alike(site.module)
            given = of_module[site.module].hidden
            again = functional_call(
                alike,
                {
                    f"experts.{name}": p.detach()[expert : expert + 1].expand_as(p)
                    for name, p in parameters.items()
                },
                (given, site.count),
            )
            if any(differs(outputs, own[expert]) for outputs in again):
                raise UnsupportedModelError(
                    f"{what}: given the weights of expert {expert}, the others do not return what "
                    "that one returns, so that which weights belong to an expert cannot be told. "
                    f"{ANY_SERIES}"
                )
        found.append(list(parameters))
    return found


class _Alike(nn.Module):
    """Experts as `functional_call` takes them: it exchanges the parameters of a module's inside."""

    def __init__(self, experts: nn.Module) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, hidden: Tensor, count: int) -> Tensor:
        return _outputs(self.experts, hidden, count)


@torch.no_grad()
def _outputs(module: nn.Module, hidden: Tensor, count: int) -> Tensor:
    """What every expert makes of the first of some tokens: (count, width of the output)."""
    parts: list[Tensor] = []
    experts = torch.arange(count, device=hidden.device)
    rows = torch.zeros_like(experts)
    own_outputs(module, hidden[:1], rows, experts, lambda outputs, _: parts.append(outputs))
    return torch.cat(parts)
