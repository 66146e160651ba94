"""What a study leaves in its folder: files, numbers that follow from its recording, texts."""

import html
import json
import re

import numpy as np
import pytest

import synkern
from support import tiny_study
from support.tiny_study import ANALYSES, RECORDINGS
from synkern.analysis.scores import RANKINGS, scores_from_matrices
from synkern.decomposition.preprocess import PREPROCESSING


def test_the_files_hold_the_study(finished):
    files = {file.name for file in finished.out.iterdir()}
    kinds = ("heads", "pairs", "excess")
    pictures = {f"{kind}_{w}.png" for kind in kinds for w in ("trained", "random")}
    assert files == pictures | {
        "profiles.png",
        "synergy.png",
        "report.html",
        "explore.html",
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
        assert stored["trained_series"].dtype == np.float32
        assert stored["trained_series"].shape == (5, 36, 8)
        assert stored["trained_layer"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_numbers_follow_from_the_recording(finished):
    arrays = finished.arrays
    for weights in ("trained", "random"):
        result = synkern.phiid(arrays[f"{weights}_series"], average="trials")
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
    assert not np.array_equal(arrays["trained_series"], arrays["random_series"])


def test_texts_can_be_read(finished):
    text = (finished.out / "texts.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["prompt"] for line in lines] == tiny_study.PROMPTS * 2
    assert {line["weights"] for line in lines} == {"trained", "random"}
    assert all(set(line["answer"].split()) <= set(tiny_study.WORDS) for line in lines)
    assert lines[0]["input"] == tiny_study.PROMPTS[0]


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
    study = tiny_study.again(model, copy, control=False, **change)
    assert study.reused == RECORDINGS[:1]
    assert study.description["parameters"].items() >= change.items()
    options = change | {}
    prepare = PREPROCESSING.get(options.pop("detrend", None), lambda series: series)
    series = prepare(study.arrays["trained_series"])
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
    study = tiny_study.again(model, copy, **change)
    for weights in ("trained", "random"):
        absent = study.description["stages"][f"analysis ({weights})"]["excess"]["absent"]
        assert re.search(reason, absent)
        assert set(study.profiles[weights]) == {*RANKINGS, "synergy"}
    assert absent in html.unescape(study.report.read_text(encoding="utf-8"))
    assert not list(study.out.glob("excess_*.png"))


def test_max_prompts_spreads_over_the_list(model, tmp_path):
    study = tiny_study.again(model, tmp_path, prompts=None, max_prompts=6, control=False)
    assert set(study.description["prompts"]["by_category"].values()) == {1}


def test_without_control_there_is_none(model, tmp_path, ran):
    study = tiny_study.again(model, tmp_path / "new", control=False)
    assert ran == [RECORDINGS[0], ANALYSES[0]]
    assert set(study.profiles) == {"trained"}
    assert not any(name.startswith("random") for name in study.arrays)
    assert not (study.out / "heads_random.png").exists()
    assert "random weights" not in study.report.read_text(encoding="utf-8")
    # The control can be added later, and taken out of the report again, without recording twice.
    assert tiny_study.again(model, study.out).reused == (RECORDINGS[0], ANALYSES[0])
    assert tiny_study.again(model, study.out, control=False).reused == (RECORDINGS[0], ANALYSES[0])
    assert tiny_study.again(model, study.out).reused == (*RECORDINGS, *ANALYSES)
