"""What a point of an ablation curve costs over a bare forward pass over the same texts.

Texts of SmolLM2-135M, prompt and greedy response, are read in turns: by calls of the model alone,
with logits of all positions and with those of the responses only, and as a point of a curve, with
nothing and with a fifth of the heads taken out. All read the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers

from bench.suites.recording import overhead
from synkern.interventions import Ablation, TeacherForced
from synkern.models.greedy import greedy
from synkern.models.language_model import load
from synkern.recording import Responses
from synkern.study.prompts import load_prompts
from synkern.tasks.tokens import batches, padded

TEXTS = 24
TOKENS = 100
BATCH = 16
ALL_LOGITS, SOME_LOGITS = "bare", "bare, logits of the responses"
NOTHING_OUT, SOME_OUT = "point, nothing out", "point, a fifth of the heads out"


def measure(
    rounds: int, say: Callable[[str], None], texts: int = TEXTS, tokens: int = TOKENS
) -> dict[str, Any]:
    """Seconds of the process by round, and what a point costs over each bare pass."""
    transformers.utils.logging.disable_progress_bar()
    model, tokenizer = load("smollm2-135m", device="cpu")
    read = _texts(model, tokenizer, texts, tokens)
    ablation = Ablation(model)
    reader = TeacherForced(model, read, batch_size=BATCH)
    out = np.random.default_rng(0).permutation(len(ablation.nodes))[: len(ablation.nodes) // 5]
    work: dict[str, Callable[[], Any]] = {
        ALL_LOGITS: lambda: _bare(model, read, every=True),
        SOME_LOGITS: lambda: _bare(model, read, every=False),
        NOTHING_OUT: lambda: reader.effects(lambda rows: ablation.applied([], rows=rows)),
        SOME_OUT: lambda: reader.effects(lambda rows: ablation.applied(out, rows=rows)),
    }
    names = [*work]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds):
        # Each comes first as often as any other, and behind each other one.
        turn = k % len(names)
        for name in (names[turn:] + names[:turn])[:: 1 if k % 2 == 0 else -1]:
            start = time.process_time()
            found = work[name]()
            seconds[name].append(time.process_time() - start)
            if name == NOTHING_OUT and np.nanmax(np.abs(found.kl)) != 0:
                raise RuntimeError("with nothing taken out, KL is not 0")
        last = ", ".join(f"{name} {seconds[name][-1]:.2f} s" for name in names)
        say(f"ablation, round {k + 1} of {rounds}: {last}")
    return {
        "model": "smollm2-135m",
        "texts": texts,
        "tokens": tokens,
        "batch_size": BATCH,
        "heads_out": len(out),
        "seconds": seconds,
        "over": {
            bare: {name: overhead(seconds[name], seconds[bare]) for name in (NOTHING_OUT, SOME_OUT)}
            for bare in (ALL_LOGITS, SOME_LOGITS)
        },
    }


def _texts(model: Any, tokenizer: Any, texts: int, tokens: int) -> Responses:
    """Prompts of the study, spread over its categories, and what the model answers."""
    prompts = [prompt.text for prompt in load_prompts()]
    chosen = [prompts[place] for place in np.linspace(0, len(prompts) - 1, texts).astype(int)]
    inputs = tokenizer(chosen, padding=True, return_tensors="pt")
    with greedy(model, tokens, tokenizer.pad_token_id), torch.inference_mode():
        written = model.generate(**inputs, min_new_tokens=tokens)
    own = [
        ids[mask == 1] for ids, mask in zip(inputs.input_ids, inputs.attention_mask, strict=True)
    ]
    return Responses(own, written[:, inputs.input_ids.shape[1] :])


def _bare(model: Any, texts: Responses, every: bool) -> None:
    """One forward pass over the texts, in the batches of a point."""
    rows = [p + r for p, r in zip(texts.prompts, texts.responses, strict=True)]
    for places in batches(rows, BATCH):
        ids, mask = padded([rows[place][:-1] for place in places], "right", model.device)
        first = min(len(texts.prompts[place]) for place in places) - 1
        keep: Any = 0 if every else torch.arange(first, ids.shape[1])
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep)
