"""`training_mask`: some nodes of a model train, and nothing else of it."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from synkern.interventions.chosen import Chosen, chosen_nodes
from synkern.models.language_model import UnsupportedModelError, causal_lm
from synkern.models.nodes import Node
from synkern.models.slices import Slice, find_key_value_slices, find_slices
from synkern.models.upstream import is_split_over_devices
from synkern.models.upstream_linears import lora_idle
from synkern.models.upstream_torch import is_compiled
from synkern.training.errors import TrainingMaskError
from synkern.training.lora import in_factors, lora_layers
from synkern.training.masking import masked
from synkern.training.parts import chosen_groups, parts_of


class TrainingMask(AbstractContextManager["TrainingMask", None]):
    """Nodes of one model that train, while all else of it is frozen; see `training_mask`.

    Attributes:
        nodes: that train, in the model's order.
        kv: whether keys and values of heads train too.
        trained: how many numbers train. Of equally many heads of one model it is the same whichever
            they are, where all layers are alike; so it is of experts.
    """

    def __init__(
        self, model: nn.Module, nodes: Chosen, *, kv: bool = False, of: str = "heads"
    ) -> None:
        """Begin; see `training_mask`."""
        language_model = _checked(model)
        adapters = lora_layers(language_model)
        with lora_idle(adapters.values()):
            found = find_slices(language_model, of)
            mask = chosen_nodes(nodes, tuple(found))
            self.nodes: tuple[Node, ...] = tuple(
                node for node, chosen in zip(found, mask, strict=True) if chosen
            )
            if not np.any(mask):
                raise ValueError(
                    "nodes: none is chosen, so that nothing would train; choose at least one, or "
                    "leave the model as it is"
                )
            self.kv = kv
            slices = {node: list(found[node]) for node in self.nodes}
            if kv:
                self._add_keys_and_values(language_model, of, slices)
        if adapters:
            slices = in_factors(language_model, adapters, slices)
        parts = parts_of(language_model, slices)
        self._block = ExitStack()
        self._parameters = self._block.enter_context(masked(model, language_model, parts))
        self.trained = sum(p.numel() for p in self._parameters)

    def _add_keys_and_values(self, model: Any, of: str, slices: dict[Node, list[Slice]]) -> None:
        if of != "heads":
            raise ValueError(f"kv: True, but {of} have no keys and values; leave it for heads")
        groups = find_key_value_slices(model)
        for group in chosen_groups(groups, self.nodes):
            # A group trains as a whole, so that it does not matter whose its rows are said to be.
            slices[group[0]] += groups[group]

    def parameters(self) -> list[nn.Parameter]:
        """All that trains, for an optimizer; rows and columns of weights, as matrices."""
        return list(self._parameters)

    def finish(self) -> None:
        """Leave what was trained in the weights, and the model otherwise as it was."""
        self._block.close()

    def __exit__(self, *raised: Any) -> None:
        """Finish, after an exception too."""
        self._block.__exit__(*raised)


def training_mask(
    model: nn.Module, nodes: Chosen, kv: bool = False, *, of: str = "heads"
) -> TrainingMask:
    """Let chosen nodes of a model train, and nothing else.

    Of a head these are the rows of its query and the columns of its output projection; of an expert
    all its matrices. Every other number stays the same, bit for bit, whatever the optimizer does:
    it is given parameters that hold the chosen rows and columns alone, and weight decay, clipping,
    orthogonal updates or factored moments have nothing else to mix in. Biases, norms, embeddings
    and routers stay.

        with synkern.training_mask(model, core) as mask:
            trainer = Trainer(model, args, train_dataset=data)
            trainer.train()

    It holds from the call on, to the end of the block or `finish()`: make it before the optimizer
    or trainer. Then the trained numbers are in the weights, and all classes, names and settings of
    the model are as they were. Saved meanwhile, the model is an ordinary one with what was trained
    so far; a checkpoint that a trainer saved is gone on from under a mask of the same nodes.

    Under adapters of peft's LoRA the factors train instead: of a query the rows of B, of an output
    the columns of A. The other factor is fixed, so that of equally many heads equally many numbers
    train. Where it is 0 (B, in a new adapter), it is drawn by torch's seed, and the one that trains
    begins at 0 instead, so that the adapter adds nothing at first, and never to other heads.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        nodes: a label such as "L3H7", a `Node`, several of these, indices or a mask of bools.
        kv: whether the rows of keys and values train too, where all heads that share them are
            chosen.
        of: the kind of `nodes`, one of `synkern.models.nodes.KINDS`, such as "experts".

    Raises:
        UnsupportedModelError: (a ValueError) the weights of nodes cannot be told or changed, as in
            quantised or offloaded models, or where one weight serves twice; the model is compiled
            or split inside its layers; an adapter that is not a plain LoRA of queries and outputs.
        ValueError: nodes that there are not, or none; `kv` of heads of which others share the keys
            and values.
        TrainingMaskError: (a RuntimeError) some nodes of this model train already, or this is
            inference mode. Later, at a step or a pass: an optimizer that would change other
            parameters or was made before, adapters added under the mask, moments of other nodes, or
            weights that were exchanged.
    """
    return TrainingMask(model, nodes, kv=kv, of=of)


def _checked(model: nn.Module) -> Any:
    language_model = causal_lm(model)
    if torch.is_inference_mode_enabled():
        raise TrainingMaskError(
            "model: nothing made in torch.inference_mode() can train; make the mask outside of it"
        )
    if is_split_over_devices(language_model):
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} is split over devices inside its layers "
            "(tensor or expert parallel), so that one device has parts of some nodes only; load it "
            "without a tensor-parallel plan"
        )
    if is_compiled(model):
        raise UnsupportedModelError(
            f"model: {type(language_model).__name__} is compiled, and compiled code would go on "
            "with the weights as they were; mask the model as it was before torch.compile"
        )
    return language_model
