"""`bench.gpu.check`: what a stage does to its process is lost, and nothing else.

The stages are those of `support.gpu_stages`, in the places of the real ones.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.gpu import journal
from bench.gpu.check import ROOT, _check_origin, check
from bench.gpu.stages import STAGES, Stage
from support.gpu_stages import BAD


@pytest.fixture(autouse=True)
def _support(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


def stage(function, name=None, **options):
    defaults = {"value": 1, "seconds": 60, "longest": 20.0}
    return Stage(name or function, function=f"support.gpu_stages:{function}", **defaults | options)


def lines(folder, name):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_what_happens_to_an_item_is_lost_alone(tmp_path):
    found = check([stage("each", longest=2)], tmp_path, 60)["each"]
    assert found["done"] == ["first", *(f"after {name}" for name in BAD)]
    assert found["passed"] is False
    assert found["left out"] == 0
    errors = found["errors"]
    assert list(errors) == list(BAD)
    assert errors["killed"] == "lost: killed by signal SIGKILL"
    assert errors["aborted"] == "lost: killed by signal SIGABRT"
    assert errors["hung"] == "lost: hung: nothing for 2 s"
    assert errors["left"] == "lost: exit status 7; see each.log"
    assert errors["raised"].endswith("RuntimeError: of this item alone\n")
    assert "illegal memory access" in errors["illegal"]


# One that hangs takes its time: of these there are fewer.
@pytest.mark.parametrize(("how", "longest", "every"), [("killed", 30, 2), ("hung", 2, 6)])
def test_every_stage_of_the_table_loses_only_its_own(tmp_path, how, longest, every):
    """The real table, with its order and its stages beside, in which some are bad."""
    bad = {real.name for real in STAGES[1::every]}
    table = [
        replace(
            real,
            function=f"support.gpu_stages:{'one_' + how if real.name in bad else 'fine'}",
            longest=longest,
            seconds=60,
        )
        for real in STAGES
    ]
    found = check(table, tmp_path, 300)
    assert found.keys() == {real.name for real in STAGES}
    for name, result in found.items():
        if name in bad:
            assert list(result["errors"]) == [how], name
            assert result["done"] == ["before", "after"], name
        else:
            assert "errors" not in result, name
            assert result["done"] == ["one", "two"], name
            assert result["not run"] == "no GPU"


@pytest.mark.parametrize("function", ["no_plan", "dying_plan"])
def test_a_stage_that_cannot_begin_says_so(tmp_path, function):
    found = check([stage(function), stage("fine")], tmp_path, 30)
    assert list(found[function]["errors"]) == ["the plan"]
    assert found[function]["passed"] is False
    assert found["fine"]["done"] == ["one", "two"]


def test_what_cannot_run_here_is_tried_again_and_a_wrong_result_fails(tmp_path):
    for _ in range(2):
        found = check([stage("no_gpu"), stage("wrongly")], tmp_path, 30)
        assert found["no_gpu"]["not run"] == "no GPU"
        assert "passed" not in found["no_gpu"]
        assert found["wrongly"]["passed"] is False
        assert found["wrongly"]["done"] == ["one", "wrong"]
    assert sum("not run" in line for line in lines(tmp_path, "no_gpu")) == 2
    assert sum("result" in line for line in lines(tmp_path, "wrongly")) == 2


def test_calls_go_on_where_the_last_ended(tmp_path, capsys):
    calls = 0
    while True:
        found = check([stage("many", seconds=2)], tmp_path, 30)["many"]
        calls += 1
        if not found["left out"]:
            break
        assert found["not reached"][0] in capsys.readouterr().out
    assert calls > 1
    assert sorted(found["done"]) == [f"item {k:02}" for k in range(12)]
    # One that was running when a call ended runs once more.
    ran = [(tmp_path / f"item {k:02}.ran").read_text() for k in range(12)]
    assert max(map(len, ran)) <= 2
    assert sum(map(len, ran)) <= 12 + calls - 1


def test_the_most_valuable_is_first_and_what_is_not_reached_is_named(tmp_path, capsys):
    stages = [stage("fine", value=1), stage("slow", value=5, longest=60)]
    found = check(stages, tmp_path, 2)
    assert found["slow"]["not reached"] == ["slow"]
    assert found["fine"]["not reached"] == ["fine"]
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["slow", "fine"]
    assert "not reached" in said[1]
    assert not (tmp_path / "fine.jsonl").exists()
    # The first took all of a call; in a second it counts as lost, and the other comes to its turn.
    check([stages[1]], tmp_path, 2)
    found = check(stages, tmp_path, 30)
    assert found["slow"]["errors"] == {"slow": "lost: not ended in 2 attempts"}
    assert found["fine"]["done"] == ["one", "two"]


def test_processes_beside_share_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    found = check([stage("many", beside=True), stage("fine")], tmp_path, 30)
    assert sorted(found["many"]["done"]) == [f"item {k:02}" for k in range(12)]
    assert all((tmp_path / f"item {k:02}.ran").read_text() == "x" for k in range(12))


def test_a_line_cut_short_counts_as_a_start(tmp_path):
    path = tmp_path / "x.jsonl"
    for line in ({"plan": ["a", "b"]}, {"start": "a"}):
        journal.append(path, line)
    path.write_text(path.read_text() + '{"item": "a", "resu')
    found = journal.read(path)
    assert (found.left, found.running, found.starts) == (["a", "b"], ["a"], {"a": 1})
    journal.append(path, {"item": "b", "seconds": 1.0, "result": {}})
    assert journal.read(path).ended.keys() == {"b"}


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are read in /proc")
def test_when_the_check_is_killed_its_stage_ends_and_the_next_call_goes_on(tmp_path):
    code = (
        "import sys; from pathlib import Path; from bench.gpu.check import check\n"
        "from bench.gpu.stages import Stage\n"
        "check([Stage('slow', 1, 60, 'support.gpu_stages:slow')], Path(sys.argv[1]), 60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT)
    path = tmp_path / "slow.jsonl"
    end = time.monotonic() + 30
    while not path.exists() or len(lines(tmp_path, "slow")) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    marked = str(tmp_path).encode()
    while any(marked in command for command in _commands()):
        assert time.monotonic() < end, "the process of the stage lives on"
        time.sleep(0.05)
    found = check([stage("slow", longest=2)], tmp_path, 30)["slow"]
    assert found["errors"] == {"slow": "lost: hung: nothing for 2 s"}


def _commands():
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"bench.gpu.stage" in (command := path.read_bytes()):
                yield command


def test_results_of_other_sources_or_another_gpu_are_refused(tmp_path):
    _check_origin(tmp_path)
    _check_origin(tmp_path)
    mark = tmp_path / "origin.json"
    there = json.loads(mark.read_text())
    mark.write_text(json.dumps(there | {"gpu": "another"}))
    with pytest.raises(ValueError, match=r"other gpu \('another'.*name another folder"):
        _check_origin(tmp_path)


def test_the_check_itself_never_holds_the_device():
    """It imports nothing that could: whoever does may be killed."""
    code = "import sys, bench.gpu.check; print({'torch', 'numpy', 'synkern'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_each_stage_of_the_table_is_there():
    """Names, and functions that the process of a stage would look up."""
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    for each in STAGES:
        module, _, function = each.function.partition(":")
        path = ROOT / f"{module.replace('.', '/')}.py"
        assert f"def {function}(" in path.read_text(), each
        assert each.longest <= each.seconds or each.seconds < 60, each
