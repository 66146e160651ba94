"""The command: from a file to a report, what it prints, and its exit codes."""

import numpy as np
import pytest

from synkern import study
from synkern.cli import main


@pytest.fixture
def table(tmp_path):
    series = np.random.default_rng(0).standard_normal((80, 4)).cumsum(0)
    file = tmp_path / "regions.npy"
    np.save(file, series)
    return file


QUICK = ("--null-draws", "19", "--bootstrap", "100", "--quiet")


def test_from_a_file_to_a_report(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["decompose", str(table), "--out", str(out), "--step", "2", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Decomposed: all 6 pairs of the 4 nodes of regions.npy, 1 trial of 80"
    )
    assert printed.endswith(f"report: {out / 'report.html'}\n")
    page = (out / "report.html").read_text()
    for sentence in printed.splitlines()[:3]:
        assert sentence.replace("'", "&#39;") in page
    assert "4 nodes; lag 1 (2 s)." in " ".join((out / "explore.html").read_text().split())
    assert page.count("<b>Can show</b>") == page.count("<b>Cannot show</b>") == page.count("<img")


def test_a_plan_is_printed(table, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["decompose", str(table), "--out", str(out), "--plan", *QUICK]) == 0
    assert capsys.readouterr().out.startswith("plan: 1 trial with 80 valid samples, 4 nodes")
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["missing.npy"], "missing.npy"),
        (["--columns", "nowhere"], "nowhere"),
        (["--tau", "79"], "leave 1 pairs of a past and a future"),
        (["--kind", "other"], "choose from gaussian, discrete"),
    ],
)
def test_what_cannot_be_used_ends_with_2(given, message, table, tmp_path, capsys):
    files = [str(table)] if given[0].startswith("--") else []
    code = main(["decompose", *files, *given, "--out", str(tmp_path / "out"), *QUICK])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("synkern: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_an_interruption_says_how_to_go_on(table, tmp_path, capsys, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "decompose_data", interrupted, raising=False)
    out = tmp_path / "out"
    assert main(["decompose", str(table), "--out", str(out), *QUICK]) == 130
    kept = f"finished steps are kept in {out}: run the same command to go on"
    assert kept in capsys.readouterr().err
