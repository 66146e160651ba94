"""What a training mask costs: a step of half the heads over steps without a mask.

The dense small model of `bench/small_models/recipes.py`, 4 rows of 256 tokens. Three copies of it
take single steps in turns, so that a change of the machine's speed meets all alike: one under a
mask, one of which the queries and outputs of all heads train, one of which all does.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM

import synkern
from bench.small_models.recipes import CONTEXT, recipes
from bench.suites.recording import overhead

ROWS = 4
VOCABULARY = 512
TOKENS = 24
MASKED, WHOLE, ALL = "half the heads, masked", "queries and outputs whole", "all weights"


def measure(rounds: int, say: Callable[[str], None], tokens: int = CONTEXT) -> dict[str, Any]:
    """Seconds of a step and of generation, by what trains, and what the mask adds to each.

    A step is forward, backward, clipping and AdamW. Generation, of which training by reinforcement
    is made up as well, is of `TOKENS` tokens after 16.
    """
    config = copy.deepcopy(recipes()["dense"].config)
    config.vocab_size = VOCABULARY
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    ids = torch.randint(6, VOCABULARY, (ROWS, tokens))
    models = {name: copy.deepcopy(model) for name in (MASKED, WHOLE, ALL)}
    for name, parameter in models[WHOLE].named_parameters():
        parameter.requires_grad_("q_proj" in name or "o_proj" in name)
    heads = config.num_hidden_layers * config.num_attention_heads
    with synkern.training_mask(models[MASKED], range(0, heads, 2)) as mask:
        optimizers = {
            name: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-5)
            for name, m in models.items()
        }
        seconds = {part: {name: [] for name in models} for part in ("step", "generation")}
        for k in range(-2, rounds):  # the first ones warm up
            turn = k % len(models)
            names = [*models][turn:] + [*models][:turn]
            for name in names[:: 1 if k % 2 == 0 else -1]:
                step = _seconds(_step, models[name], optimizers[name], ids)
                written = _seconds(_generate, models[name], ids[:, :16])
                if k >= 0:
                    seconds["step"][name].append(step)
                    seconds["generation"][name].append(written)
            if k % 10 == 9:
                say(f"mask, round {k + 1} of {rounds}")
    return {
        "layers": config.num_hidden_layers,
        "width": config.hidden_size,
        "heads": heads,
        "rows": ROWS,
        "tokens": tokens,
        "trained": mask.trained,
        "seconds": seconds,
        "over": {
            part: {base: overhead(found[MASKED], found[base]) for base in (WHOLE, ALL)}
            for part, found in seconds.items()
        },
    }


def _seconds(work: Callable[..., None], *given: Any) -> float:
    # Of the process, which others on the machine disturb less.
    start = time.process_time()
    work(*given)
    return time.process_time() - start


def _step(model: Any, optimizer: torch.optim.Optimizer, ids: torch.Tensor) -> None:
    optimizer.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


def _generate(model: Any, ids: torch.Tensor) -> None:
    model.eval()
    model.generate(
        ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0
    )
    model.train()
