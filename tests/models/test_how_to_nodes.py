"""The how-to pages about nodes: their Python blocks run as printed."""

import re
from pathlib import Path

import pytest
import torch

from support.tiny_models import build, generate, prompts
from synkern.models import nodes as kinds

DOCS = Path(__file__).parents[2] / "docs"


def run(page, names):
    text = (DOCS / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    exec(compile(block, page, "exec"), names)
    return names


@pytest.fixture
def given():
    model = build("llama")
    sequences = generate(model, prompts(2, 5), 4)
    return {"model": model, "sequences": sequences, "mask": torch.ones_like(sequences)}


def test_a_kind_of_node(given, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    found = run("how_to_a_kind_of_node.md", given)
    model, again = found["model"], found["again"]
    assert [str(node) for node in again.nodes] == ["L0G0", "L1G0", "L2G0"]
    outputs = []
    model.model.layers[1].self_attn.v_proj.register_forward_hook(lambda *a: outputs.append(a[2]))
    with torch.no_grad():
        model(found["sequences"])
    torch.testing.assert_close(again.series[..., 1], outputs[0][:, 4:8].norm(dim=-1))


@pytest.mark.usefixtures("_no_gradient")
def test_an_intervention(given):
    found = run("how_to_an_intervention.md", given)
    model = found["model"]
    assert found["kl"].shape == (2, 9)
    assert (found["kl"].sum(-1) > 0).all()
    with found["ablated"](model, []):
        assert torch.equal(found["logits"](), found["intact"])
    for layer, head in ((1, 0), (1, 2), (2, 1)):
        weight = model.model.layers[layer].self_attn.o_proj.weight
        weight[:, 16 * head : 16 * (head + 1)] = 0
    assert torch.equal(found["logits"](), found["changed"])


@pytest.fixture
def _no_gradient():
    with torch.no_grad():
        yield
