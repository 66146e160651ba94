"""Commands that pages print are commands: the parsers take them, targets and extras are there."""

import importlib.util
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

import bench.__main__
from synkern import cli

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(?:sh)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
STARTS = ("synkern", "python", "make", "pip", ".ci/run")
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "kernels/**/*.md")
    for page in ROOT.glob(pattern)
    if "_build" not in page.parts
)
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def commands(page: Path) -> list[list[str]]:
    """Words of each command of a page, without what is said of it and where its output goes."""
    text = re.sub(r"^```[\w{].*?^```", keep_sh, page.read_text("utf-8"), flags=re.M | re.S)
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    split = [shlex.split(line.partition(" > ")[0], comments=True) for line in lines]
    return [words for words in split if words and words[0] in STARTS]


def keep_sh(block: re.Match[str]) -> str:
    """Blocks of other languages go, so that none of their ends begins a block."""
    return block[0] if block[0].startswith("```sh\n") else ""


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, *rest = words
    if program == "synkern":
        parsed_by_synkern(rest)
    elif program == "python" and rest[:2] == ["-m", "bench"]:
        parsed_by_bench(rest[2:], monkeypatch)
    elif program == "python":
        assert rest[0] == "-m"
        found = importlib.util.find_spec(rest[1])
        assert found is not None
        if found.submodule_search_locations:
            found = importlib.util.find_spec(f"{rest[1]}.__main__")
        source = Path(found.origin).read_text("utf-8")
        assert [word for word in rest if word.startswith("--") and f'"{word}"' not in source] == []
    elif program == "make":
        assert {word for word in rest if "=" not in word} <= TARGETS
    elif program == "pip":
        assert rest[0] in ("install", "download")
        for word in rest[1:]:
            named = re.fullmatch(r"(?:\.|synkern)\[([\w,-]+)\]", word)
            asked = set(named[1].split(",")) if named else set()
            assert asked <= set(PROJECT["optional-dependencies"])
    else:
        assert (ROOT / program).is_file()


def parsed_by_synkern(words: list[str]) -> None:
    parser = cli._parser()
    if "--print-completion" in words:
        assert words[1] in ("bash", "zsh", "tcsh")
    elif words != ["--help"]:
        assert parser.parse_known_args(words)[1] == []


def parsed_by_bench(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parser calls what it has parsed; here that is told by name, and not run."""
    said = []
    called = getattr(bench.__main__, words[0])
    monkeypatch.setattr(bench.__main__, words[0], lambda options: said.append(options) or 0)
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert bench.__main__.main() == 0
    assert len(said) == 1
    monkeypatch.setattr(bench.__main__, words[0], called)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_there(page, monkeypatch, capsys):
    for words in commands(page):
        try:
            check(words, monkeypatch)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")


def test_a_wrong_command_is_found(monkeypatch, capsys):
    for line in ("synkern study --models X", "make nothing", "python -m bench smok"):
        with pytest.raises((SystemExit, AssertionError, AttributeError)):
            check(line.split(), monkeypatch)
    capsys.readouterr()


def test_there_are_commands_of_every_kind():
    found = [words for page in PAGES for words in commands(page)]
    assert {words[0] for words in found} == set(STARTS)
    assert len(found) > 40
