"""`ablation_curve`: what is taken out where, points that are shared, files that go on."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from support.tiny_models import VOCAB, build, build_experts
from synkern.interventions import (
    Ablation,
    AblationCurve,
    Scale,
    TeacherForced,
    ablation_curve,
    measuring,
)
from synkern.interventions.curve import OTHER_HALF
from synkern.recording import Responses, replay

NODES = 9  # of the tiny llama: three layers of three heads
SCORES = np.random.default_rng(5).normal(size=NODES)
OPTIONS = {"orders": ("synergy", "random"), "draws": 2, "step": 2, "to": 1.0, "batch_size": 2}


def texts(count=5):
    random = np.random.default_rng(0)
    lengths = [(3, 5, 9, 4, 4)[:count], (7, 2, 5, 11, 1)[:count]]
    return Responses(*([random.integers(6, VOCAB, n) for n in each] for each in lengths))


def measured(model=None, scores=SCORES, **changed):
    return ablation_curve(model or build("llama"), texts(), scores, **{**OPTIONS, **changed})


def same(one, other):
    assert one.names == other.names
    for name in ("sets", "token_kl", "token_loss", "token_agreement", "tokens", "counts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_every_point_is_what_taking_out_its_nodes_does():
    model = build("llama")
    curve = measured(model)
    assert curve.counts.tolist() == [0, 2, 4, 6, 8, 9]
    ablation, reader = Ablation(model), TeacherForced(model, texts(), batch_size=2)
    for row, order in enumerate(curve.orders):
        draw = sum(other.name == order.name for other in curve.orders[:row])
        for point, count in enumerate(curve.counts):
            out = order.nodes[:count].tolist()
            found = reader.effects(lambda rows, out=out: ablation.applied(out, rows=rows))
            for measure in ("kl", "loss", "agreement"):
                own = curve.per_token(measure, order.name, draw)[point]
                np.testing.assert_array_equal(own, getattr(found, measure))


def test_curves_begin_at_zero_exactly_and_end_in_one_value():
    """At 100 % the set is the same, and is measured once; measured apart, it is the same value."""
    curve = measured(orders=("synergy", "redundancy", "random", "layer_matched", "norm"))
    for heights in curve.kl.values():
        assert (heights[:, 0] == 0).all()
        assert len({*heights[:, -1]}) == 1
    assert len({*curve.sets[:, 0]}) == len({*curve.sets[:, -1]}) == 1
    assert len(np.unique(curve.sets)) == len(curve.token_kl) < curve.sets.size
    alone = [measured(orders=[name], draws=1).kl[name][0, -1] for name in ("synergy", "random")]
    assert alone[0] == alone[1] == curve.kl["norm"][0, -1] > 0


@pytest.mark.parametrize("of", ["mlps", "layers"])
def test_mlps_and_layers(of):
    curve = measured(scores=[1.0, 3.0, 2.0], of=of, step=1)
    assert curve.orders[0].nodes.tolist() == [1, 2, 0]
    assert curve.nodes == (("L0M", "L1M", "L2M") if of == "mlps" else ("L0", "L1", "L2"))
    assert curve.kl["synergy"][0, 0] == 0
    assert (curve.kl["synergy"][0, 1:] > 0.01).all()


def test_experts():
    model = build_experts("mixtral")
    nodes = Ablation(model, of="experts").nodes
    scores = np.arange(len(nodes))[::-1]
    curve = ablation_curve(
        model, texts(), scores, of="experts", orders=["synergy", "norm"], step=8, to=1, draws=1
    )
    assert curve.orders[0].nodes.tolist() == [*range(len(nodes))]
    assert curve.kl["synergy"][0, 0] == 0
    assert curve.kl["synergy"][0, -1] == curve.kl["norm"][0, -1] > 0.01


def test_default_points():
    curve = measured(step=None, to=0.4, orders=["synergy"])
    assert curve.counts.tolist() == [0, 1, 2, 3, 4]  # round(3.6), by max(1, round(9 / 50))
    assert curve.about["step"] == 1
    assert measured(step=100, orders=["synergy"]).counts.tolist() == [0, 9]


def test_norm_is_the_activity_that_replay_reads():
    model, text = build("llama"), texts(1)
    ids = torch.tensor([text.prompts[0] + text.responses[0]])
    series = replay(model, ids, new_tokens=7, eos_token_id=[]).series[0].mean(0).numpy()
    curve = ablation_curve(model, text, SCORES, orders=["norm"], to=1)
    assert curve.orders[0].nodes.tolist() == np.argsort(-series).tolist()
    given = ablation_curve(model, text, SCORES, orders=["norm"], to=1, activity=np.arange(9))
    assert given.orders[0].nodes.tolist() == [*range(9)][::-1]
    alone = ablation_curve(model, text, SCORES, orders="norm_reversed", to=1)
    assert alone.orders[0].nodes.tolist() == curve.orders[0].nodes.tolist()[::-1]


def test_further_rankings_are_orders_of_their_own():
    curve = measured(scores={"balance": SCORES, "mean_difference": -SCORES})
    assert curve.names == ("synergy", "random", "synergy by mean_difference")
    assert curve.about["ranking"] == "balance"
    np.testing.assert_array_equal(curve.orders[-1].nodes, np.argsort(SCORES))
    assert "(ranking: balance)" in curve.finding


class Given:
    """As `NodeScores` are."""

    def __init__(self, score, ranking="rank_difference", node_names=None):
        self.score, self.ranking, self.node_names = score, ranking, node_names


def test_node_scores_bring_their_ranking_and_names():
    names = [f"L{layer}H{head}" for layer in range(3) for head in range(3)]
    curve = measured(scores=Given(torch.tensor(SCORES), node_names=names))
    assert curve.about["ranking"] == "rank_difference"
    np.testing.assert_array_equal(curve.orders[0].nodes, np.argsort(-SCORES))
    with pytest.raises(ValueError, match="they are of the nodes L2H2 to L0H0"):
        measured(scores=Given(SCORES, node_names=names[::-1]))


def test_each_half_of_the_texts_is_ablated_by_the_scores_of_the_other():
    half = np.array([True, False, False, True, False])
    first, second = SCORES, -SCORES
    curve = measured(split=(first, second, half))
    by_first, by_second = measured(scores=first), measured(scores=second)
    crossed = curve.per_text("kl")[OTHER_HALF]
    np.testing.assert_allclose(  # batches of other masks: rounding alone
        crossed[..., half], by_second.per_text("kl")["synergy"][..., half], atol=1e-5
    )
    np.testing.assert_allclose(
        crossed[..., ~half], by_first.per_text("kl")["synergy"][..., ~half], atol=1e-5
    )
    assert np.abs(by_first.kl["synergy"] - by_second.kl["synergy"])[0, 1:-1].max() > 1e-3
    np.testing.assert_array_equal(curve.first_half, half)
    assert curve.sets[-1, 0] == curve.sets[0, 0]
    assert curve.sets[-1, -1] == curve.sets[0, -1]


def test_nodes_that_are_left_out_stay():
    among = [0, 3, 4, 7]
    scores = np.where(np.isin(np.arange(NODES), among), SCORES, np.nan)
    curve = measured(scores=scores, among=among, step=1)
    assert curve.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert set(curve.orders[1].nodes) == set(among)
    with pytest.raises(ValueError, match="scores: 5 of 9 nodes have none"):
        measured(scores=scores)


def test_an_edit_of_ones_own():
    curve = measured(kind=Scale(1.0))
    assert curve.about["kind"] == "Scale(factor=1.0)"
    assert np.abs(curve.token_kl).max() == 0
    assert measured(kind=Scale(0.0)).kl["synergy"][0, 1] > 0


@pytest.mark.parametrize("kind", ["mean", "resample"])
def test_other_kinds_of_ablation(kind):
    """Point by point and text by text, the batches of a curve notwithstanding."""
    model, text = build("llama"), texts()
    curve = measured(model, kind=kind)
    assert curve.kl["synergy"][0, 0] == 0
    assert curve.kl["synergy"][0, -1] != measured(model).kl["synergy"][0, -1]
    ablation, out = Ablation(model, kind=kind, texts=text), curve.orders[0].nodes[:4].tolist()
    for place, tokens in enumerate(curve.tokens):
        found = TeacherForced(model, text.some([place])).effects(
            lambda _, place=place: ablation.applied(out, rows=[place])
        )
        own = curve.per_token("kl", "synergy")[2, place, :tokens]
        np.testing.assert_allclose(own, found.kl[0], rtol=0, atol=1e-4)


def test_resampling_reads_the_texts_of_each_half():
    half = np.array([True, False, False, True, False])
    curve = measured(kind="resample", split=(SCORES, SCORES, half))
    # Both halves by one order: what that order alone gives, but for masks of another shape.
    crossed, plain = curve.per_token("kl", OTHER_HALF), curve.per_token("kl", "synergy")
    np.testing.assert_array_equal(curve.sets[-1], curve.sets[0])
    np.testing.assert_array_equal(crossed, plain)
    other = measured(kind="resample", split=(SCORES, -SCORES, half)).per_text("kl")
    by_other = measured(kind="resample", scores=-SCORES).per_text("kl")["synergy"]
    np.testing.assert_allclose(other[OTHER_HALF][..., half], by_other[..., half], atol=1e-5)


def test_groups_and_progress():
    seen = []
    curve = measured(groups=list("abaab"), progress=lambda done, of: seen.append((done, of)))
    assert curve.groups == tuple("abaab")
    total = len(curve.token_kl)
    assert seen == [(done, total) for done in range(total + 1)]


def test_the_published_settings():
    curve = measured(step=5, draws=5, to=0.4, orders=("synergy", "random"))
    assert curve.about["kind"] == "zero"
    assert len(curve.kl["random"]) == 5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"step": 0}, "step: 0; give a whole number of nodes"),
        ({"step": 1.5}, "step: 1.5"),
        ({"to": 0}, "to: 0 of 9 nodes"),
        ({"to": 1.1}, "to: 1.1 of 9 nodes"),
        ({"to": 0.01}, "to: 0.01 of 9 nodes"),
        ({"scores": SCORES[:3]}, "scores: shape (3,) (the scores given) for 9 nodes, L0H0 to L2H2"),
        ({"scores": {"balance": SCORES[None]}}, "scores: shape (1, 9) (balance)"),
        ({"scores": {}}, "scores: there are none"),
        ({"groups": ["a"]}, "groups: 1 for 5 texts"),
        ({"split": (SCORES, SCORES, [True] * 5)}, "split: its third part is bool of shape (5,)"),
        ({"split": (SCORES, SCORES, [1, 0, 1, 0, 1])}, "split: its third part is int64"),
        ({"orders": ["synergy", "size"]}, "orders: 'size' is no order"),
    ],
)
def test_refusals(changed, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        measured(**changed)


def test_a_model_that_does_not_repeat_itself_is_warned_of():
    model = build("llama")
    calls = []

    def drift(_, args, output):
        calls.append(None)
        output.logits[..., 7] += 1e-3 * len(calls)

    model.register_forward_hook(drift)
    with pytest.warns(UserWarning, match="the model does not repeat itself"):
        measured(model)


# Files


class KilledError(Exception):
    pass


def killed_after(points):
    def progress(done, total):
        if done == points:
            raise KilledError

    return progress


def test_a_curve_goes_on_where_it_was_left(tmp_path):
    whole = measured()
    file, total = tmp_path / "points", len(whole.token_kl)
    for points in (0, 1, 3, 4, total - 1):
        with pytest.raises(KilledError):
            measured(file=file, progress=killed_after(points))
    seen = []
    same(measured(file=file, progress=lambda *both: seen.append(both)), whole)
    assert seen == [(total - 1, total), (total, total)]
    same(measured(file=file), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["points"]


def test_a_kill_in_the_middle_of_a_write_loses_the_point_in_work_alone(tmp_path):
    file = tmp_path / "points"
    whole = measured(file=file)
    kept = file.read_bytes()
    record = 8 + 26 * 9  # number and checksum; kl, loss and agreement of 26 tokens
    total = len(whole.token_kl)
    # A part of the last record, or of the first; none of the last; a last one of zeros.
    beginning = len(kept) - total * record
    for cut in (1, record // 2, record - 1, record, total * record - 1, total * record):
        file.write_bytes(kept[:-cut])
        seen = []
        same(measured(file=file, progress=lambda *both, seen=seen: seen.append(both)), whole)
        assert seen[0][0] == (len(kept) - cut - beginning) // record
        assert file.read_bytes() == kept
    file.write_bytes(kept[:-record] + bytes(record))
    same(measured(file=file), whole)


def another(name):
    """Options of a call that differs in one thing, and what the refusal says of it."""
    model = build("llama", seed=1) if name == "weights" else None
    if name == "model":
        model = build("qwen2")
    given = {
        "order synergy, draw 0": {"scores": -SCORES},
        "order random, draw 0": {"seed": 1},
        "order random, draw 2": {"draws": 3},
        "nodes out at each point": {"step": 3},
        "batch_size": {"batch_size": 3},
        "kind": {"kind": Scale(0.5)},
        "halves": {"split": (SCORES, SCORES, np.arange(5) < 2)},
    }
    return {"model": model, **given.get(name, {})}


@pytest.mark.parametrize(
    "name",
    [
        "weights",
        "model",
        "order synergy, draw 0",
        "order random, draw 0",
        "order random, draw 2",
        "nodes out at each point",
        "batch_size",
        "kind",
        "halves",
    ],
)
def test_a_file_of_another_call_is_refused(tmp_path, name):
    file = tmp_path / "points"
    measured(file=file)
    kept = file.read_bytes()
    with pytest.raises(ValueError, match=f"holds points of another curve .*{name}: .* there, "):
        measured(file=file, **another(name))
    assert file.read_bytes() == kept


def test_a_file_of_other_texts_is_refused(tmp_path):
    file, model = tmp_path / "points", build("llama")
    ablation_curve(model, texts(), SCORES, orders=["synergy"], file=file)
    with pytest.raises(ValueError, match="texts: .* there, .* here"):
        ablation_curve(model, texts().some([1, 0, 2, 3, 4]), SCORES, orders=["synergy"], file=file)


def test_other_files_are_left_alone(tmp_path):
    file = tmp_path / "points"
    for content in (b"", b"mine", b"synkern: points of an ablation curve, format 1\n{broken\n"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"is no file of the points|is damaged"):
            measured(file=file)
        assert file.read_bytes() == content
    with pytest.raises(OSError, match="nowhere"):
        measured(file=tmp_path / "nowhere" / "points")


def test_two_processes_that_write_to_one_file_are_told(tmp_path):
    file = tmp_path / "points"

    def meddle(done, total):
        if done == 2:
            with file.open("ab") as other:
                other.write(b"x")

    with pytest.raises(OSError, match="was written to by another process"):
        measured(file=file, progress=meddle)
    same(measured(file=file), measured())


def test_an_edit_that_cannot_be_told_from_others_needs_no_file(tmp_path):
    with pytest.raises(TypeError, match="kind: .* cannot be told from others"):
        measuring._content(Scale(np.float32(1)))
    assert measuring._content(texts()) != measuring._content(texts(4))
    assert measuring._content(Scale(0.5)) == "Scale(factor=0.5)"


RUN = """
import sys
sys.path[:0] = ["tests", "tests/interventions"]
from test_ablation_curve import measured
measured(file=sys.argv[1], progress=lambda done, total: print(done, flush=True))
print("done", flush=True)
"""


def test_a_process_that_is_killed_loses_no_more_than_the_point_in_work(tmp_path):
    """SIGKILL while it measures, and once more to its end; test_curve_file kills many times."""
    file, root = tmp_path / "points", Path(__file__).parents[2]
    reached = kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(file)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        first = process.stdout.readline().strip()
        assert int(first) >= reached
        for line in process.stdout:
            if line.strip() == "done":
                break
            reached = int(line)
            if reached > int(first) and not kills:
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
        process.stdout.close()
        if process.wait() == 0:
            break
    assert process.returncode == 0
    assert kills == 1
    same(measured(file=file), measured())


def test_a_saved_curve_is_as_it_was_measured(tmp_path):
    curve = measured(groups=list("abaab"), split=(SCORES, -SCORES, np.arange(5) < 2))
    curve.save(tmp_path / "curve.npz")
    found = AblationCurve.load(tmp_path / "curve.npz")
    same(found, curve)
    assert repr(found) == repr(curve)
    assert found.about == curve.about
