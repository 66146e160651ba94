"""What a study shows on standard error: messages above bars, and neither where none is wanted."""

import io
import sys

import pytest

from synkern.study.checks import checked
from synkern.study.settings import StudyOptions

BARS = "\r"


class Screen(io.StringIO):
    def isatty(self):
        return True


def settings(**options):
    return checked(StudyOptions("model", out="out", **options))


def test_a_message_leaves_a_bar_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    said = settings()
    with said.bar("answering", 2, "token") as bar:
        bar.update(2)
        said.say("half is done")
    # A terminal shows of each line what comes after the last return to its beginning.
    shown = [line.rpartition(BARS)[2] for line in screen.getvalue().split("\n")]
    assert shown[0] == "half is done"
    assert shown[1].startswith("answering: 100%|")
    assert shown[2:] == [""]


def test_a_log_has_messages_without_bars(monkeypatch):
    monkeypatch.setattr(sys, "stderr", log := io.StringIO())
    said = settings()
    with said.bar("answering", 2, "token") as bar:
        bar.update(2)
        said.say("half is done")
    assert log.getvalue() == "half is done\n"


def test_who_wants_no_progress_sees_neither(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    said = settings(progress=False)
    with said.bar("answering", 2, "token") as bar:
        bar.update(2)
        said.say("half is done")
    assert screen.getvalue() == ""


class Full(io.StringIO):
    def write(self, _):
        raise OSError("No space left on device")


@pytest.mark.parametrize("stream", [None, Full()])
def test_a_study_goes_on_without_a_reader(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    settings().say("nobody hears this")
