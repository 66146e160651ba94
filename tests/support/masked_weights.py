"""Which numbers of tiny models belong to nodes, written down by hand; and training a few steps."""

import torch

from support.tiny_models import build, build_experts, prompts

IDS = prompts(4, 12)
HEADS = ["L0H1", "L2H0", "L2H2"]
# By model: whether its nodes are experts, and the nodes that train.
CASES = {
    "llama": (False, HEADS),
    "qwen3": (False, HEADS),
    "gemma3": (False, HEADS),
    "gpt_neox": (False, ["L0H1", "L2H0", "L2H1", "L2H3"]),
    "gpt2": (False, ["L0H1", "L1H0", "L1H4"]),
    "mixtral": (False, HEADS),
    "qwen2_moe": (True, ["L0E1", "L0E2", "L2E7"]),
    "gpt_oss": (True, ["L0E1", "L1E3"]),
}


def kind(name):
    return "experts" if CASES[name][0] else "heads"


def made(name, dtype=torch.float32):
    experts, _ = CASES[name]
    model = build_experts(name, dtype=dtype) if experts else build(name, dtype=dtype)
    return model.train()


def inside(model, name, nodes):
    """Masks of the numbers of nodes, by name of the weight."""
    masks = {key: torch.zeros(value.shape, dtype=bool) for key, value in model.state_dict().items()}
    for label in nodes:
        layer, index = map(int, label[1:].replace("E", "H").split("H"))
        for key, where in _places(name, layer, index):
            masks[key][where] = True
    return masks


def _places(name, layer, index):
    every = slice(None)
    if CASES[name][0]:
        experts = f"model.layers.{layer}.mlp.experts"
        return [(f"{experts}.gate_up_proj", index), (f"{experts}.down_proj", index)]
    if name == "gpt_neox":  # 4 heads of 12; query, key, value of each head behind one another
        attention = f"gpt_neox.layers.{layer}.attention"
        rows, columns = slice(36 * index, 36 * index + 12), slice(12 * index, 12 * index + 12)
        dense = f"{attention}.dense.weight", (every, columns)
        return [(f"{attention}.query_key_value.weight", rows), dense]
    if name == "gpt2":  # 5 heads of 7; weights are (inputs, outputs)
        attention, own = f"transformer.h.{layer}.attn", slice(7 * index, 7 * index + 7)
        return [(f"{attention}.c_attn.weight", (every, own)), (f"{attention}.c_proj.weight", own)]
    width = {"gemma3": 8, "qwen3": 24}.get(name, 16)
    attention, own = f"model.layers.{layer}.self_attn", slice(width * index, width * (index + 1))
    return [(f"{attention}.q_proj.weight", own), (f"{attention}.o_proj.weight", (every, own))]


def copied(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def changes(before, model):
    """Which numbers are other bits than before, by name of the weight."""
    assert before.keys() == model.state_dict().keys()
    return {key: _bits(value) != _bits(before[key]) for key, value in model.state_dict().items()}


def _bits(value):
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    return value.view(whole[value.dtype.itemsize]) if value.is_floating_point() else value


def loss_of(model, ids=IDS):
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss


def stepped(model, optimizer, parameters, steps=4):
    """Train with two batches a step and clipped gradients."""
    for step in range(steps):
        optimizer.zero_grad()
        for batch in range(2):
            (loss_of(model, prompts(4, 12, seed=10 * step + batch)) / 2).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
