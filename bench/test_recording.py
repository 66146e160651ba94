"""Time of generation with SmolLM2-135M, bare and recorded.

    make bench BENCH_ARGS="-k recording"

Six prompts of 50 tokens (half a usual study's, to stay below two minutes). Bare and recorded calls
alternate, and the fastest of each are compared, so that a change of the machine's speed meets both
alike. The recorded texts must be the bare ones; about time nothing is asserted.
"""

from __future__ import annotations

import time

import torch

import synkern
from synkern.models import load

PROMPTS = (
    "Why is the sky blue?",
    "Tell me a story about a fox.",
    "How do magnets work?",
    "List three uses of a brick.",
    "What is the sum of 17 and 25?",
    "Describe the taste of an apple.",
)
TOKENS = 50
ROUNDS = 5
OPTIONS = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}


def test_recording_overhead(benchmark):
    model, tokenizer = load("smollm2-135m", device="cpu")
    inputs = tokenizer(list(PROMPTS), padding=True, return_tensors="pt")
    bare_seconds = []

    def bare():
        start = time.perf_counter()
        sequences = model.generate(**inputs, **OPTIONS)
        bare_seconds.append(time.perf_counter() - start)
        return (sequences,), {}

    def recorded(sequences):
        with synkern.record(model) as recording:
            along = model.generate(**inputs, **OPTIONS)
        return sequences, along, recording

    model.generate(**inputs, max_new_tokens=2, do_sample=False)  # warm up
    sequences, along, recording = benchmark.pedantic(recorded, setup=bare, rounds=ROUNDS)
    assert torch.equal(along, sequences)
    assert recording.series.shape == (len(PROMPTS), TOKENS, 270)
    bare_fastest, fastest = min(bare_seconds), benchmark.stats["min"]
    benchmark.extra_info["bare, fastest, s"] = bare_fastest
    benchmark.extra_info["overhead, %"] = (fastest / bare_fastest - 1) * 100
