"""What a study computes, keeps, reuses and refuses, on a tiny model with random weights."""

import json
import shutil

import numpy as np
import pytest
import tiny_study
import torch

import synkern
from synkern import generation, models
from synkern.scores import RANKINGS, scores_from_matrices
from synkern.study import StudyError, run_study

RECORDINGS = ("recording (trained)", "recording (random)")
ANALYSES = ("analysis (trained)", "analysis (random)")


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
        counts["phiid"] += len(series) > 1  # the trial run on one random trial does not count
        return phiid(series, **kwargs)

    monkeypatch.setattr(generation, "record_answers", counting_record)
    monkeypatch.setattr(synkern, "phiid", counting_phiid)
    return counts


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished study's folder, to be changed."""
    return shutil.copytree(finished.out, tmp_path / "copy")


def again(model, out, **changes):
    return run_study(model, out=out, **tiny_study.ARGUMENTS | changes)


def test_the_files_hold_the_study(finished):
    files = {file.name for file in finished.out.iterdir()}
    pictures = {f"{kind}_{w}.png" for kind in ("heads", "pairs") for w in ("trained", "random")}
    assert files == pictures | {
        "profiles.png",
        "report.html",
        "study.json",
        "study.npz",
        "texts.jsonl",
    }
    description = json.loads((finished.out / "study.json").read_text(encoding="utf-8"))
    assert description == finished.description
    assert description["parameters"]["new_tokens"] == 36
    for package in ("python", "numpy", "torch", "transformers", "synkern"):
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
            np.testing.assert_allclose(arrays[f"{weights}_scores"][row], score, atol=1e-12)
            profile = finished.profiles[weights][ranking]
            result = finished.description["results"][weights][ranking]
            assert result["quadratic_term"] == pytest.approx(profile.quadratic, abs=1e-6)
            assert result["inverted_u"] == profile.inverted_u
    assert not np.array_equal(arrays["trained_norms"], arrays["random_norms"])


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
        raise synkern.decoding.RecordingError("not finite")

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
        ({"bootstrap": 5}, "bootstrap = 5; give an integer of at least 100"),
        ({"batch_size": True}, "batch_size = True"),
        ({"dtype": "int8"}, "dtype = 'int8'; choose from float32"),
        ({"device": "moon"}, "device = 'moon'"),
        ({"backend": "abacus"}, "backend.*abacus"),
        ({"prompts": ["only one"]}, "1 given; at least 2"),
        ({"max_prompts": 1}, "max_prompts = 1"),
    ],
)
def test_bad_arguments_are_found_before_anything_is_loaded(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        again("no/such/model", tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_max_prompts_spreads_over_the_list(model, tmp_path):
    study = again(model, tmp_path, prompts=None, max_prompts=6, control=False)
    assert set(study.description["prompts"]["by_category"].values()) == {1}


def test_a_missing_package_is_named_with_its_extra(model, tmp_path, monkeypatch):
    find_spec = synkern.study.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *args: None if name == "jinja2" else find_spec(name, *args),
    )
    with pytest.raises(ImportError, match=r"'jinja2'.*'plot'.*synkern\[llm,plot\]"):
        again(model, tmp_path)
