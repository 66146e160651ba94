"""What cannot be trained, and what is said of it, before anything is."""

import importlib.util

import pytest

from support.tiny_tuning import LINES, tune, written
from synkern._locks import FolderLock
from synkern.cli import main
from synkern.study import ArgumentError, MissingPackageError, StudyError
from synkern.study.experiments.tuning import experiment
from synkern.study.folder import LOCK
from synkern.training.tuning.rewards import Reward

pytestmark = pytest.mark.usefixtures("trl", "datasets")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return written(tmp_path_factory.mktemp("tasks") / "tasks.jsonl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"conditions": ("none",)},
            r"conditions = \('none',\): nothing would train; give at least",
        ),
        ({"conditions": ("best",)}, "conditions = 'best'; choose from synergy, redundancy"),
        ({"conditions": ("all", "all")}, r"conditions = \('all', 'all'\); name each once"),
        ({"batch_size": 3}, "batch_size = 3 of the 4 texts of a step; give a divisor"),
        ({"learning_rate": 0.0}, "learning_rate: 0.0; give a number, above 0"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0; give a number of at least 0"),
        ({"clip": 0.0}, "clip: 0.0; give a number, above 0"),
        ({"temperature": 0.0}, "temperature: 0.0; give a number, above 0"),
        ({"share": 0.0}, "share: 0.0 of 8 nodes; give a number between 0 and 1"),
        ({"share": 1.0}, "share: 1.0 of 8 nodes"),
        ({"checks": 5}, "checks: 5 in 4 steps; give at most one a step"),
        ({"method": "dpo"}, "method = 'dpo'; choose from sft, grpo"),
        ({"method": "grpo", "generations": 3}, "generations: 3 answers to a problem, 4 in a step"),
        ({"seeds": 0}, "seeds = 0; give an integer of at least 1"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"ranking": "guess"}, "ranking = 'guess'"),
        ({"levels": (7,)}, r"levels = \(7,\).*there is none for train \(train: 0"),
        ({"categories": ("why",)}, "there is none for (validation|test)"),
        ({"tasks": "builtin", "levels": (9,)}, "levels must be one of 1, 2, 3, 4, 5"),
    ],
)
def test_options_that_cannot_be_used(copy, tasks, options, message, untrained, monkeypatch):
    monkeypatch.setattr(experiment.FinishedStudy, "model", None)  # is not loaded for it
    with pytest.raises(ArgumentError, match=message):
        tune(copy, options.pop("tasks", tasks), **options)
    assert not untrained


def test_tasks_that_cannot_be_used(copy, tmp_path, unreported):
    with pytest.raises(OSError, match="nowhere"):
        tune(copy, tmp_path / "nowhere")
    other = tmp_path / "other"
    other.write_text("{\n", "utf-8")
    with pytest.raises(ArgumentError, match="line 1: not JSON"):
        tune(copy, other)
    some = [line for line in LINES if line["question"] != "the tree"]
    long = written(tmp_path / "long", [*some, LINES[0] | {"question": "the cat " * 100}])
    for method in ("sft", "grpo"):
        with pytest.raises(StudyError, match=r"cannot be trained on these tasks: tasks: .* tokens"):
            tune(copy, long, method=method)
    with pytest.raises(StudyError, match="200 may follow, while the model was made for 128"):
        tune(copy, written(tmp_path / "fine"), max_new_tokens=200)


def test_keys_and_values_of_half_a_group_are_refused_before_any_run(copy, tasks, untrained):
    with pytest.raises(StudyError, match="kv: True, but L.H. shares keys and values"):
        tune(copy, tasks, conditions=("all", "random"), share=0.25, kv=True)
    assert not untrained


def test_a_folder_that_another_process_is_at_work_in_is_refused(copy, tasks):
    with (
        FolderLock(copy, LOCK, "study"),
        pytest.raises(StudyError, match="another study is at work there"),
    ):
        tune(copy, tasks)


@pytest.mark.parametrize("package", ["trl", "datasets", "scipy"])
def test_a_missing_package_names_the_extra(package, copy, tasks, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == package else find(name)
    )
    message = rf"'{package}', of the extra 'train': pip install .synkern\[train\]"
    with pytest.raises(MissingPackageError, match=message):
        tune(copy, tasks)


def test_a_rate_that_is_too_high_is_named(copy, tasks, unreported, monkeypatch):
    monkeypatch.setattr(Reward, "_of", lambda self, task, text, ids: float(sum(ids) % 3))
    message = r"cannot be trained on these tasks: learning_rate: 9e\+18 is too high: after step"
    for method in ("sft", "grpo"):
        given = {"warmup": 0.0, "weight_decay": 10.0, "temperature": 3.0}
        with pytest.raises(StudyError, match=message):
            tune(copy, tasks, method=method, learning_rate=9e18, **given)


def test_it_has_a_command(copy, tasks, capsys, untrained):
    line = ["tune", "--out", str(copy), "--tasks", str(tasks), "--template", "{problem}"]
    line += ["--max-new-tokens", "2", "--seeds", "1", "--no-again", "--conditions", "synergy"]
    assert main([*line, "--texts", "8", "--batch-size", "4", "--quiet"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("By supervised training (SFT), weights selected by validation: ")
    assert printed[1].startswith("accuracy after supervised training (SFT), % of ")
    assert [row.split()[0] for row in printed[3:5]] == ["before", "synergy"]
    assert (untrained[0].batch_size, untrained[0].method.texts) == (4, 8)
    assert main([*line, "--share", "0"]) == 2
    assert "share: 0.0 of 8 nodes" in capsys.readouterr().err
    assert main([*line, "--learning-rate", "0"]) == 2
    assert main(["tune", "--out", str(copy / "none")]) == 1
    assert "there is no study" in capsys.readouterr().err
