"""Sites of whole decoder layers: what each adds to the residual stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from synkern.models.language_model import ANY_SERIES, UnsupportedModelError, causal_lm
from synkern.models.signals import Signal
from synkern.models.sites import VectorSite, first_returned, with_first
from synkern.models.stack import Layer, find_stack
from synkern.models.survey import STREAM, Place
from synkern.models.upstream_torch import outside_graphs

LAYER_SIGNALS = {
    "norm": Signal("L2 norm of each layer's update of the residual stream, output minus input"),
}
"""What can be read of a layer."""


@dataclass(frozen=True, eq=False)
class LayerSite(VectorSite):
    """One layer: values (trials, positions, width) are what it returns minus what it is given.

    They are float32 at least. Writing 0 skips the layer: it then returns exactly what it was given.
    """

    entry: Place
    """Where the layer is given the stream."""

    def watch(self, receive: Callable[[Tensor], None]) -> RemovableHandle:
        """See `Site.watch`."""

        def ran(_: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            receive(self._update(args, kwargs, output))

        return self.module.register_forward_hook(outside_graphs(ran), with_kwargs=True)

    def edit(self, change: Callable[[Tensor], Tensor]) -> RemovableHandle:
        """See `Site.edit`. What is left as it was stays so bit for bit."""

        def changed(_: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> Any:
            update = self._update(args, kwargs, output)
            new = change(update)
            if new is update:
                return output
            returned, stream = first_returned(output), self._stream(args, kwargs)
            moved = (stream + new).to(returned)
            # An update is rounded: adding it again would not give quite what the layer returned.
            return with_first(output, torch.where(new == update, returned, moved))

        return self.module.register_forward_hook(outside_graphs(changed), with_kwargs=True)

    def _stream(self, args: Any, kwargs: Mapping[str, Any]) -> Tensor:
        stream: Tensor = args[self.entry] if isinstance(self.entry, int) else kwargs[self.entry]
        return stream

    def _update(self, args: Any, kwargs: Mapping[str, Any], output: Any) -> Tensor:
        returned: Tensor = first_returned(output)
        stream = self._stream(args, kwargs)
        if returned.dtype in (torch.float32, torch.float64):
            return returned - stream
        # The difference of two bfloat16 numbers would be rounded to 8 bits once more.
        return returned.float() - stream.float()


def find_layers(model: nn.Module, signal: str = "norm") -> tuple[LayerSite, ...]:
    """Find the sites of the decoder layers, in their order.

    Runs one forward pass of a few tokens, as `synkern.models.heads.find_heads` does. In a model
    that norms the stream itself after every layer the update holds what that changes.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        signal: what the sites read, one of `LAYER_SIGNALS`.

    Raises:
        UnsupportedModelError: there is no one list of layers that hand one vector per token on
            (several streams, as of hyper-connections; something that changes it between layers), or
            what `synkern.models.stack.find_stack` refuses.
    """
    language_model = causal_lm(model)
    stack = find_stack(language_model)
    return tuple(
        LayerSite(
            "layers",
            layer.index,
            layer.name,
            layer.module,
            count=1,
            width=layer.output.shape[-1],
            entry=_checked_entry(language_model, layer),
        )
        for layer in stack
    )


def _checked_entry(model: Any, layer: Layer) -> Place:
    shape = tuple(layer.output.shape)
    if len(shape) != 3 or shape[:2] != STREAM:
        why = (
            f"hands a tensor {shape} on for {STREAM[0]} texts of {STREAM[1]} tokens, not one "
            "vector per token: with several streams beside each other (hyper-connections, "
            "predicted streams) its update is no one vector"
        )
    elif layer.entry is None:
        why = (
            "is not given what the layer before it returned: something between the layers changes "
            "the stream, so that the updates of the layers do not add up to it"
        )
    elif layer.rewrites:
        why = "changes what it is given in place, so that its update cannot be told afterwards"
    else:
        return layer.entry
    raise UnsupportedModelError(f"model: {type(model).__name__}: {layer.what} {why}. {ANY_SERIES}")
