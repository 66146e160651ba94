"""What recording costs a model that generates, and where the time of a study goes.

Generation with SmolLM2-135M: six prompts of 50 tokens, bare and recorded calls in turns, so that a
change of the machine's speed meets both alike; the recorded texts must be the bare ones. The study
is that of `make demo`, in a folder of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers

import synkern
from synkern.models.language_model import load
from synkern.study.prompts import load_prompts
from synkern.study.run import run_study

TOKENS = 50
PROMPTS = 6


def recording(rounds: int, say: Callable[[str], None], tokens: int = TOKENS) -> dict[str, Any]:
    """Seconds of generation by round, bare and recorded, and the overhead with its interval."""
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load("smollm2-135m", device="cpu")
    prompts = [prompt.text for prompt in load_prompts()[:: 60 // PROMPTS]][:PROMPTS]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    seconds: dict[str, list[float]] = {"bare": [], "recorded": []}
    model.generate(**inputs, max_new_tokens=2, do_sample=False)  # warm up
    for k in range(rounds):
        for name in ("bare", "recorded") if k % 2 == 0 else ("recorded", "bare"):
            start = time.perf_counter()
            if name == "bare":
                bare = model.generate(**inputs, **options)
            else:
                with synkern.record(model) as recorded:
                    along = model.generate(**inputs, **options)
                shape = tuple(recorded.series.shape)
            seconds[name].append(time.perf_counter() - start)
        if not torch.equal(bare, along) or shape != (len(prompts), tokens, 270):
            raise RuntimeError("recording changed what the model wrote, or missed a step of it")
        say(
            f"recording, round {k + 1} of {rounds}: bare {seconds['bare'][-1]:.2f} s, "
            f"recorded {seconds['recorded'][-1]:.2f} s"
        )
    ratios = np.array(seconds["recorded"]) / np.array(seconds["bare"])
    rng = np.random.default_rng(0)
    drawn = np.median(rng.choice(ratios, (2000, rounds)), -1)
    return {
        "model": "smollm2-135m",
        "prompts": len(prompts),
        "tokens": tokens,
        "seconds": seconds,
        "overhead": float(np.median(ratios) - 1),
        "interval": [float(q) - 1 for q in np.quantile(drawn, (0.025, 0.975))],
    }


def study(say: Callable[[str], None], **options: Any) -> dict[str, Any]:
    """Seconds of each stage of a study from nothing, in order, and of the whole."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = run_study("smollm2-135m", out=folder, progress=False, **options)
        whole = time.perf_counter() - start
    seconds = {
        f"{stage}: {part}": value
        for stage, facts in done.description["stages"].items()
        for part, value in facts["seconds"].items()
    }
    seconds |= {"report": done.description["seconds"]["report"]}
    for stage, value in seconds.items():
        say(f"{stage}: {value:.1f} s")
    facts = done.description["stages"]["analysis (trained)"]
    kept = ("trials", "samples", "nodes", "decompositions", "backend_that_ran")
    return {
        "model": "smollm2-135m",
        **{name: facts[name] for name in kept},
        "seconds": seconds,
        "other": whole - sum(seconds.values()),
        "whole": whole,
    }
