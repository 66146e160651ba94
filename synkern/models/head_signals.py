"""What else than the norm can be read of an attention head.

The sites are those of `synkern.models.heads`, read another way; for the entropy of a head's
attention it is the attention module itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.heads import Attention, find_attention, find_heads, head_site
from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.signals import Signal
from synkern.models.sites import SideBySideSite, Site, VectorSite, With, vector_norms
from synkern.models.upstream_linears import adapter_around, plain_linear_weight
from synkern.models.upstream_torch import outside_graphs

HEAD_SIGNALS = {
    "norm": Signal("L2 norm of each head's output, before the output projection"),
    "projected": Signal("L2 norm of what each head writes, through its part of the projection"),
    "largest": Signal("largest absolute value in each head's output"),
    "entropy": Signal("entropy of each head's attention over the keys, in nats"),
}
"""What can be read of a head."""

_EAGER = (
    'load the model with attn_implementation="eager", or call '
    'model.set_attn_implementation("eager")'
)


@dataclass(frozen=True, eq=False)
class LargestSite(SideBySideSite):
    """Heads, of which the largest absolute value is read."""

    def read(self, values: Tensor) -> Tensor:
        """The largest absolute value of every head: (..., count * width) to float32."""
        vectors = values.detach().unflatten(-1, (self.count, self.width))
        largest: Tensor = vectors.abs().amax(-1)
        return largest.float()


@dataclass(frozen=True, eq=False)
class ProjectedSite(SideBySideSite):
    """Heads, of which the norm of what they write to the residual stream is read.

    With the columns W of the output projection that belong to a head, W = Q R and Q with orthogonal
    columns, a head's output z writes W z, and |W z| = |R z|: width² products per head and token.
    """

    factors: Tensor
    """R of every head: (count, rows, width), float32 at least."""
    weight: Tensor
    """What they were made of."""
    version: int
    """How often that had been changed in place."""

    def read(self, values: Tensor) -> Tensor:
        """|W z| of every head: (..., count * width) to float32 (..., count).

        Raises:
            RuntimeError: the weights were changed after the site was found.
        """
        if self.weight._version != self.version:
            raise RuntimeError(
                f"the weight of {self.name} was changed after its heads were found, so that what "
                "they write cannot be told; change weights before synkern.record begins or find "
                "the sites again"
            )
        vectors = values.detach().unflatten(-1, (self.count, self.width)).to(self.factors)
        written = torch.einsum("...hd,hrd->...hr", vectors, self.factors)
        return vector_norms(written.flatten(-2), self.factors.shape[1])


@dataclass(frozen=True, eq=False)
class EntropySite(Site):
    """Heads, of which the entropy of their attention is read: values (trials, positions, heads).

    The entropy is made in every call, as the keys grow in number. It cannot be written.
    """

    place: int
    """Where the weights are in what the attention module returns."""

    def read(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values.float()

    def write(self, values: Tensor, nodes: Sequence[int], with_: With) -> Tensor:
        """Refused.

        Raises:
            ValueError: always.
        """
        raise ValueError(self._not_written)

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """Refused.

        Raises:
            ValueError: always.
        """
        raise ValueError(self._not_written)

    @property
    def _not_written(self) -> str:
        return (
            "signal: 'entropy' is made of a head's attention and cannot be written into the model; "
            "change heads by the sites of another signal, such as find_sites(model, 'heads')"
        )

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """See `Site.watch`; the module has to go on giving its weights."""

        def attended(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            weights = output[self.place]
            if not isinstance(weights, Tensor):
                raise UnsupportedModelError(
                    f"model: {self.name} no longer returns attention weights, so that their "
                    f"entropy cannot be read; {_EAGER} before recording"
                )
            receive(entropies(weights.detach()).transpose(1, 2))

        return self.module.register_forward_hook(outside_graphs(attended))


def entropies(weights: Tensor) -> Tensor:
    """Entropy in nats of weights over the last axis, at least in float32, of their shares of 1.

    Shares of 1, as the weights of some heads add up to less: what goes to an attention sink, which
    is no key, is not among them. Masked keys have the weight 0 and add nothing. NaN where all
    weights are 0.
    """
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    whole = weights.sum(-1)
    # Of shares p = w / s: -sum(p log p) = log(s) - sum(w log w) / s.
    entropy: Tensor = torch.special.entr(weights).sum(-1) / whole + whole.log()
    return entropy.clamp(min=0).float()


def find_heads_to_read(model: nn.Module, signal: str = "norm") -> tuple[Site, ...]:
    """Find the sites of the attention heads that read one signal, in layer order.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `HEAD_SIGNALS`. "projected": without the bias, and
            before any norm or scaling that a model puts between projection and stream.

    Raises:
        UnsupportedModelError: see `synkern.models.heads.find_heads`. For "projected" also: the
            matrix of a projection is not at hand (quantised, offloaded, inside an adapter). For
            "entropy": the attention implementation gives no weights.
    """
    if signal == "norm":
        return find_heads(model)
    language_model = causal_lm(model)
    made = {"projected": _projected, "largest": _largest, "entropy": _entropy}[signal]
    names = {module: name for name, module in language_model.named_modules()}
    return tuple(
        made(language_model, head_site(found, names), found, names)
        for found in find_attention(language_model)
    )


def _largest(
    model: Any, site: VectorSite, found: Attention, names: dict[nn.Module, str]
) -> LargestSite:
    return LargestSite("heads", site.layer, site.name, site.module, site.count, site.width)


def _projected(
    model: Any, site: VectorSite, found: Attention, names: dict[nn.Module, str]
) -> ProjectedSite:
    weight = plain_linear_weight(site.module)
    adapter = adapter_around(model, site.module)
    if weight is None or weight.is_meta or adapter is not None:
        if adapter is not None:
            why = (
                f"{names[adapter]} ({type(adapter).__name__}) adds to what it writes: merge the "
                "adapter (merge_and_unload()) or disable it"
            )
        elif weight is not None:
            why = "its weight is offloaded: load the model where it fits into memory"
        else:
            why = (
                f"a {type(site.module).__name__} keeps its weight in a form of its own, as of a "
                "quantised or pruned model: load the model without quantization_config, and make "
                "pruning permanent"
            )
        raise UnsupportedModelError(
            f"model: {type(model).__name__}: what the heads of {site.name} write cannot be told; "
            f"{why}. signal='norm' reads the heads before the projection."
        )
    # (out, in) to (heads, out, width). In float64, which not every accelerator has.
    by_head = weight.detach().unflatten(1, (site.count, site.width)).movedim(1, 0)
    device = weight.device if weight.device.type == "cuda" else torch.device("cpu")
    _, factors = torch.linalg.qr(by_head.to(device, torch.float64), mode="r")
    kept = torch.promote_types(weight.dtype, torch.float32)
    return ProjectedSite(
        "heads",
        site.layer,
        site.name,
        site.module,
        site.count,
        site.width,
        factors=factors.to(weight.device, kept),
        weight=weight,
        version=weight._version,
    )


def _entropy(
    model: Any, site: VectorSite, found: Attention, names: dict[nn.Module, str]
) -> EntropySite:
    where = f"model: {type(model).__name__}: {names[found.module]} ({type(found.module).__name__})"
    if found.weights is None:
        raise UnsupportedModelError(
            f"{where} gives no attention weights, so that their entropy cannot be read: its "
            f"implementation never makes them; {_EAGER}."
        )
    if found.weights_place is None:
        raise UnsupportedModelError(
            f"{where} does not return its attention weights, so that their entropy cannot be "
            f"read. {ANY_SERIES}"
        )
    batch, length, heads, _ = found.output.shape
    weights = found.weights.double()
    slack = torch.finfo(found.weights.dtype).eps ** 0.5
    if (
        tuple(weights.shape) != (batch, heads, length, length)
        or bool((weights < 0).any())
        or bool((weights.sum(-1) > 1 + slack).any())
    ):
        raise UnsupportedModelError(
            f"{where} gives weights {tuple(weights.shape)} that are no shares of every head's "
            f"attention ({batch}, {heads}, {length}, {length}), so that they have no entropy. "
            f"{ANY_SERIES}"
        )
    place = found.weights_place
    return EntropySite("heads", site.layer, names[found.module], found.module, heads, place)
