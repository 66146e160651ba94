"""What the command says of itself: help that fits, completion, exit codes; and the citation."""

import argparse
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import synkern
from synkern import cli
from synkern.cli import main

ROOT = Path(__file__).parent.parent
PARSER = cli._parser()
(COMMANDS,) = (
    action.choices for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_window_and_says_what_each_option_is(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    parser = COMMANDS[command] if command else PARSER
    assert [action.dest for action in parser._actions if not action.help] in ([], ["command"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_has_every_command(shell, capsys):
    pytest.importorskip("shtab")
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", shell])
    assert ended.value.code == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "--new-tokens" in script or shell == "tcsh"
    if shell == "bash" and shutil.which("bash"):
        asked = f"{script}\nCOMP_WORDS=(synkern stu); COMP_CWORD=1; _shtab_synkern\n"
        asked += 'printf "%s\\n" "${COMPREPLY[@]}"\n'
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["study"]


def test_completion_says_what_it_needs(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "bash"])
    assert ended.value.code == 1
    assert "pip install 'synkern[completion]'" in capsys.readouterr().err


def test_codes_are_those_of_the_page():
    page = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert codes == ["0", "1", "2", "130"]
    for code in codes:
        assert re.search(rf"\b{code} ", PARSER.epilog)
        assert re.search(rf"\b{code} ", main.__doc__)


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert text.startswith("cff-version: 1.2.0\n")
    assert f"\nversion: {synkern.__version__}\n" in text
    assert "\nlicense: BSD-3-Clause\n" in text
