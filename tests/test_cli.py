"""The command: what it prints, and that no mistake of a user ends in a traceback."""

import re
import subprocess
import sys

import pytest
import tiny_study
import torch

import synkern
from synkern.backends import BACKENDS
from synkern.cli import main


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_study.save_model(tmp_path_factory.mktemp("model"))


def study(*arguments):
    return main(["study", "--device", "cpu", "--bootstrap", "100", *map(str, arguments)])


def test_a_study_ends_with_its_numbers_and_the_report(model, tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(tiny_study.PROMPTS))
    out = tmp_path / "out"
    arguments = ("--model", model, "--out", out, "--prompts", prompts, "--new-tokens", 36)
    assert study(*arguments) == 0
    printed = capsys.readouterr().out
    number = r"[+-]\d\.\d{3}"
    rows = re.findall(
        rf"^  (trained|random) +(\w+) +{number} \[{number}, {number}\]  (no )?inverted U +p = ",
        printed,
        re.MULTILINE,
    )
    assert [row[:2] for row in rows] == [
        (weights, ranking) for weights in ("trained", "random") for ranking in synkern.RANKINGS
    ]
    assert printed.endswith(f"report: {out / 'report.html'}\n")
    assert (out / "report.html").is_file()

    assert study(*arguments, "--no-control", "--quiet") == 0
    quiet = capsys.readouterr()
    assert "random" not in quiet.out
    assert quiet.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tau", "0"], "tau = 0; give an integer of at least 1"),
        (["--new-tokens", "5", "--tau", "3"], "new_tokens = 5 with tau = 3 leaves 2 samples"),
        (["--backend", "abacus"], "abacus"),
        (["--dtype", "int4"], "dtype = 'int4'; choose from"),
        (["--bootstrap", "3"], "bootstrap = 3"),
    ],
)
def test_a_bad_argument_ends_with_code_2(tmp_path, capsys, arguments, message):
    assert study("--out", tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("synkern: error: ")
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [[], ["study"], ["study", "--out", "x", "--tau", "one"], ["study", "--nonsense"], ["paint"]],
)
def test_argparse_refuses_what_it_cannot_read(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_foreign_folder_or_a_missing_file_ends_with_code_1(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert study("--out", tmp_path) == 1
    assert "no study.npz" in capsys.readouterr().err
    assert study("--out", tmp_path, "--prompts", tmp_path / "absent.txt") == 1
    assert "no file" in capsys.readouterr().err
    assert study("--out", tmp_path / "new", "--model", tmp_path / "absent") == 1
    assert "absent" in capsys.readouterr().err


def test_backends_lists_every_one_and_what_would_help(capsys):
    assert main(["backends"]) == 0
    printed = capsys.readouterr().out
    for backend in BACKENDS:
        status = backend.status()
        row = next(line for line in printed.splitlines() if line.startswith(backend.name))
        assert backend.summary in row
        assert (", ".join(status.devices) or "not here") in row
        assert status.why is None or f"{backend.name}: {status.why}" in printed
        assert status.remedy is None or status.remedy in printed


def test_the_version_is_printed_and_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "synkern", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"synkern {synkern.__version__}\n"


def test_the_core_needs_none_of_the_extras():
    heavy = {"transformers", "matplotlib", "jinja2"}  # torch itself imports tqdm if it can
    program = (
        "import sys, synkern, synkern.cli, synkern.profile, synkern.prompts, synkern.study\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
