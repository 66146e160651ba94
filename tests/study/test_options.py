"""Options of a study stand once: call, command, both helps and stages have them from there."""

import inspect
import re

import pytest

from synkern import study
from synkern.analysis import NULLS
from synkern.cli import main
from synkern.decomposition import PREPROCESSING
from synkern.study.options import options_of
from synkern.study.settings import NONE
from synkern.study.stage import steps_of
from synkern.study.stages import STAGES

OPTIONS = {one.name: (one, option) for one, option in options_of(study.StudyOptions)}
# For each option what a command may be given, and what the call is given then.
GIVEN = {
    "model": (["--model", "mine"], "mine"),
    "out": ([], "here"),
    "nodes": (["--nodes", "experts"], "experts"),
    "signal": (["--signal", "gate"], "gate"),
    "prompts": (["--prompts", "file"], "file"),
    "max_prompts": (["--max-prompts", "3"], 3),
    "texts_of": (["--texts-of", "there"], "there"),
    "new_tokens": (["--new-tokens", "40"], 40),
    "tau": (["--tau", "2"], 2),
    "kind": (["--kind", "discrete"], "discrete"),
    "redundancy": (["--redundancy", "CCS"], "CCS"),
    "pairs": (["--pairs", "averaged"], "averaged"),
    "average": (["--average", "moments"], "moments"),
    "detrend": (["--detrend", "linear"], "linear"),
    "null": (["--null", "phase"], "phase"),
    "null_draws": (["--null-draws", "20"], 20),
    "seed": (["--seed", "4"], 4),
    "control": (["--no-control"], False),
    "backend": (["--backend", "numpy"], "numpy"),
    "dtype": (["--dtype", "float16"], "float16"),
    "device": (["--device", "cuda:1"], "cuda:1"),
    "batch_size": (["--batch-size", "5"], 5),
    "bootstrap": (["--bootstrap", "200"], 200),
    "trust_remote_code": (["--trust-remote-code"], True),
    "progress": (["--quiet"], False),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_command_gives_the_call_what_it_is_given_and_nothing_else(name, monkeypatch):
    given = []

    def run_study(**arguments):
        given.append(arguments)
        raise study.StudyError("that is all")

    monkeypatch.setattr("synkern.study.run_study", run_study)
    words, value = GIVEN[name]
    assert main(["study", "--out", "here", *words]) == 1
    assert given == [{"out": "here", name: value}]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_call_and_both_helps_show_every_option(name, capsys):
    field, option = OPTIONS[name]
    parameter = inspect.signature(study.run_study).parameters[name]
    required = name == "out"
    assert (parameter.default is parameter.empty) == required
    assert required or parameter.default == field.default
    assert re.search(
        rf"^        {name}: {re.escape(option.help[:20])}", study.run_study.__doc__, re.M
    )
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    flag = (GIVEN[name][0] or ["--out"])[0]
    said = option.off or option.help
    assert re.search(rf"{flag} (\S+ )?{re.escape(said)}", printed)
    for choice in option.choices:
        assert choice in printed
        assert f'"{choice}"' in study.run_study.__doc__


def test_only_the_model_may_be_given_without_its_name():
    kinds = {p.name: p.kind for p in inspect.signature(study.run_study).parameters.values()}
    assert kinds.pop("model") == inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds.values()) == {inspect.Parameter.KEYWORD_ONLY}
    assert inspect.signature(study.run_study).return_annotation == "Study"
    for arguments, named in ((("m", "out"), {}), ((), {"out": "o", "no_such": 1}), ((), {})):
        with pytest.raises(TypeError, match=r"run_study\(\) .*(positional|no_such|'out')"):
            study.run_study(*arguments, **named)


def test_choices_are_those_of_the_library():
    assert OPTIONS["detrend"][1].choices == (NONE, *PREPROCESSING)
    assert OPTIONS["null"][1].choices == (NONE, *NULLS)


def test_options_name_stages_that_there_are():
    steps = steps_of(STAGES, ("trained", "random"))
    known = {step.name for step in steps} | {stage.name for stage in STAGES}
    for _, option in OPTIONS.values():
        assert set(option.stages) <= known
