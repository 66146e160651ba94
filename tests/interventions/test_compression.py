"""Nodes at different bits: what is rounded, at equal bits, and what becomes of a planted model."""

import copy
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from support.optional import needs_torch, torch

pytestmark = needs_torch

if torch:
    from support.tiny_models import build, build_experts, prompts
    from synkern.interventions import (
        Compression,
        Rounding,
        Scoring,
        TeacherForced,
        ablate,
        compression,
    )
    from synkern.interventions.compressing.compressed import UNIFORM
    from synkern.interventions.compressing.statistics import comparison
    from synkern.interventions.compressing.words import finding, verdict
    from synkern.interventions.weights.bits import Budget
    from synkern.models.nodes import find_sites, nodes_of
    from synkern.recording import Responses
    from synkern.tasks import Task

    IDS = prompts(4, 14).tolist()
    TEXTS = Responses([ids[:4] for ids in IDS], [ids[4:] for ids in IDS])

FOUR = ("synergy", "redundancy", "random", "layer_matched")
SMALL = {"pairs": ((4, 2), (16, 0)), "shares": (0.3,), "draws": 2, "orders": FOUR}


@pytest.fixture
def model():
    return build("llama")  # 9 heads of width 16: queries 16 x 48, outputs 48 x 16


def compressed(model, scores=None, **options):
    count = len(nodes_of(find_sites(model, options.get("of", "heads"))))
    scores = np.arange(count, dtype=float)[::-1] if scores is None else scores
    return compression(model, TEXTS, scores, **SMALL | options)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(model, before):
    return all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def kl_by_hand(model, other):
    """Mean over texts of the mean over tokens of KL between two models, in float64."""
    found = []
    for prompt, response in zip(TEXTS.prompts, TEXTS.responses, strict=True):
        ids = torch.tensor([prompt + response])
        with torch.no_grad():
            p, q = (
                m(ids).logits[0, len(prompt) - 1 : -1].double().log_softmax(-1)
                for m in (model, other)
            )
        found.append(float((p.exp() * (p - q)).sum(-1).mean()))
    return np.array(found)


def rounded_by_hand(model, bits_of_head, rounding):
    """A copy whose heads are rounded slice by slice; each head has 3 of a layer's rows."""
    other = copy.deepcopy(model)
    for layer, block in enumerate(other.model.layers):
        for head in range(3):
            part, bits = slice(16 * head, 16 * head + 16), bits_of_head[3 * layer + head]
            query, output = block.self_attn.q_proj.weight.data, block.self_attn.o_proj.weight.data
            query[part] = rounding.rounded(query[part].clone(), bits)
            output[:, part] = rounding.rounded(output[:, part].clone(), bits)
    return other


def test_a_point_is_what_the_rounded_model_does(model):
    result = compressed(model)
    budget = result.budgets[1]
    assert (budget.high, budget.low, budget.kept) == (4, 2, 3)
    (point,) = result.points_of("synergy", budget)
    other = rounded_by_hand(model, [4] * 3 + [2] * 6, Rounding(64))
    # Of log-probabilities in float32, 100 of them: some 1e-6 nats.
    np.testing.assert_allclose(point.kl, kl_by_hand(model, other), atol=5e-6)
    (reverse,) = result.points_of("redundancy", budget)
    other = rounded_by_hand(model, [2] * 6 + [4] * 3, Rounding(64))
    np.testing.assert_allclose(reverse.kl, kl_by_hand(model, other), atol=5e-6)
    effects = TeacherForced(other, TEXTS).effects()
    np.testing.assert_allclose(reverse.loss, effects.per_text("loss"), atol=1e-5)
    np.testing.assert_array_equal(reverse.agreement, effects.per_text("agreement"))
    assert (result.intact.kl == 0).all()


def test_all_orders_take_the_same_bits(model):
    result = compressed(model, shares=(0.3, 0.6))
    assert len(result.budgets) == 4
    for budget in result.budgets:
        points = [p for p in result.points if p.budget == budget and p.order != UNIFORM]
        assert len(points) == 2 + 2 * 2
        totals = {sum(result.tensor_bits(point).values()) for point in points}
        assert len(totals) == 1
        # Queries have a group a row of 48, outputs one a row of 16; 32 bits each.
        of_head = {16: 1536 * 16, 0: 0}
        of_head |= {bits: 1536 * bits + (16 + 48) * 32 for bits in (2, 4)}
        nodes = budget.kept * of_head[budget.high] + (9 - budget.kept) * of_head[budget.low]
        assert result.bits_per_weight(budget) == nodes / (9 * 1536)
        every = sum(p.numel() for p in model.parameters())
        assert totals == {nodes + 32 * (every - 9 * 1536)}
        # Tensor by tensor they differ: other layers are kept.
        assert len({tuple(result.tensor_bits(point).values()) for point in points}) > 1


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox", "gemma3", "deepseek_v2"])
def test_weights_are_the_same_bits_afterwards(name):
    model = build(name)
    before = weights(model)
    result = compressed(model, draws=1, shares=(0.3,), rest=3)
    assert same_weights(model, before)
    for budget in result.budgets:
        assert len({sum(result.tensor_bits(p).values()) for p in result.points_of("random")}) >= 1
        assert result.points_of("synergy", budget)[0].kl.mean() > 1e-4


def test_weights_are_the_same_bits_after_an_exception(model, monkeypatch):
    before = weights(model)

    def judge(*_):
        if not same_weights(model, before):
            raise KeyboardInterrupt
        return SimpleNamespace(right=np.array([True]), truncated=None)

    monkeypatch.setattr("synkern.tasks.exact_match", judge)
    asked = {"tasks": [Task("1+1=", "2")], "tokenizer": object(), "scoring": "exact_match"}
    with pytest.raises(KeyboardInterrupt):
        compressed(model, **asked)
    assert same_weights(model, before)


def test_half_precision_of_a_half_precision_model_changes_nothing():
    model = build("llama", dtype=torch.bfloat16)
    result = compressed(model, pairs=((16, 8),), shares=(0.3,), draws=1)
    (point,) = (p for p in result.points_of(UNIFORM) if p.budget.high == 16)
    assert (point.kl == 0).all()
    np.testing.assert_array_equal(point.loss, result.intact.loss)
    assert result.losses[16].changed == 0
    assert sum(result.tensor_bits(point).values()) == 16 * sum(
        p.numel() for p in model.parameters()
    )


def test_no_bits_is_what_taking_the_heads_out_is(model):
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    result = compressed(model, pairs=((16, 0),), shares=(0.3,), draws=1)
    (point,) = result.points_of("synergy")
    out = [f"L{layer}H{head}" for layer in (1, 2) for head in range(3)]
    reader = TeacherForced(model, TEXTS)
    with ablate(model, out):
        expected = reader.effects().per_text("kl")
    np.testing.assert_allclose(point.kl, expected, atol=1e-6)


def test_the_rest_of_the_linear_layers_is_rounded_too(model):
    result = compressed(model, pairs=((16, 4),), shares=(0.3,), draws=1, rest=3)
    (point,) = (p for p in result.points_of(UNIFORM) if p.budget.high == 16)
    other = rounded_by_hand(model, [16] * 9, Rounding(64))
    named = {f"{n}.weight": m for n, m in other.named_modules() if isinstance(m, torch.nn.Linear)}
    apart = re.compile("lm_head|q_proj|o_proj")
    rest = {name: module for name, module in named.items() if not apart.search(name)}
    assert len(rest) == 3 * 5  # keys, values, gate, up, down
    bits, as_loaded = result.tensor_bits(point), replace(result, rest=None).tensor_bits(point)
    for name, module in rest.items():
        module.weight.data = Rounding(64).rounded(module.weight.data, 3)
        assert bits[name] == Rounding(64).cost(module.weight.shape, 3)
        assert as_loaded[name] == 32 * module.weight.numel()
    np.testing.assert_allclose(point.kl, kl_by_hand(model, other), atol=5e-6)
    kept = {name: value for name, value in bits.items() if name not in rest}
    assert kept == {name: as_loaded[name] for name in kept}
    assert kept["lm_head.weight"] == 32 * other.lm_head.weight.numel()


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_experts_are_rounded_along_their_inputs(name):
    """gpt_oss keeps its matrices the other way round, and biases, which stay."""
    model = build_experts(name)
    before = weights(model)
    result = compressed(
        model, of="experts", pairs=((8, 2),), shares=(0.5,), draws=1, orders=("synergy",)
    )
    assert same_weights(model, before)
    (point,) = result.points_of("synergy")
    other = copy.deepcopy(model)
    for layer in range(3):
        experts = other.get_submodule(f"model.layers.{layer}.mlp.experts")
        for expert in range(8):
            for weight in (experts.gate_up_proj.data, experts.down_proj.data):
                own = weight[expert].T if name == "gpt_oss" else weight[expert]
                bits = 8 if 8 * layer + expert < 12 else 2
                own.copy_(Rounding(64).rounded(own.clone().contiguous(), bits))
    np.testing.assert_allclose(point.kl, kl_by_hand(model, other), atol=5e-6)


def test_experts_of_no_bits_are_gone_with_their_biases():
    model = build_experts("gpt_oss")
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    result = compressed(model, of="experts", pairs=((16, 0),), shares=(0.5,), draws=1)
    (point,) = result.points_of("synergy")
    out = [f"L{layer}E{expert}" for layer in range(3) for expert in range(8)][12:]
    reader = TeacherForced(model, TEXTS)
    with ablate(model, out, of="experts"):
        expected = reader.effects().per_text("kl")
    np.testing.assert_allclose(point.kl, expected, atol=1e-6)
    (own, *_) = (n for n in result.ledger.tensors if n.endswith("down_proj_bias"))
    assert result.tensor_bits(point)[own] == 8 * 48 * 32  # of the first layer, where all are kept


def planted(model, head):
    """The model with one head (layer, index) that does a hundred times as much as the others."""
    for layer, block in enumerate(model.model.layers):
        for index in range(3):
            if (layer, index) != head:
                block.self_attn.o_proj.weight.data[:, 16 * index : 16 * index + 16] *= 0.01
    return model


def test_where_one_head_matters_most_it_is_best_kept(model):
    planted(model, (1, 2))
    scores = np.zeros(9)
    scores[5] = 1
    result = compressed(model, scores, pairs=((8, 2), (8, 3)), shares=(0.12,), draws=12)
    reverse, drawn = result.compared("redundancy"), result.compared("random")
    assert reverse.ratio < 0.1
    assert reverse.interval[1] < 0.1
    assert (reverse.budgets, reverse.lower, reverse.p) == (2, 2, None)
    having = sum(order.nodes[0] == 5 for order in result.orders if order.name == "random")
    assert drawn.beaten == 12 - having
    assert drawn.p == (1 + having) / 13
    assert drawn.p_worse == 1
    assert "This keeps more of the model than keeping the least synergistic ones so" in str(
        result.finding
    )
    # The ranking upside down says the opposite.
    upside_down = compressed(model, -scores, pairs=((8, 2), (8, 3)), shares=(0.12,), draws=12)
    assert upside_down.compared("redundancy").ratio > 10
    said = upside_down.finding
    assert "This keeps less of the model than keeping the least synergistic ones so" in said
    assert "keeps more of the model" not in said


def test_a_model_that_was_rounded_before_is_told(model):
    for block in model.model.layers:
        for linear in (block.self_attn.q_proj, block.self_attn.o_proj):
            width = linear.weight.shape[1]
            linear.weight.data = Rounding(16).rounded(linear.weight.data, 4)
            assert width % 16 == 0
    found = compressed(model, group=16)
    assert found.on_a_grid == (4,)
    assert str(found.earlier) == "4 bits in groups of 16"
    assert "had been rounded before (4 bits in groups of 16)" in found.finding
    assert "at 4 bits it finds most of them on its grid" in found.finding
    # In float32 a few steps are other float16 numbers when found again.
    assert found.losses[4].changed < 1e-4 * found.losses[4].even
    other = compressed(model, group=48)
    assert other.on_a_grid == ()
    assert "of numbers that are few already." in other.finding
    assert compressed(build("llama")).earlier is None


def test_it_goes_on_where_it_was_interrupted(model, tmp_path):
    file, whole, calls = tmp_path / "points", compressed(model), []

    def until(done, total):
        calls.append((done, total))
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compressed(model, file=file, progress=until)
    done, total = calls[-1]
    assert calls[0] == (0, total)
    assert done == 4
    later = []
    again = compressed(model, file=file, progress=lambda *args: later.append(args))
    assert later[0] == (4, total)
    assert later[-1] == (total, total)
    for name, array in whole.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)
    with pytest.raises(ValueError, match="rounding"):
        compressed(model, file=file, group=32)
    with pytest.raises(ValueError, match="weights"):
        compressed(planted(model, (0, 0)), file=file)
    # What is no node's weight makes it another model as well.
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] += 1
    with pytest.raises(ValueError, match="another call .*weights"):
        compressed(model, file=file)


def test_one_text_has_no_interval(model):
    found = comparison("random", np.array([[0.1]]), np.array([[[0.2]], [[0.3]]]), 100, 0)
    assert found.interval is None
    assert found.ratio == pytest.approx(0.1 / (0.2 * 0.3) ** 0.5)
    assert verdict(found) == "does not clearly keep more of the model than"
    result = compression(model, TEXTS.some([0]), np.arange(9.0), **SMALL)
    assert "no interval of one text alone" in result.finding


def test_what_is_worse_than_draws_says_how_much_worse():
    random = np.random.default_rng(0).uniform(0.1, 0.2, (30, 1, 5))
    found = comparison("random", np.full((1, 5), 0.5), random, 100, 0)
    assert (found.p, found.p_worse, found.behind) == (1, 1 / 31, 30)
    said = finding(
        nodes="heads",
        count=9,
        ranking="any",
        budgets=[Budget(4, 2, 3)],
        compared=[found],
        beaten_by_uniform=0,
        earlier="",
        on_a_grid=(),
    )
    assert "This keeps less of the model than keeping random ones so" in said
    assert "higher than 30 of 30 draws, p = 0.032" in said
    assert "lower than" not in said


def test_equal_sets_are_measured_once(model):
    calls = []
    result = compressed(model, shares=(0.34,), draws=5, progress=lambda *args: calls.append(args))
    # The first 3 of 9 are all heads of the first layer: matched by layer, they are the same.
    assert {tuple(p.kl) for p in result.points_of("layer_matched", result.budgets[0])} == {
        tuple(result.points_of("synergy", result.budgets[0])[0].kl)
    }
    distinct = {(p.budget, tuple(p.kl)) for p in result.points}
    assert calls[-1][1] == 1 + len(distinct)


def test_the_most_active_nodes_are_measured(model):
    for block in model.model.layers[:2]:
        block.self_attn.v_proj.weight.data *= 0.01
    orders = ("synergy", "norm")
    found = compressed(model, orders=orders).orders[1]
    # All three heads of a layer share values, which are a hundred times as large in the last.
    assert sorted(found.nodes[:3].tolist()) == [6, 7, 8]
    activity = np.arange(9.0) % 4
    given = compressed(model, orders=orders, activity=activity).orders[1]
    assert activity[given.nodes].tolist() == sorted(activity.tolist(), reverse=True)


def test_tasks_are_judged_at_every_point(model, monkeypatch, tmp_path):
    tasks, asked = [Task("1+1=", "2"), Task("1+2=", "3"), Task("2+2=", "4")], []

    def judge(given, tokenizer, of, tokens, *_):
        asked.append((given is model, tokenizer, list(of) == tasks, tokens))
        right = np.array([True, False, len(asked) == 1])
        return SimpleNamespace(right=right, truncated=~right)

    monkeypatch.setattr("synkern.tasks.exact_match", judge)
    options = {"tasks": tasks, "tokenizer": "its own", "file": tmp_path / "points"}
    way = Scoring("exact_match", max_new_tokens=512)
    result = compressed(model, scoring=way, **options)
    assert set(asked) == {(True, "its own", True, 512)}
    # Texts that were cut short are counted, and kept.
    assert result.intact.truncated.tolist() == [False, True, False]
    assert {row["truncated"] for row in result.rows()} == {2.0}
    again = Compression.of_arrays(result.arrays())
    assert again.rows() == result.rows()
    # The way to judge is part of what a file is of.
    with pytest.raises(ValueError, match="another call .*max_new_tokens: 512 there, 64 here"):
        compressed(model, scoring="exact_match", **options)
    assert result.intact.accuracy == 2 / 3
    assert {p.accuracy for p in result.points} == {1 / 3}
    assert {row["accuracy"] for row in result.rows()} == {1 / 3}
    with pytest.raises(ValueError, match="tokenizer: tasks are given"):
        compressed(model, tasks=tasks)


def test_nodes_without_score_are_never_kept(model):
    scores = np.arange(9.0)
    scores[[2, 8]] = np.nan
    result = compressed(model, scores, pairs=((8, 2),), shares=(0.3,))
    assert result.budgets[0].kept == 2
    kept = {int(node) for order in result.orders for node in order.nodes}
    assert kept == {0, 1, 3, 4, 5, 6, 7}
    assert [int(n) for n in result.orders[0].nodes[:2]] == [7, 6]
    with pytest.raises(ValueError, match="fewer than two nodes"):
        compressed(model, np.full(9, np.nan))
    with pytest.raises(ValueError, match=r"scores: shape \(8,\) .* for 9 nodes"):
        compressed(model, np.arange(8.0))


def test_one_number_of_bits_for_all_can_be_better(model):
    """Heads that are removed for others in half precision, which 2 bits for all make good."""
    result = compressed(model, shares=(0.34, 0.67))
    uniform = {p.budget.high: p.kl.mean() for p in result.points_of(UNIFORM)}
    bits = {2: 2 + 64 * 32 / 1536, 4: 4 + 64 * 32 / 1536}
    expected = 0
    for point in result.points_of("synergy"):
        own = result.bits_per_weight(point.budget)
        better = [b for b in bits if bits[b] <= own and uniform[b] < point.kl.mean()]
        expected += bool(better)
    assert result.beaten_by_uniform == expected == 2  # the two of which heads are removed
    assert "In 2 of 4 budgets, one number of bits for all heads" in result.finding


def test_the_table_and_the_file(model, tmp_path):
    result = compressed(model)
    result.save(tmp_path / "found.npz")
    again = Compression.load(tmp_path / "found.npz")
    assert str(again) == str(result)
    assert again.finding == result.finding
    assert again.rows() == result.rows()
    assert again.tensor_bits(again.points[9]) == result.tensor_bits(result.points[9])
    rows = {(row["order"], row["high"], row["low"], row["kept"]): row for row in result.rows()}
    assert len(rows) == 4 + 2 * 4
    points = result.points_of("random", result.budgets[0])
    row = rows["random", 16, 0, 3]
    means = [point.kl.mean() for point in points]
    assert (row["draws"], row["kl"]) == (2, pytest.approx(np.mean(means), rel=1e-12))
    assert row["kl_deviation"] == pytest.approx(np.std(means, ddof=1), rel=1e-12)
    assert rows["synergy", 16, 0, 3]["kl_deviation"] is None
    assert row["model_bits"] == sum(result.tensor_bits(points[0]).values())
    assert len(str(result).splitlines()) == 1 + len(rows)
    assert repr(result) == "Compression(16 points: 6 orders of 9 nodes, 2 budgets)"
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="holds no compression"):
        Compression.load(tmp_path / "other.npz")


def test_the_figure_has_a_panel_for_each_pair(model):
    pytest.importorskip("matplotlib")
    result = compressed(model)
    for measure in ("kl", "loss", "agreement"):
        figure = result.plot(measure, title="small")
        titles = [axes.get_title() for axes in figure.axes]
        assert titles == ["half precision, the rest removed", "4 bits, the rest 2 bits"]
        lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
        (uniform,) = (p for p in result.points_of(UNIFORM) if p.budget.high == 2)
        drawn = lines["synergy"].get_ydata()
        assert drawn[0] == getattr(uniform, measure).mean()
        (point,) = result.points_of("synergy", result.budgets[1])
        assert drawn[1] == getattr(point, measure).mean()
        assert "random (2 draws)" in lines
    with pytest.raises(ValueError, match="accuracy"):
        result.plot("accuracy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": ((9, 2),)}, "bits = 9"),
        ({"symmetric": True, "pairs": ((4, 1),)}, "2 to 8 for a grid"),
        ({"rest": 12}, "bits = 12"),
        ({"group": 0}, "group = 0"),
        ({"activity": np.ones(8), "orders": ("norm",)}, "activity"),
        ({"orders": ("best",)}, "'best' is no order"),
        ({"of": "toes"}, "'toes' is no kind of node"),
    ],
)
def test_what_makes_no_sense_is_refused(model, options, message):
    of_heads = {key: value for key, value in options.items() if key != "of"}
    with pytest.raises(ValueError, match=message):
        compression(model, TEXTS, np.arange(9.0), of=options.get("of", "heads"), **SMALL | of_heads)


def test_weights_that_are_not_finite_are_refused_by_name(model):
    model.model.layers[1].self_attn.q_proj.weight.data[20, 3] = float("inf")
    # The pass that finds the heads sees it first where it can.
    with pytest.raises(ValueError, match="not finite|infinit"):
        compressed(model)
