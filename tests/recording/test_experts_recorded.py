"""Experts recorded while a model writes, and read from what it wrote."""

import pytest
import torch

from support.tiny_models import (
    EXPERTS,
    build,
    build_experts,
    cache_of,
    experts_by_definition,
    generate,
    go_on,
    prompts,
)
from synkern import record, replay
from synkern.models.experts import EXPERT_SIGNALS, find_experts
from synkern.models.language_model import UnsupportedModelError
from synkern.recording.recording import RecordingError

IDS = prompts(3, 6)
MASK = torch.ones_like(IDS)
MASK[0, :4], MASK[1, :1] = 0, 0
STEPS = 8
NAMES = list(EXPERTS)
FEW = ("mixtral", "qwen2_moe", "deepseek_v3", "gpt_oss", "gemma4")
IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")

# What enters a layer differs by rounding between a pass over the whole text and one token at a
# time. Each of 3 layers has some 6 products of up to n = 112 terms, each off by up to n ** 1.5
# units of 2 ** -24 (see tests/models/test_experts.py), and norms of random vectors pass errors on
# as they are. A near-tie of two experts could turn over; the tests say that none does here.
CLOSE = {"rtol": 18 * 112**1.5 * 2**-24, "atol": 1e-4}


def recorded(model, ids=IDS, mask=MASK, steps=STEPS, **asked):
    with record(model, **asked) as recording:
        sequences = generate(model, ids, steps, attention_mask=mask)
    return recording, sequences


def with_states(model, ids, mask):
    """Logits and hidden states of a generation, and the text."""
    out = generate(
        model,
        ids,
        STEPS,
        attention_mask=mask,
        return_dict_in_generate=True,
        output_logits=True,
        output_hidden_states=True,
    )
    states = [state for step in out.hidden_states for state in step]
    return [out.sequences, *out.logits, *states]


@pytest.mark.parametrize(
    ("name", "implementation"),
    [(name, "eager") for name in NAMES] + [(n, i) for n in FEW for i in IMPLEMENTATIONS[1:]],
)
def test_the_model_computes_the_same_bits(name, implementation):
    model = build_experts(name, implementation)
    expected = with_states(model, IDS, MASK)
    for signal in ("weighted", "gate") if name != "phimoe" else ("weighted",):
        with record(model, nodes="experts", signal=signal):
            again = with_states(model, IDS, MASK)
        assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))


@pytest.mark.parametrize("signal", EXPERT_SIGNALS)
@pytest.mark.parametrize("name", FEW)
def test_record_and_replay_agree_on_padded_texts(name, signal):
    model = build_experts(name)
    recording, sequences = recorded(model, nodes="experts", signal=signal)
    again = replay(
        model, sequences, new_tokens=STEPS, attention_mask=MASK, nodes="experts", signal=signal
    )
    layers = EXPERTS[name][1]
    assert [str(node) for node in recording.nodes] == [
        f"L{i}E{e}" for i in layers for e in range(8)
    ]
    assert recording.series.shape == (3, STEPS, 8 * len(layers))
    assert recording.zero_filled == (signal in ("weighted", "output"))
    assert torch.equal(again.routed, recording.routed)
    torch.testing.assert_close(again.series, recording.series, **CLOSE)
    # Each of them alone, without padding.
    for row in range(3):
        ids = IDS[row : row + 1, MASK[row] == 1]
        alone, text = recorded(model, ids, torch.ones_like(ids), nodes="experts", signal=signal)
        assert torch.equal(text[0, -STEPS:], sequences[row, -STEPS:])
        assert torch.equal(alone.routed[0], recording.routed[row])
        torch.testing.assert_close(alone.series[0], recording.series[row], **CLOSE)


@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_series_are_those_of_a_hook_of_ones_own(name):
    model = build_experts(name)
    calls = {site.layer: [] for site in find_experts(model)}
    for layer, held in calls.items():
        model.model.layers[layer].mlp.experts.register_forward_pre_hook(
            lambda module, args, held=held: held.append((module, *(a.clone() for a in args)))
        )
    recording, _ = recorded(model, nodes="experts")
    expected, routed = [], []
    for held in calls.values():
        steps = []
        counts = torch.zeros(3, 8, dtype=torch.int64)
        for call in held[-STEPS:]:  # before these, the probe
            last = [values.view(3, -1, values.shape[-1])[:, -1] for values in call[1:]]
            lengths = experts_by_definition(model, name, (call[0], *last)).norm(dim=-1)
            gates = torch.zeros(3, 8, dtype=torch.double).scatter(1, last[1], last[2].double())
            steps.append(lengths * gates)
            counts += torch.zeros_like(counts).scatter(1, last[1], 1)
        expected.append(torch.stack(steps, 1))
        routed.append(counts)
    torch.testing.assert_close(recording.series.double(), torch.cat(expected, -1), **CLOSE)
    assert torch.equal(recording.routed, torch.cat(routed, -1))
    assert (recording.routed.sum(-1) == 3 * STEPS * len(calls)).all()
    # As many zeros as experts were idle, exactly.
    assert int((recording.series == 0).sum()) == 5 * STEPS * 3 * len(calls)


def test_all_kinds_in_one_pass():
    model = build_experts("qwen2_moe")
    kinds = ("heads", "experts", "shared_experts", "mlps", "layers")
    both, _ = recorded(model, nodes=kinds, signal={"experts": "gate"})
    assert both.kinds == kinds
    assert both.signals == dict.fromkeys(kinds, "norm") | {"experts": "gate"}
    assert [str(n) for n in both.of("shared_experts").nodes] == ["L0S", "L1S", "L2S"]
    for kind in kinds:
        signal = both.signals[kind]
        alone, sequences = recorded(model, nodes=kind, signal=signal)
        torch.testing.assert_close(both.of(kind).series, alone.series, rtol=0, atol=0)
        again = replay(
            model, sequences, new_tokens=STEPS, attention_mask=MASK, nodes=kind, signal=signal
        )
        torch.testing.assert_close(again.series, alone.series, **CLOSE)
    assert (both.of("heads").routed == STEPS).all()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_inference_mode_and_bfloat16(implementation):
    model = build_experts("mixtral", implementation, dtype=torch.bfloat16)
    plain = generate(model, IDS, STEPS, attention_mask=MASK)
    with torch.inference_mode():
        recording, sequences = recorded(model, nodes="experts")
    assert torch.equal(sequences, plain)
    usual, _ = recorded(model, nodes="experts")
    assert torch.equal(recording.series, usual.series)
    # Not the few dozen values that bfloat16 has in this range.
    chosen = usual.series[usual.series > 0]
    assert (chosen.bfloat16().float() != chosen).float().mean() > 0.9


@pytest.mark.parametrize("signal", ["weighted", "gate"])
@pytest.mark.parametrize("how", ["module", "layers"])
def test_compiled_models(how, signal):
    model = build_experts("mixtral", "batched_mm")
    model.model.layers = model.model.layers[:1]
    usual, sequences = recorded(model, nodes="experts", signal=signal, mask=torch.ones_like(IDS))
    compiled = model
    if how == "module":
        compiled = torch.compile(model, backend="eager")
    else:
        model.model.layers[0].compile(backend="eager")

    def loop():
        with torch.no_grad():
            cache = cache_of(compiled(sequences[:, :6]))
            for t in range(6, sequences.shape[1] - 1):
                cache = go_on(compiled, sequences[:, t : t + 1], cache)

    loop()
    with record(compiled, nodes="experts", signal=signal) as recording:
        loop()
    torch.testing.assert_close(recording.series, usual.series, **CLOSE)
    assert torch.equal(recording.routed, usual.routed)
    mask = torch.ones_like(sequences)
    again = replay(
        compiled, sequences, new_tokens=STEPS, attention_mask=mask, nodes="experts", signal=signal
    )
    torch.testing.assert_close(again.series, usual.series, **CLOSE)


def test_what_is_written_is_recorded():
    model = build_experts("olmoe")
    site = find_experts(model)[1]
    with site.edit(lambda values: site.write(values, [3, 5], 0.0)):
        recording, sequences = recorded(model, nodes="experts")
        again = replay(model, sequences, new_tokens=STEPS, attention_mask=MASK, nodes="experts")
    assert (recording.series[..., [8 + 3, 8 + 5]] == 0).all()
    assert (recording.routed[..., [8 + 3, 8 + 5]] == 0).all()
    torch.testing.assert_close(again.series, recording.series, **CLOSE)


def test_weights_that_change_before_they_are_read_are_noticed():
    model = build_experts("mixtral")
    weights = model.model.layers[1].mlp.experts.down_proj

    def changed():
        with torch.no_grad(), record(model, nodes="experts"):
            go_on(model, IDS[:, :1], cache_of(model(IDS)))
            weights.mul_(2)

    with pytest.raises(
        RuntimeError, match=r"weights of model\.layers\.1\.mlp\.experts were changed"
    ):
        changed()
    with torch.no_grad(), record(model, nodes="experts") as recording:
        generate(model, IDS, 2, attention_mask=MASK)
        weights.mul_(2)  # between two calls of generate
        generate(model, IDS, 2, attention_mask=MASK)
    assert len(recording.series) == 6


def test_nothing_is_left_behind():
    model = build_experts("deepseek_v2")
    before = [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()]
    recorded(model, nodes=("experts", "shared_experts"), signal={"experts": "gate"})
    assert [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()] == before


def test_dense_models_are_refused():
    with (
        pytest.raises(UnsupportedModelError, match="no layer has experts"),
        record(build("llama"), nodes="experts"),
    ):
        raise AssertionError("not reached")


@pytest.mark.parametrize("signal", ["weighted", "dense"])
def test_a_value_that_is_not_finite_names_the_expert(signal):
    model = build_experts("mixtral")
    chosen = int(recorded(model, nodes="experts")[0].routed[:, 16:].sum(0).argmax())
    weights = model.model.layers[2].mlp.experts.down_proj

    def overflowing():
        with torch.no_grad(), record(model, nodes="experts", signal=signal):
            weights[chosen] = torch.inf
            generate(model, IDS, STEPS, attention_mask=MASK)

    with pytest.raises(RecordingError, match=f"expert L2E{chosen} has the value"):
        overflowing()
    with pytest.raises(UnsupportedModelError, match="these experts return holds NaN or infinity"):
        recorded(model, nodes="experts", signal=signal)
