"""Studies of other nodes than heads: what is recorded, its words, and what routing explains."""

import html
import json
import re

import numpy as np
import pytest

import synkern
from support import painting, tiny_study
from support.tiny_study import ANALYSES, RECORDINGS
from synkern._warnings import collected
from synkern.analysis.scores import OF_MEANS
from synkern.models import load
from synkern.recording import record_answers
from synkern.study import StudyError
from synkern.study.stages.routing import routing_clause, routing_of
from synkern.study.words import Words

EXPERTS = {"family": "Mixtral", "num_local_experts": 6, "num_experts_per_tok": 2}
WORDS = Words("experts", "expert", "experts", True, "weighted", "norm")


@pytest.fixture(scope="module")
def moe(tmp_path_factory):
    """The folder of a tiny model of 4 layers x 6 experts, 2 of them for a token."""
    return tiny_study.save_model(tmp_path_factory.mktemp("moe"), **EXPERTS)


@pytest.fixture(scope="module")
def of_experts(moe, tmp_path_factory):
    """A study of them; its folder is not to be changed."""
    with painting.painted():
        return tiny_study.again(moe, tmp_path_factory.mktemp("experts"), nodes="experts")


@pytest.fixture(scope="module")
def of_neurons(model, tmp_path_factory):
    """A study of 4 x 48 neurons; tests of what is done again go on in it, in order."""
    with painting.painted():
        return tiny_study.again(model, tmp_path_factory.mktemp("neurons"), nodes="neurons")


def page_of(study):
    text = re.sub(r"<[^>]+>", "", study.report.read_text(encoding="utf-8"))
    return " ".join(html.unescape(text).split())


def recorded(model, **asked):
    loaded, tokenizer = load(model, device="cpu")
    plain = {"new_tokens": 36, "batch_size": 3}
    return record_answers(loaded, tokenizer, tiny_study.PROMPTS, **plain, **asked)


def spearman(a, b):
    ranks = [[sum(w < v for w in x) + (sum(w == v for w in x) + 1) / 2 for v in x] for x in (a, b)]
    return np.corrcoef(ranks)[0, 1]


def test_experts_are_studied_in_their_own_words(of_experts, moe):
    arrays, description = of_experts.arrays, of_experts.description
    assert description["parameters"]["kind"] == "discrete"
    assert description["parameters"]["signal"] == "weighted"
    assert arrays["trained_layer"].tolist() == np.repeat(range(4), 6).tolist()
    assert arrays["trained_index"].tolist() == [*range(6)] * 4
    expected = recorded(moe, nodes="experts")
    np.testing.assert_array_equal(arrays["trained_series"], expected.series)
    np.testing.assert_array_equal(arrays["trained_routed"], expected.routed)
    # Two of a layer's experts at every token.
    by_layer = arrays["trained_routed"].reshape(5, 4, 6).sum(-1)
    assert (by_layer == 2 * 36).all()
    with collected():
        result = synkern.phiid(arrays["trained_series"], kind="discrete", average="trials")
    np.testing.assert_allclose(arrays["trained_sts"], result["sts"], atol=1e-12)
    pictures = {file.stem for file in of_experts.out.glob("*.png")}
    by_weights = [f"{what}_{w}" for what in ("experts", "routing", "pairs") for w in own_weights()]
    assert pictures == {"profiles", "synergy", *by_weights}
    page = page_of(of_experts)
    assert "24 experts in 4 layers, 276 pairs" in page
    assert "all 276 pairs of its 24 experts were decomposed (discrete estimator" in page
    assert "The time series of an expert is this, at each token: L2 norm of each expert's" in page
    assert not re.search(r"\bheads?\b", page)
    # Idle nodes are meant to be one of two states.
    assert "more than two levels" not in page


def own_weights():
    return ("trained", "random")


def test_what_routing_explains_is_counted_and_said(of_experts):
    for weights, name in zip(own_weights(), ANALYSES, strict=True):
        facts = of_experts.description["stages"][name]["routing"]
        series = of_experts.arrays[f"{weights}_series"]
        share = of_experts.arrays[f"{weights}_routed"].sum(0) / (5 * 36)
        np.testing.assert_array_equal(share, (series > 0).mean((0, 1)))
        assert facts["never"] == (share == 0).sum()
        assert facts["constant"] == (np.ptp(series, axis=1) == 0).sum()
        assert facts["series"] == 5 * 24
        assert facts["largest_share"] == pytest.approx(share.max(), abs=1e-6)
        for ranking, rho in facts["correlations"].items():
            scores = of_experts.profiles[weights][ranking].scores
            known = np.isfinite(scores)
            expected = spearman(scores[known], share[known])
            assert rho == pytest.approx(expected, abs=1e-6)
    rho = of_experts.description["stages"][ANALYSES[0]]["routing"]["correlations"]
    restates = "largely restates" if abs(rho["mean_difference"]) > 0.8 else "not merely restate"
    assert restates in of_experts.description["summary"][1]
    lines = [line for line in of_experts.summary() if "routing" in line]
    assert len(lines) == 4
    assert f"trained: mean_difference {rho['mean_difference']:+.4f}, rank_difference" in lines[0]
    assert "rank correlation is" in page_of(of_experts)


@pytest.mark.parametrize(
    ("rho", "said"),
    [
        (0.91, "the ranking largely restates how often each expert was routed (rank correlation +"),
        (-0.85, "the ranking largely restates how often each expert was routed (rank correlation"),
        (0.3, "the ranking does not merely restate how often each expert was routed (rank corr"),
        (None, "how often experts are routed does not vary, so the ranking cannot restate it; "),
    ],
)
def test_the_finding_says_whether_the_ranking_restates_frequency(rho, said):
    counts = {"constant": 7, "series": 1200, "never": 2, "pooled": False}
    routing = {"correlations": {"mean_difference": rho}} | counts
    clause = routing_clause(WORDS, {"routing": routing, "nodes": 24})
    assert clause.startswith(said)
    assert clause.endswith(
        "7 of 1,200 (prompt, expert) have a constant series, whose pairs have no value, and 2 of "
        "24 experts were never routed"
    )
    # Pooled with other prompts, a node that is constant in one has values all the same.
    pooled = routing_clause(WORDS, {"routing": routing | {"pooled": True}, "nodes": 24})
    assert pooled == clause.replace(", whose pairs have no value,", "")
    assert routing_clause(WORDS, {"routing": None}) == ""


def test_constant_series_and_those_never_routed_are_counted():
    series = np.zeros((2, 4, 3), np.float32)
    series[0, 1, 0] = series[1, 2, 1] = 1.0
    series[1, :, 2] = 0.5  # always routed, and always the same
    routed = np.array([[1, 0, 0], [0, 1, 4]])
    found = routing_of(series, routed, {}, pooled=False)
    assert (found["never"], found["constant"], found["series"]) == (0, 4, 6)
    assert found["largest_share"] == 0.5
    assert routing_of(series[:1], routed[:1], {}, pooled=False)["never"] == 2


def test_a_signal_without_zeros_is_gaussian_and_still_has_its_routing(moe, tmp_path):
    study = tiny_study.again(moe, tmp_path, nodes="experts", signal="gate", control=False)
    assert study.description["parameters"]["kind"] == "gaussian"
    assert study.description["stages"][ANALYSES[0]]["routing"]["constant"] == 0
    assert "excess_synergy" in study.profiles["trained"]
    assert (study.out / "routing_trained.png").is_file()


def test_layers_without_nodes_of_the_kind_do_not_appear(tmp_path):
    config = {
        **{"family": "DeepseekV3", "n_routed_experts": 4, "num_experts_per_tok": 2},
        **{"n_shared_experts": 1, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 16},
        **{"q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8},
        **{"v_head_dim": 16, "first_k_dense_replace": 1, "num_key_value_heads": 2},
    }
    folder = tiny_study.save_model(tmp_path / "model", **config)
    study = tiny_study.again(folder, tmp_path / "out", nodes="experts", control=False)
    assert study.profiles["trained"]["mean_difference"].layers.tolist() == [1, 2, 3]
    assert study.description["stages"][RECORDINGS[0]]["layers"] == 3
    shallow = tiny_study.save_model(tmp_path / "shallow", layers=3, **config)
    with pytest.raises(StudyError, match=r"has experts in 2 layer\(s\) only.* at least 3"):
        tiny_study.again(shallow, tmp_path / "shallow out", nodes="experts")
    with pytest.raises(StudyError, match="cannot be recorded: .*expert"):
        tiny_study.again(
            tiny_study.save_model(tmp_path / "dense"), tmp_path / "none", nodes="experts"
        )


@pytest.mark.parametrize(("nodes", "words"), [("mlps", "MLP blocks"), ("layers", "layers")])
def test_one_node_a_layer_is_a_bar(model, tmp_path, nodes, words):
    # Of so few nodes all may rank alike in a draw, which is left out.
    study = tiny_study.again(model, tmp_path, nodes=nodes, control=False, bootstrap=200)
    np.testing.assert_array_equal(
        study.arrays["trained_series"], recorded(model, nodes=nodes).series
    )
    assert study.arrays["trained_index"].tolist() == [0] * 4
    assert "trained_routed" not in study.arrays
    assert (tmp_path / f"{nodes}_trained.png").is_file()
    page = page_of(study)
    assert f"4 {words}, one a layer, 6 pairs" in page
    assert not re.search(r"\bheads?\b", page)
    # A study of heads in this folder leaves no figure of these.
    tiny_study.again(model, tmp_path, control=False)
    assert not (tmp_path / f"{nodes}_trained.png").exists()


def test_the_entropy_of_attention_has_the_weights_that_it_needs(model, tmp_path):
    study = tiny_study.again(model, tmp_path, signal="entropy", control=False)
    assert study.description["stages"][RECORDINGS[0]]["model"]["attention"] == "eager"
    assert "entropy of each head's attention" in study.description["method"]["series"]


def test_neurons_are_averaged_by_node_and_kept_in_a_file(of_neurons, model):
    arrays, nodes = of_neurons.arrays, 4 * 48
    expected = recorded(model, nodes="neurons")
    series = np.load(of_neurons.out / "trained_series.npy")
    np.testing.assert_array_equal(series, expected.series)
    assert not any(array.shape[-2:] == (nodes, nodes) for array in arrays.values())
    assert "trained_series" not in arrays
    result = synkern.phiid(series, average="trials")
    for name, atom in (("synergy", "sts"), ("redundancy", "rtr")):
        by_hand = np.nanmean(result[atom], axis=1)
        np.testing.assert_allclose(arrays[f"trained_{name}"], by_hand, rtol=1e-9)
    own = [
        np.mean([np.corrcoef(trial[:-1, node], trial[1:, node])[0, 1] for trial in series])
        for node in range(nodes)
    ]
    np.testing.assert_allclose(arrays["trained_autocorrelation"], own, rtol=1e-6, atol=1e-9)
    profiles = of_neurons.profiles["trained"]
    assert tuple(profiles) == (*OF_MEANS, "synergy")
    np.testing.assert_array_equal(profiles["synergy"].scores, arrays["trained_synergy"])
    facts = of_neurons.description["stages"][ANALYSES[0]]
    assert facts["decompositions"] == 5 * nodes * (nodes - 1) // 2
    assert facts["negative"] is None
    assert "kept only their mean for each node" in facts["excess"]["absent"]
    pictures = {file.stem for file in of_neurons.out.glob("*.png")}
    assert pictures == {"profiles", "synergy", "neurons_trained", "neurons_random"}
    page = page_of(of_neurons)
    assert "192 neurons in 4 layers" in page
    assert "Score of the neurons by two rankings" in page
    assert "it is not here, as the averages of single pairs were not kept" in page
    assert "the series in trained_series.npy and random_series.npy" in page


def test_the_file_of_the_series_is_heeded(of_neurons, model):
    out, file = of_neurons.out, of_neurons.out / "trained_series.npy"
    assert tiny_study.again(model, out, nodes="neurons").reused == (*RECORDINGS, *ANALYSES)
    whole = file.read_bytes()
    file.write_bytes(whole[:-4] + b"\0\0\0\0")
    # What needs no series goes on without them.
    assert len(tiny_study.again(model, out, nodes="neurons").reused) == 4
    with pytest.raises(StudyError, match=r"trained_series\.npy' is not as the recording has left"):
        tiny_study.again(model, out, nodes="neurons", tau=2)
    file.unlink()
    with pytest.raises(StudyError, match=r"trained_series\.npy' is missing.*name another folder"):
        tiny_study.again(model, out, nodes="neurons", tau=2)
    file.write_bytes(whole)
    again = tiny_study.again(model, out, nodes="neurons", tau=2)
    assert again.reused == RECORDINGS
    assert json.loads((out / "study.json").read_text())["parameters"]["tau"] == 2
    # All pairs of so few can be kept, too, from the same recording.
    kept = tiny_study.again(model, out, nodes="neurons", pairs="kept", control=False)
    assert kept.reused == RECORDINGS[:1]
    np.testing.assert_allclose(
        np.nanmean(kept.arrays["trained_sts"], axis=1), of_neurons.arrays["trained_synergy"]
    )
    # A recording that is kept in study.npz takes the place of the file.
    tiny_study.again(model, out, control=False)
    assert not file.exists()


def test_nodes_that_do_not_vary_are_counted_over_all_chunks(rng, monkeypatch):
    monkeypatch.setattr("synkern.study.stages.decomposing._CHUNK_BYTES", 1)  # one trial each
    series = rng.standard_normal((4, 60, 6))
    series[1, :, 0] = series[2, :, 0] = 3.0
    arrays, facts = tiny_study.analysed(series, [0, 0, 1, 1, 2, 2], pairs="averaged")
    assert facts["degenerate"]["constant"] == facts["skipped_pair_trials"] == 10
    assert facts["warnings"] == ["10 of 60 (trial, pair) are degenerate: 10 constant"]
    kept, _ = tiny_study.analysed(series[[0, 3]], [0, 0, 1, 1, 2, 2])
    np.testing.assert_allclose(arrays["synergy"][0], np.nanmean(kept["sts"], axis=1)[0], rtol=1e-12)
