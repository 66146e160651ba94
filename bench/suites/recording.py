"""What recording costs a model that generates: over plain generation, by kind of node.

Generation with SmolLM2-135M: six prompts of 50 tokens, bare and recorded calls in turns, so that a
change of the machine's speed meets all alike; the recorded texts must be the bare ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import transformers

import synkern
from synkern.models.language_model import load
from synkern.study.prompts import load_prompts

TOKENS = 50
PROMPTS = 6
BARE = "bare"

KINDS: dict[str, tuple[str, ...]] = {
    "heads": ("heads",),
    "heads, mlps and layers": ("heads", "mlps", "layers"),
    "mlps": ("mlps",),
    "layers": ("layers",),
    "neurons": ("neurons",),
}
"""What is recorded, by what it is called in the results."""


def heads(rounds: int, say: Callable[[str], None], tokens: int = TOKENS) -> dict[str, Any]:
    """Seconds of generation by round, bare and recorded, and the overhead with its interval."""
    seconds = in_turns(rounds, say, {"recorded": ("heads",)}, tokens, time.perf_counter)
    return {
        "model": "smollm2-135m",
        "prompts": PROMPTS,
        "tokens": tokens,
        "seconds": seconds,
        **overhead(seconds["recorded"], seconds[BARE]),
    }


def kinds(rounds: int, say: Callable[[str], None], tokens: int = TOKENS) -> list[dict[str, Any]]:
    """Of each of `KINDS` the overhead over plain generation, and beyond that of heads.

    By the time that the process computes, which others on the machine disturb less.
    """
    seconds = in_turns(rounds, say, KINDS, tokens, time.process_time)
    return [
        {
            "nodes": name,
            "seconds": seconds[name],
            "bare": seconds[BARE],
            **overhead(seconds[name], seconds[BARE]),
            "beyond_heads": overhead(seconds[name], seconds["heads"]),
        }
        for name in KINDS
    ]


def in_turns(
    rounds: int,
    say: Callable[[str], None],
    recorded: Mapping[str, tuple[str, ...]],
    tokens: int,
    clock: Callable[[], float],
) -> dict[str, list[float]]:
    """Seconds of generation by round: bare, and recording the kinds of each of `recorded`."""
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load("smollm2-135m", device="cpu")
    prompts = [prompt.text for prompt in load_prompts()[:: 60 // PROMPTS]][:PROMPTS]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    names = [BARE, *recorded]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    model.generate(**inputs, max_new_tokens=2, do_sample=False)  # warm up
    text = model.generate(**inputs, **options)
    for k in range(rounds):
        # Each comes first as often as any other, and behind each other one.
        turn = k % len(names)
        for name in (names[turn:] + names[:turn])[:: 1 if k % 2 == 0 else -1]:
            start = clock()
            if name == BARE:
                along = model.generate(**inputs, **options)
            else:
                with synkern.record(model, nodes=recorded[name]) as recording:
                    along = model.generate(**inputs, **options)
                shape = tuple(recording.series.shape)
            seconds[name].append(clock() - start)
            complete = name == BARE or shape == (PROMPTS, tokens, len(recording.nodes))
            if not torch.equal(text, along) or not complete:
                raise RuntimeError("recording changed what the model wrote, or missed a step of it")
        last = ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names)
        say(f"recording, round {k + 1} of {rounds}: {last}")
    return seconds


def overhead(recorded: list[float], bare: list[float]) -> dict[str, Any]:
    """The median overhead over rounds, and the interval that holds it in 95 of 100 redraws."""
    ratios = np.array(recorded) / np.array(bare)
    drawn = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), -1)
    return {
        "overhead": float(np.median(ratios) - 1),
        "interval": [float(q) - 1 for q in np.quantile(drawn, (0.025, 0.975))],
    }
