"""The command: what it prints, and that no mistake of a user ends in a traceback."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import transformers as tf

import synkern
from support import tiny_study
from synkern import cli
from synkern.analysis.profile import MEANS
from synkern.cli import main
from synkern.decomposition import BACKENDS
from synkern.study.models import Models
from synkern.study.prompts import Prompt


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_study.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(tiny_study.PROMPTS))
    return file


@pytest.fixture
def changed(model, tmp_path):
    """A copy of the model's folder, to be damaged."""
    return shutil.copytree(model, tmp_path / "changed")


def study(*arguments):
    return main(["study", "--device", "cpu", "--bootstrap", "100", *map(str, arguments)])


def test_a_study_ends_with_its_numbers_and_the_report(model, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--model", model, "--out", out, "--prompts", prompts, "--new-tokens", 36)
    assert study(*arguments) == 0
    printed = capsys.readouterr().out
    number = r"[+-]\d\.\d{4}"
    interval = rf"\[{number}, {number}\]"
    slope = rf"(?:{interval}|too few layers) +"
    rows = re.findall(
        rf"^  (trained|random) +(\w+) +{number} {interval}  before {slope}after {slope}"
        r"((?:no )?inverted U|\d+ % missing) +p = ",
        printed,
        re.MULTILINE,
    )
    assert [row[:2] for row in rows] == [
        (weights, ranking)
        for weights in ("trained", "random")
        for ranking in (*synkern.RANKINGS, *MEANS)
    ]
    assert printed.endswith(f"report: {out / 'report.html'}\n")
    # The three sentences that the page begins with.
    summary = json.loads((out / "study.json").read_text())["summary"]
    assert printed.startswith("\n".join(summary) + "\n\n")
    assert [sentence.split()[0] for sentence in summary] == ["Studied:", "From", "Not"]
    assert (out / "report.html").is_file()

    assert study(*arguments, "--no-control", "--quiet") == 0
    quiet = capsys.readouterr()
    assert "random" not in quiet.out
    assert quiet.err == ""


def test_the_options_of_the_decomposition_reach_the_study(model, prompts, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ("--model", model, "--out", out, "--prompts", prompts, "--new-tokens", 36)
    options = ("--kind", "discrete", "--redundancy", "CCS", "--detrend", "difference")
    nulled = ("--null", "circular", "--null-draws", "19", "--no-control", "--quiet")
    assert study(*arguments, *options, *nulled) == 0
    printed = capsys.readouterr().out
    assert re.search(
        "^no excess synergy, trained: .*used discrete with CCS$", printed, re.MULTILINE
    )
    assert re.search(
        r"^pairs that differ from null circular .*, trained: sts \d+\.\d% .*, rtr \d", printed, re.M
    )
    parameters = json.loads((out / "study.json").read_text())["parameters"]
    chosen = {"kind": "discrete", "redundancy": "CCS", "average": "trials"}
    chosen |= {"detrend": "difference", "null": "circular", "null_draws": 19}
    assert parameters.items() >= chosen.items()
    assert study(*arguments, "--average", "moments", "--no-control", "--quiet") == 0
    assert "average moments" in capsys.readouterr().out


def test_a_fresh_study_can_be_quiet(model, prompts, tmp_path):
    command = [sys.executable, "-m", "synkern", "study", "--quiet", "--no-control"]
    command += ["--device", "cpu", "--bootstrap", "100", "--new-tokens", "36"]
    command += ["--model", model, "--prompts", str(prompts), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "report: " in done.stdout


def test_quiet_leaves_the_bars_of_transformers_as_they_were(model, prompts, tmp_path, monkeypatch):
    logging = tf.utils.logging
    arguments = ("--quiet", "--model", model, "--prompts", prompts, "--new-tokens", 36)
    seen = []

    def load(*args, **kwargs):
        seen.append(logging.is_progress_bar_enabled())
        raise OSError("no")

    monkeypatch.setattr("synkern.models.load", load)
    before = logging.is_progress_bar_enabled()
    try:
        for enabled in (True, False):
            (logging.enable_progress_bar if enabled else logging.disable_progress_bar)()
            assert study(*arguments, "--out", tmp_path / "out") == 1
            assert logging.is_progress_bar_enabled() == enabled
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
    assert seen == [False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tau", "0"], "tau = 0; give an integer of at least 1"),
        *(
            ([f"--{name}", "9" * 400, "--null", "phase"], "99; give an integer of at most 9")
            for name in ("new-tokens", "bootstrap", "batch-size", "null-draws", "max-prompts")
        ),
        (["--new-tokens", "5", "--tau", "3"], "new_tokens = 5 with tau = 3 leaves 2 samples"),
        (["--backend", "abacus"], "abacus"),
        (["--dtype", "int4"], "dtype = 'int4'; choose from"),
        (["--bootstrap", "3"], "bootstrap = 3"),
        (["--seed", "9" * 23], "give an integer of at most 18446744073709551615"),
        (["--device", "meta"], "device = 'meta' cannot be used here"),
        (["--kind", "binary"], "kind = 'binary'; choose from gaussian, discrete"),
        (["--null-draws", "50"], "null_draws = 50 but null = 'none'"),
        (["--new-tokens", "1000000000"], "new_tokens = 1000000000 for each of 60 prompts takes at"),
        (["--model", ""], "model = '' is no name"),
        (["--model", "a\0b"], r"model = 'a\x00b' is no name"),
        (["--model", "m\udcff"], r"model = 'm\udcff' is no name"),
        (["--out", ""], "out = '' is no name of a folder"),
        (["--out", "a\0b"], r"out = 'a\x00b' is no name of a folder"),
    ],
)
def test_a_bad_argument_ends_with_code_2(tmp_path, capsys, arguments, message):
    assert study("--out", tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("synkern: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without mps")
def test_a_device_that_is_not_there_is_one_line(tmp_path, capsys):
    assert study("--out", tmp_path, "--device", "mps") == 2
    error = capsys.readouterr().err
    assert error.startswith("synkern: error: device = 'mps' cannot be used here")
    assert error.count("\n") == 1


def fails_in_one_line(changed, prompts, tmp_path, capsys, message):
    arguments = ("--model", changed, "--prompts", prompts, "--new-tokens", 36, "--quiet")
    assert study(*arguments, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith("synkern: error: ")
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_truncated_weights_are_one_line(changed, prompts, tmp_path, capsys):
    file = changed / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    fails_in_one_line(changed, prompts, tmp_path, capsys, r"changed' cannot be loaded \(")


@pytest.mark.parametrize(
    "template", ["{% if %}", "{{ raise_exception('a system role is needed') }}"]
)
def test_a_malformed_chat_template_is_one_line(template, changed, prompts, tmp_path, capsys):
    tokenizer = tf.AutoTokenizer.from_pretrained(changed)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(changed)
    fails_in_one_line(changed, prompts, tmp_path, capsys, "the chat template of model .*changed'")


def test_a_tokenizer_that_cannot_pad_is_one_line(changed, prompts, tmp_path, capsys):
    tokenizer = tf.AutoTokenizer.from_pretrained(changed)
    tokenizer.pad_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(changed)
    fails_in_one_line(changed, prompts, tmp_path, capsys, "neither a padding token nor an end")


@pytest.mark.parametrize("kind", [TypeError, ValueError, ImportError, KeyError])
def test_a_bug_keeps_its_traceback(kind, model, prompts, tmp_path, monkeypatch):
    def bug(*args, **kwargs):
        raise kind("unsupported operand")

    monkeypatch.setattr("synkern.recording.record_answers", bug)
    with pytest.raises(kind, match="unsupported operand"):
        study("--model", model, "--prompts", prompts, "--quiet", "--out", tmp_path / "out")


def test_a_missing_extra_is_one_line(model, tmp_path, capsys, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *args: None if name == "jinja2" else find_spec(name, *args),
    )
    assert study("--model", model, "--out", tmp_path) == 1
    error = capsys.readouterr().err
    assert "'jinja2'" in error
    assert error.count("\n") == 1


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
    assert study("--out", tmp_path, "--prompts", "") == 1
    assert "'' is no name of a file" in capsys.readouterr().err
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


@pytest.fixture(scope="module")
def environment():
    """Of a process of its own, which finds the package wherever it is."""
    return os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(synkern.__file__))}


@pytest.mark.parametrize("arguments", [["study", "--help"], ["--version"], ["backends"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_an_output_that_cannot_be_written_is_one_line(arguments, unbuffered, environment):
    environment = environment | {"PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "synkern", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert done.returncode == 1
    assert done.stderr == (
        "synkern: error: standard output cannot be written to (No space left on device)\n"
    )


def test_a_reader_that_has_gone_is_told_nothing(environment):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "synkern", "backends"]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=environment
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


def test_threads_of_torch_sleep_while_they_wait(environment, tmp_path):
    """OpenMP is told before torch loads it, unless the user has told it otherwise."""
    line = [sys.executable, "-m", "synkern", "study", "--model", str(tmp_path), "--out", "out"]
    for said, shown in ((None, "PASSIVE"), ("active", "ACTIVE")):
        given = {**environment, "OMP_DISPLAY_ENV": "true"} | (
            {"OMP_WAIT_POLICY": said} if said else {}
        )
        if said is None:
            given.pop("OMP_WAIT_POLICY", None)
        done = subprocess.run(
            line, cwd=tmp_path, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert f"OMP_WAIT_POLICY = '{shown}'" in done.stderr


def test_help_and_mistakes_do_not_wait_for_torch(environment):
    program = (
        "import sys\nfrom synkern.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print({'torch', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    for arguments in (
        ["--help"],
        ["study", "--help"],
        ["study"],
        ["ablate", "--help"],
        ["perturb", "--help"],
        ["tune", "--help"],
        ["--version"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stderr.endswith("set()\n")


def test_code_of_others_runs_only_where_it_is_asked_for(prompts, tmp_path, monkeypatch, capsys):
    given = []

    def load(*args, **kwargs):
        given.append(kwargs.get("trust_remote_code", False))
        raise ValueError("has custom code")

    monkeypatch.setattr("synkern.models.load", load)
    arguments = ("--model", "evil", "--prompts", prompts, "--quiet", "--out", tmp_path / "out")
    assert study(*arguments) == study(*arguments, "--trust-remote-code") == 1
    assert given == [False, True]


def test_what_the_output_cannot_show_is_escaped(capsysbinary, monkeypatch):
    class Narrow:
        encoding = "ascii"
        text = ""

        def write(self, text):
            self.text += text.encode("ascii").decode()

        def flush(self):
            pass

    narrow = Narrow()
    monkeypatch.setattr(sys, "stdout", narrow)
    cli._print(["sts \u2212 rtr", "out\udcff"])
    assert narrow.text == "sts \\u2212 rtr\nout\\udcff\n"


def test_a_log_that_cannot_be_written_does_not_stop_a_study(monkeypatch):
    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        def flush(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    tiny_study.settings_of(progress=True).say("on its way")
    assert main(["study", "--out", ""]) == 2


def test_a_model_is_loaded_with_a_log_that_cannot_be_written(model, monkeypatch):
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        prompts = (Prompt("", "the cat"),)
        shape = Models(tiny_study.settings_of(model=model, asked=prompts, progress=True)).inspect()
        monkeypatch.undo()
    assert shape.nodes == 8


def test_without_standard_error_messages_do_not_go_to_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    tiny_study.settings_of(progress=True).say("on its way")
    assert main(["study", "--out", ""]) == 2
    assert capsys.readouterr().out == ""


def test_the_version_is_printed_and_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "synkern", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"synkern {synkern.__version__}\n"


def test_the_core_needs_none_of_the_extras():
    heavy = {"transformers", "matplotlib", "jinja2"}  # torch itself imports tqdm if it can
    program = (
        "import sys, synkern.cli, synkern.analysis.profile, synkern.study.run\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
