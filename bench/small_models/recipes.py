"""What is trained, and how long: one recipe for each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import LlamaConfig, OlmoeConfig, PreTrainedConfig

CONTEXT = 256
"""Tokens of a row of training, and the positions that the models take."""

_SHARED: dict[str, Any] = {
    "hidden_size": 128,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "initializer_range": 0.06,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}


@dataclass(frozen=True)
class Recipe:
    """An architecture and its training.

    Attributes:
        config: of the untrained model; the tokenizer's numbers are filled in later.
        steps: of the optimiser.
        rows: texts of `CONTEXT` tokens in a step.
        learning_rate: the highest, after the warm-up.
        inputs: what the model is told in training beside the texts.
    """

    config: PreTrainedConfig
    steps: int
    rows: int = 4
    learning_rate: float = 3e-3
    inputs: Mapping[str, Any] = field(default_factory=dict)


def recipes() -> dict[str, Recipe]:
    """By name. Six layers of 128 channels, and four with eight experts, two of them for a token."""
    dense = LlamaConfig(num_hidden_layers=6, intermediate_size=384, **_SHARED)
    moe = OlmoeConfig(
        num_hidden_layers=4,
        intermediate_size=128,
        num_experts=8,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        **_SHARED,
    )
    return {
        "dense": Recipe(dense, steps=3500),
        # Router logits bring the loss that balances the experts. They are asked for call by call,
        # because a configuration that always wants them would make generation compute that loss.
        "moe": Recipe(moe, steps=5000, inputs={"output_router_logits": True}),
    }
