"""What a study asks before it works: the model's context, memory, disk; and what it plans."""

import re
import shutil
from collections import namedtuple

import pytest
import torch

from support import tiny_study
from synkern import _memory
from synkern.models import load
from synkern.study import ArgumentError, StudyError, numerals, run_study
from synkern.study import room as study_room
from synkern.study.plan import decompositions, plan
from synkern.study.room import Model, cache_bytes_of
from synkern.study.stage import Step
from synkern.study.stages import STAGES

GB = 10**9
ASKED = tiny_study.settings_of(asked=("",) * 60, new_tokens=100, batch_size=30, bootstrap=1000)


@pytest.fixture
def recordings(monkeypatch):
    """Makes recordings impossible."""

    def record(*args, **kwargs):
        raise AssertionError("the model was asked")

    monkeypatch.setattr("synkern.recording.record_answers", record)


def free(monkeypatch, size):
    monkeypatch.setattr(_memory, "available", lambda array=None: size)


def model_of(**changes):
    chosen = {"nodes": 270, "layers": 30, "context": 8192, "cache_bytes": 45 * 1024}
    chosen |= {"prompt_tokens": (40, 57, 31), "parameters": 135_000_000}
    return Model(**chosen | changes)


def test_tokens_beyond_memory_are_refused_before_anything_is_loaded(tmp_path, capsys):
    with pytest.raises(ArgumentError) as refused:
        run_study("no/such/model", out=tmp_path / "out", new_tokens=10**9, null="block")
    message = str(refused.value)
    # 60 prompts of 20 bytes a token.
    assert "new_tokens = 1000000000 for each of 60 prompts takes at least 1.2 TB" in message
    assert re.search(r"and [\d.]+ [GT]B are available; lower new_tokens, or use fewer", message)
    assert not (tmp_path / "out").exists()


def test_draws_beyond_memory_are_refused(monkeypatch, tmp_path):
    free(monkeypatch, 10 * GB)
    with pytest.raises(ArgumentError, match=r"bootstrap = 100000000 with 5 prompts takes at least"):
        run_study("no/such/model", **tiny_study.ARGUMENTS | {"bootstrap": 10**8}, out=tmp_path)


@pytest.mark.parametrize("new_tokens", [125, 126, 300])
def test_a_text_longer_than_the_context_is_refused(model, tmp_path, recordings, new_tokens):
    # The longest prompt has 7 words, the model's context is 128 tokens.
    arguments = tiny_study.ARGUMENTS | {"new_tokens": new_tokens}
    message = (
        rf"prompt 2 has 7 tokens, so that with new_tokens = {new_tokens} its text has "
        rf"{7 + new_tokens}, and the context of model .* is 128 tokens; lower new_tokens to 121"
    )
    with pytest.raises(StudyError, match=message):
        run_study(model, out=tmp_path, **arguments)
    with pytest.raises(AssertionError, match="the model was asked"):
        run_study(model, out=tmp_path, **arguments | {"new_tokens": 121})


def test_a_prompt_that_fills_the_context_itself_has_another_remedy(model, tmp_path, recordings):
    prompts = ["the cat", "the dog " * 100]
    with pytest.raises(StudyError, match=r"prompt 1 has 200 tokens.* 128 tokens; shorten the pro"):
        run_study(model, out=tmp_path, **tiny_study.ARGUMENTS | {"prompts": prompts})


def test_a_chat_template_counts(tmp_path, recordings):
    folder = tiny_study.save_model(tmp_path / "model", chat_template=tiny_study.CHAT)
    with pytest.raises(StudyError, match="prompt 2 has 9 tokens"):
        run_study(folder, out=tmp_path / "out", **tiny_study.ARGUMENTS | {"new_tokens": 120})


def test_keys_and_values_are_those_of_the_cache(model):
    loaded, _ = load(model, device="cpu")
    cache = loaded(input_ids=torch.arange(4, 14)[None]).past_key_values
    measured = sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert cache_bytes_of(loaded.config, 4, 4) * 10 == measured


def test_a_recording_that_does_not_fit_is_refused_with_both_numbers(monkeypatch):
    # 30 texts of 157 tokens: 217 MB of keys and values, one layer of thirty twice, and 26 MB.
    needed = 30 * 157 * 45 * 1024 * 31 / 30 + 16 * 60 * 100 * 270
    free(monkeypatch, int(needed) + 1)
    study_room.check_recording(ASKED, model_of())
    free(monkeypatch, int(needed) - 1)
    message = (
        r"recording 270 heads at new_tokens = 100 in batches of batch_size = 30 \(texts of up to "
        r"157 tokens\) takes about 250 MB of memory, and 250 MB are available; lower batch_size"
    )
    with pytest.raises(StudyError, match=message):
        study_room.check_recording(ASKED, model_of())
    free(monkeypatch, None)  # nothing is known
    study_room.check_recording(ASKED, model_of())


def test_a_control_that_does_not_fit_is_refused_with_both_numbers(monkeypatch):
    free(monkeypatch, 540_000_000)
    study_room.check_control(model_of())
    free(monkeypatch, 539_999_999)
    message = r"control, 135,000,000 random weights .* about 540 MB of memory, and 540 MB .*no-cont"
    with pytest.raises(StudyError, match=message):
        study_room.check_control(model_of())


def test_the_control_is_asked_about_before_the_model(model, monkeypatch, tmp_path, recordings):
    loaded, _ = load(model, device="cpu")
    needed = 4 * sum(parameter.numel() for parameter in loaded.parameters())
    free(monkeypatch, needed - 1)
    few = tiny_study.ARGUMENTS | {"prompts": ["the", "a"], "new_tokens": 10}
    with pytest.raises(StudyError, match=r"^the control, [\d,]+ random weights beside"):
        run_study(model, out=tmp_path, **few)
    with pytest.raises(AssertionError, match="the model was asked"):
        run_study(model, out=tmp_path, **few, control=False)


@pytest.mark.parametrize("place", ["recording.record_answers", "models.randomly_initialised"])
def test_memory_that_ends_while_recording_is_explained(place, model, monkeypatch, tmp_path):
    def too_much(*args, **kwargs):
        return torch.empty(2**60)  # what torch itself says is what is read

    monkeypatch.setattr(f"synkern.{place}", too_much)
    message = r"there is not enough memory \(.*can't allocate.*lower batch_size \(now 3\) or"
    with pytest.raises(StudyError, match=message):
        run_study(model, out=tmp_path, **tiny_study.ARGUMENTS)


def test_decompositions_that_do_not_fit_are_refused_with_both_numbers(monkeypatch, tmp_path):
    matrix = 8 * 1152**2
    free(monkeypatch, 324 * matrix)
    study_room.check_analysis(ASKED, 1152, 4, tmp_path)
    free(monkeypatch, 323 * matrix)
    message = r"all pairs of 1152 heads for 60 prompts takes about 3.44 GB of memory, and 3.43 GB"
    with pytest.raises(StudyError, match=message):
        study_room.check_analysis(ASKED, 1152, 4, tmp_path)
    pooled = tiny_study.settings_of(average="moments", asked=("",) * 60)
    study_room.check_analysis(pooled, 1152, 2, tmp_path)


def test_a_full_disk_is_found_before(monkeypatch, tmp_path, model, recordings):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 10**6))
    with pytest.raises(StudyError, match=r"keeping .* takes about 8.*on the disk.* and 1 MB"):
        run_study(model, out=tmp_path, **tiny_study.ARGUMENTS)


def test_the_plan_says_what_will_be_done():
    recording, analysis, null = STAGES
    steps = [Step(recording, "trained"), Step(recording, "random"), Step(analysis, "trained")]
    said = plan(ASKED, 270, 30, steps)
    assert said == (
        "plan: record 270 heads in 30 layers while 60 prompts are answered with 100 tokens each, "
        "for trained and random weights; decompose 36,315 pairs of heads (2,178,900 "
        "decompositions) with 1,000 bootstrap draws, for trained weights"
    )
    nulled = tiny_study.settings_of(asked=("",) * 60, null="block", null_draws=99)
    said = plan(nulled, 270, 30, [Step(null, "random")])
    assert "null block (99 draws, 215,711,100 decompositions), for random weights" in said
    assert plan(ASKED, 270, 30, ()) == "plan: all stages are there; draw the report"
    assert decompositions(ASKED, steps) == 60 * 5
    assert decompositions(nulled, [Step(null, "random")]) == 60 * 100
    pooled = tiny_study.settings_of(asked=("",) * 60, average="moments", bootstrap=100)
    assert decompositions(pooled, [Step(analysis, "trained")]) == 60 * 101
    assert "as many for each bootstrap draw" in plan(pooled, 270, 30, [Step(analysis, "trained")])


def test_the_plan_says_how_large_series_of_very_many_nodes_are():
    chosen = {"nodes": "neurons", "signal": "activation", "pairs": "averaged"}
    neurons = tiny_study.settings_of(asked=("",) * 60, **chosen, new_tokens=100)
    recording, analysis, _ = STAGES
    said = plan(neurons, 46080, 30, [Step(recording, "trained"), Step(analysis, "trained")])
    assert said == (
        "plan: record 46080 neurons in 30 layers while 60 prompts are answered with 100 tokens "
        "each, 1.11 GB of series, for trained weights; decompose 1,061,660,160 pairs of neurons "
        "(63,699,609,600 decompositions, averaged by node at once) with 100 bootstrap draws, for "
        "trained weights"
    )
    mlps = tiny_study.settings_of(asked=("",) * 60, nodes="mlps", signal="norm")
    assert "record 30 MLP blocks while 60" in plan(mlps, 30, 30, [Step(recording, "trained")])


def test_averaged_pairs_need_no_matrices(monkeypatch, tmp_path):
    chosen = {"nodes": "neurons", "signal": "activation", "pairs": "averaged"}
    neurons = tiny_study.settings_of(asked=("",) * 60, **chosen)
    by_prompt = 8 * 46080 * 60
    free(monkeypatch, 24 * by_prompt)
    study_room.check_analysis(neurons, 46080, 0, tmp_path)
    free(monkeypatch, 23 * by_prompt)
    with pytest.raises(StudyError, match=r"all pairs of 46080 neurons .*use fewer prompts"):
        study_room.check_analysis(neurons, 46080, 0, tmp_path)
    kept = tiny_study.settings_of(asked=("",) * 60)
    with pytest.raises(StudyError, match=r"or average pairs by node \(pairs = 'averaged'\)"):
        study_room.check_analysis(kept, 46080, 2, tmp_path)


def test_a_recording_that_goes_to_a_file_needs_room_for_a_batch(monkeypatch):
    chosen = {"nodes": "neurons", "signal": "activation", "batch_size": 30}
    model = study_room.Model(46080, 30, None, cache_bytes=0, prompt_tokens=(3,), parameters=1)
    series = 4 * 4 * 60 * 60 * 46080
    for pairs, needed in (("averaged", series // 2), ("kept", series)):
        settings = tiny_study.settings_of(asked=("",) * 60, pairs=pairs, **chosen)
        free(monkeypatch, needed)
        study_room.check_recording(settings, model)
        free(monkeypatch, needed - 1)
        with pytest.raises(StudyError, match="recording 46080 neurons at new_tokens = 60"):
            study_room.check_recording(settings, model)


def test_the_plan_comes_before_the_work_and_the_time_after_a_batch(
    model, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("synkern.study.report.write_report", lambda folder, *args: folder.path)
    arguments = tiny_study.ARGUMENTS | {"progress": True, "control": False}
    run_study(model, out=tmp_path, **arguments)
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith(("plan", "recording", "analysis"))]
    assert said[0].startswith(
        "plan: record 8 heads in 4 layers while 5 prompts are answered with 3"
    )
    assert said[1] == "recording (trained): starting"
    number = r"\d+ s"
    timed = rf"plan: 3 texts took {number}; about {number} to come \({number} recording, {number} d"
    assert re.match(timed, said[2])
    assert said[3] == "analysis (trained): starting"
    run_study(model, out=tmp_path, **arguments)
    assert "plan: all stages are there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "said"),
    [
        *[(0, "0 kB"), (12_345, "12 kB"), (2.34e6, "2.34 MB"), (25e9, "25 GB")],
        *[(1.2e12, "1.2 TB"), (7.3e18, "7,300,000 TB")],
    ],
)
def test_sizes_can_be_read(size, said):
    assert numerals.size(size) == said
