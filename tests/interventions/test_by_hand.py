"""Zeroing each head of a two-layer attention model, against arithmetic of its own in NumPy."""

import numpy as np
import pytest
import torch
import transformers as tf

from support.tiny_models import initialise
from synkern.interventions import Ablation

VOCABULARY, WIDTH, HEADS, LAYERS = 11, 12, 3, 2
TEXT = [3, 7, 1, 9, 4, 4, 2]
PROMPT = 3


@pytest.fixture(scope="module")
def model():
    """GPT-2 without MLPs: attention alone, in float64."""
    config = tf.GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=8,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = initialise(tf.GPT2LMHeadModel, config, attention="eager", dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
        for block in model.transformer.h:
            for parameter in block.mlp.c_proj.parameters():
                parameter.zero_()
    return model


def normed(x, scale, shift, eps=1e-5):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * scale + shift


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def log_probabilities(weights, tokens, without=()):
    """log p(next token) at every position, (tokens, vocabulary); heads `without` write nothing."""
    x = weights["transformer.wte.weight"][tokens]
    x = x + weights["transformer.wpe.weight"][: len(tokens)]
    size = WIDTH // HEADS
    for layer in range(LAYERS):
        own = {
            name.removeprefix(f"transformer.h.{layer}."): value
            for name, value in weights.items()
            if name.startswith(f"transformer.h.{layer}.")
        }
        y = normed(x, own["ln_1.weight"], own["ln_1.bias"])
        qkv = y @ own["attn.c_attn.weight"] + own["attn.c_attn.bias"]
        x = x + own["attn.c_proj.bias"]
        for head in range(HEADS):
            if (layer, head) in without:
                continue
            q, k, v = (qkv[:, i * WIDTH + head * size :][:, :size] for i in range(3))
            scores = q @ k.T / np.sqrt(size)
            scores[np.triu_indices(len(tokens), 1)] = -np.inf
            attention = np.exp(log_softmax(scores))
            x = x + attention @ v @ own["attn.c_proj.weight"][head * size : (head + 1) * size]
    y = normed(x, weights["transformer.ln_f.weight"], weights["transformer.ln_f.bias"])
    return log_softmax(y @ weights["lm_head.weight"].T)


def divergence(log_p, log_q):
    """KL(p || q) at the positions that predict the response's tokens, in nats."""
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)[PROMPT - 1 : -1]


SETS = [[(layer, head)] for layer in range(LAYERS) for head in range(HEADS)]
SETS += [[(0, 0), (1, 2)], [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]]


@pytest.mark.parametrize("heads", SETS, ids=str)
def test_divergence_without_heads(model, heads):
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    expected = divergence(log_probabilities(weights, TEXT), log_probabilities(weights, TEXT, heads))
    ids = torch.tensor([TEXT])
    with torch.no_grad():
        intact = model(ids).logits.log_softmax(-1)[0].numpy()
        with Ablation(model).applied([f"L{layer}H{head}" for layer, head in heads]):
            edited = model(ids).logits.log_softmax(-1)[0].numpy()
    # Both in float64, through some hundred sums.
    np.testing.assert_allclose(divergence(intact, edited), expected, rtol=1e-9, atol=1e-12)
    assert (expected > 1e-4).all()
