"""The folder of a study: one study at a time, and arrays only as a study has left them."""

import errno
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from support import tiny_study
from synkern import _locks
from synkern._locks import FolderInUseError, FolderLock
from synkern.study import ArgumentError, StudyError
from synkern.study.folder import LOCK, StudyFolder, _digest

HOLD = """
import sys, time
from synkern.study.folder import StudyFolder
with StudyFolder.locked(sys.argv[1]) as folder:
    (folder.path / ".unfinished-1234-study.npz").write_bytes(b"half")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process at work in `tmp_path`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def enter(path):
    with StudyFolder.locked(path) as folder:
        return folder


def test_a_second_study_is_refused_until_the_first_is_gone_however(tmp_path, holder):
    name = re.escape(f"process {holder.pid} on {socket.gethostname()!r}, for ")
    with pytest.raises(StudyError, match=rf"another study is at work there \({name}\d+ m?i?n?s?"):
        enter(tmp_path)
    holder.kill()
    holder.wait()
    # What it has left: a lock that nobody holds, and half a file.
    assert {file.name for file in tmp_path.iterdir()} == {LOCK, ".unfinished-1234-study.npz"}
    with StudyFolder.locked(tmp_path) as folder:
        assert [file.name for file in tmp_path.iterdir()] == [LOCK]
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
        folder.put("stage", {}, {"x": np.arange(3.0)})
        folder.save({})
    assert {file.name for file in tmp_path.iterdir()} == {"study.npz", "study.json"}


def test_threads_and_failures_count_as_well(tmp_path):
    with StudyFolder.locked(tmp_path):
        refused = []

        def other():
            try:
                enter(tmp_path)
            except StudyError as error:
                refused.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert f"process {os.getpid()} on" in refused[0]
    with pytest.raises(ZeroDivisionError), StudyFolder.locked(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_works_at_a_time(tmp_path):
    inside, most, entered = [], [], []

    def work(number):
        for _ in range(40):
            try:
                with FolderLock(tmp_path, LOCK, "study"):
                    inside.append(number)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.remove(number)
                    entered.append(number)
            except FolderInUseError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered
    assert set(most) == {1}


def owner(tmp_path, **changes):
    me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time() - 7300}
    (tmp_path / LOCK).write_text(json.dumps(me | changes))


FORKING = """
import os, sys
from pathlib import Path
from synkern._locks import FolderLock
with FolderLock(Path(sys.argv[1]), "lock", "study"):
    if os.fork():
        os.kill(os.getpid(), 9)
    print("a child lives on", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_a_child_that_outlives_its_parent_has_no_lock(tmp_path):
    command = [sys.executable, "-c", FORKING, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a child lives on\n"
        assert process.wait(60) != 0
        with FolderLock(tmp_path, "lock", "study"):
            assert process.stdin is not None
            process.stdin.close()
            assert process.stdout.read() == ""  # Its end leaves the lock of another in place,
            assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_machine_is_for_people_to_judge(tmp_path):
    owner(tmp_path, host="node17", pid=5)
    with pytest.raises(
        StudyError, match=r"process 5 on 'node17', for 2 h\).*no longer, remove '.*"
    ):
        enter(tmp_path)
    (tmp_path / LOCK).unlink()
    enter(tmp_path)


def test_without_locks_of_the_system_the_owner_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "_lock", lambda descriptor: None)
    owner(tmp_path)
    with pytest.raises(StudyError, match=rf"process {os.getpid()} on .*no longer, remove"):
        enter(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    owner(tmp_path, pid=ended.pid)
    enter(tmp_path)
    (tmp_path / LOCK).write_text("[" * 3000)  # nobody can be read from it
    enter(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "held"), [(errno.EWOULDBLOCK, False), (errno.ENOLCK, None), (errno.ENOSYS, None)]
)
def test_what_the_system_says_of_its_locks(number, held, monkeypatch, tmp_path):
    def refuse(*args):
        raise OSError(number, "no")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (tmp_path / "file").open("w") as file:
        assert _locks._lock(file.fileno()) is held


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, r"cannot be written to \(Permission denied\); make it writable, or"),
        (errno.ENOSPC, r"cannot be written to \(No space left on device\); make room there, or"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_found_at_once(
    number, message, tmp_path, monkeypatch
):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_locks.os, "open", refuse)
    with pytest.raises(StudyError, match=message):
        enter(tmp_path / "new")


def test_a_planted_link_is_not_followed(tmp_path):
    target = tmp_path / "mine"
    target.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    (out / LOCK).symlink_to(target)
    with pytest.raises(StudyError, match="is no file that a study has left; remove it"):
        enter(out)
    (out / LOCK).unlink()
    (out / ".unfinished-study.npz").symlink_to(target)
    with StudyFolder.locked(out) as folder:
        folder.save({})
    assert target.read_text() == "precious"


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir])
def test_what_is_no_lock_is_named_and_not_waited_for(tmp_path, plant):
    plant(tmp_path / LOCK)
    with pytest.raises(StudyError, match=r"\.study\.lock' is no file that a study has left; remo"):
        enter(tmp_path)


def test_files_have_the_rights_that_the_user_gives_files(tmp_path):
    before = os.umask(0o027)
    try:
        with StudyFolder.locked(tmp_path) as folder:
            folder.save({})
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {0o640}


# NumPy 2.0 leaves the archive to its destructor, which finds the file closed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_write_that_fails_leaves_nothing(tmp_path):
    folder = StudyFolder.open(tmp_path)
    folder.save({"a": 1})
    whole = (tmp_path / "study.npz").read_bytes()
    folder.put("stage", {}, {"x": np.array([object()])})

    class FullDiskError(Exception):
        pass

    class Full:
        def __reduce__(self):
            raise FullDiskError

    folder.arrays["x"] = np.array([Full()])
    with pytest.raises(FullDiskError):
        folder.save({})
    assert {file.name for file in tmp_path.iterdir()} == {"study.npz", "study.json"}
    assert (tmp_path / "study.npz").read_bytes() == whole


@pytest.mark.parametrize(
    ("out", "message"), [("", "'' is no name"), ("a\0b", r"'a\\x00b' is no name of a folder")]
)
def test_what_is_no_name_of_a_folder_is_refused(out, message):
    with pytest.raises(ArgumentError, match=message):
        enter(out)


def test_names_that_the_system_refuses_are_explained(tmp_path):
    with pytest.raises(StudyError, match="cannot be made or read .*too long"):
        enter(tmp_path / ("x" * 300))
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be made or read .*Not a directory"):
        enter(tmp_path / "file" / "below")


def edited(metadata, arrays):
    """Every way in which hands have been seen to change a study.npz."""
    stage = metadata["stages"]["stage"]
    yield "a stage without key", lambda: stage.pop("key")
    yield "a stage without arrays", lambda: stage.pop("arrays")
    yield "a stage that is a list", lambda: metadata["stages"].update(stage=[])
    yield "no stages", lambda: metadata.update(stages=None)
    yield "NaN in facts", lambda: stage.update(seconds=float("nan"))
    yield "a fact of another type", lambda: stage.update(nodes="8")
    yield "a short array", lambda: arrays.update(x=arrays["x"][:2])
    yield "another shape", lambda: arrays.update(x=arrays["x"].reshape(2, 3))
    yield "another type", lambda: arrays.update(x=arrays["x"].astype(np.float32))
    yield "another number", lambda: arrays.update(x=arrays["x"] + 1e-12)
    yield "one array less", lambda: arrays.pop("x")
    yield "one array more", lambda: arrays.update(z=np.zeros(1))
    yield "two arrays exchanged", lambda: arrays.update(x=arrays["y"], y=arrays["x"])
    yield "text in the place of numbers", lambda: arrays.update(x=np.array(["a"] * 6))
    yield "no digest", lambda: metadata.pop("sha256")
    yield "metadata that is a list", metadata.clear


def saved(tmp_path):
    folder = StudyFolder(tmp_path)
    arrays = {"x": np.arange(6.0), "y": np.zeros(6), "t": np.array(["a", "ü"]), "e": np.zeros(0)}
    folder.put("stage", {"a": (1, 2)}, arrays, nodes=8, seconds=1.5)
    folder.save({"name": "ü"})
    with np.load(tmp_path / "study.npz") as stored:
        arrays = dict(stored)
    return json.loads(str(arrays.pop("metadata"))), arrays


def test_a_study_that_was_edited_is_refused_in_one_line(tmp_path):
    whole = saved(tmp_path)
    assert StudyFolder.open(tmp_path).stages["stage"]["key"] == {"a": [1, 2]}
    for position in range(len(list(edited(*whole)))):
        metadata, arrays = saved(tmp_path)
        what, change = list(edited(metadata, arrays))[position]
        change()
        np.savez(tmp_path / "study.npz", metadata=np.array(json.dumps(metadata)), **arrays)
        with pytest.raises(StudyError, match="this file was changed or damaged") as refused:
            StudyFolder.open(tmp_path)
        assert "\n" not in str(refused.value), what
        assert "remove" not in str(refused.value)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    saved(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(StudyError, match=r"cannot be read \(Permission denied\); make it readable"):
        StudyFolder.open(tmp_path)


def test_a_study_of_an_earlier_format_is_named(tmp_path):
    metadata, arrays = saved(tmp_path)
    metadata["format_version"] = 2
    del metadata["sha256"]
    np.savez(tmp_path / "study.npz", metadata=np.array(json.dumps(metadata)), **arrays)
    with pytest.raises(StudyError, match="version 2, this is 'synkern study' version 4; move it"):
        StudyFolder.open(tmp_path)


def test_the_format_that_knew_heads_only_is_taken_for_no_study_and_replaced(tmp_path):
    metadata, arrays = saved(tmp_path)
    metadata["format_version"] = 3
    metadata["sha256"] = _digest({n: v for n, v in metadata.items() if n != "sha256"}, arrays)
    file = tmp_path / "study.npz"
    np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)
    before = file.read_bytes()
    folder = StudyFolder.open(tmp_path)
    assert (folder.stages, folder.arrays) == ({}, {})
    said = folder.difference("stage", {"a": [1, 2]})
    assert said.startswith("the folder is one of format 3, now it is 4")
    assert file.read_bytes() == before  # until there is something to take its place
    folder.put("stage", {"a": 1}, {"x": np.zeros(2)})
    folder.save({})
    assert StudyFolder.open(tmp_path).difference("stage", {"a": 1}) is None
    # A changed one is refused as any other.
    metadata["sha256"] = "0" * 64
    np.savez(file, metadata=np.array(json.dumps(metadata)), **arrays)
    with pytest.raises(StudyError, match="is not as a study has left it"):
        StudyFolder.open(tmp_path)


def test_a_foreign_or_broken_folder_is_refused(model, tmp_path, copy):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StudyError, match=r"'notes\.txt' but no study\.npz|'copy' but no"):
        tiny_study.again(model, tmp_path)
    with pytest.raises(StudyError, match="is a file"):
        tiny_study.again(model, tmp_path / "notes.txt")
    file = copy / "study.npz"
    whole = file.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(StudyError, match="cannot be read as the arrays of a study"):
            tiny_study.again(model, copy)
        assert file.read_bytes() == content
    np.savez(file, something=np.zeros(3))
    with pytest.raises(StudyError, match="KeyError"):
        tiny_study.again(model, copy)
    np.savez(file, metadata=np.array('{"format": "x", "format_version": 9, "stages": {}}'))
    with pytest.raises(StudyError, match="format 'x' version 9"):
        tiny_study.again(model, copy)


def test_no_damage_to_the_archive_ends_in_a_traceback(tmp_path):
    folder = StudyFolder.open(tmp_path)
    folder.put("stage", {"a": 1}, {"x": np.arange(5.0), "t": np.array(["a", "b"])})
    folder.save({})
    whole = (tmp_path / "study.npz").read_bytes()
    refused = 0
    entry = whole.find(b"PK\x01\x02")
    while entry >= 0:
        # Flags and compression method: encrypted, patched, unknown methods, ...
        for bit in range(8 * 8, 8 * 12):
            damaged = bytearray(whole)
            damaged[entry + bit // 8] ^= 1 << bit % 8
            (tmp_path / "study.npz").write_bytes(damaged)
            try:
                StudyFolder.open(tmp_path)
            except StudyError:
                refused += 1
        entry = whole.find(b"PK\x01\x02", entry + 1)
    assert refused > 50
