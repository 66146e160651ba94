"""The library of backend `cpu`: damaged, planted, failing, hanging, and what the user is told."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import time
import types
from pathlib import Path

import pytest

from support.first_use import (
    compiler,
    decompose,
    explained,
    forget,
    left_out,
    libraries,
    refuse,
    runs,
)
from synkern.kernels.cpu_backend import build as cpu_build
from synkern.kernels.cpu_backend import cache as cpu_cache

PASSING = {
    "killed": "echo 'c++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1",
    "disk full": "echo 'error writing to /tmp/x.s: No space left on device' >&2; exit 1",
    "memory": "echo 'cc1plus: out of memory allocating 65536 bytes' >&2; exit 1",
    "itself killed": "kill -9 $$",
    "shell says so": "exit 137",
}


@pytest.mark.parametrize("does", PASSING.values(), ids=PASSING)
def test_a_failure_that_may_pass_is_tried_again_by_the_next_process(
    library_cache, built_library, does
):
    folder = library_cache.parent.parent
    compiler(
        folder,
        f'if [ -e "{folder}/passed" ]; then cp "{built_library}" "$output"; exit; fi; {does}',
    )
    said = left_out("cannot build the library: .+; the next process tries again")
    assert "asked for backend='cpu'" in said
    assert runs(folder) == 1  # twice would be for each call
    assert libraries(library_cache) == []
    (folder / "passed").touch()
    assert decompose() == "numpy"  # still: "auto" asks once in a process
    assert decompose("cpu") == "cpu"
    assert decompose() == "cpu"
    shutil.rmtree(library_cache)
    forget()
    assert decompose() == "cpu"


def test_another_failure_is_noted_for_a_day_and_said_by_every_process(library_cache):
    folder = library_cache.parent.parent
    compiler(folder, "echo 'host.cpp:1: error: no such header' >&2; exit 1")
    left_out("host.cpp:1: error: no such header")
    (note,) = library_cache.iterdir()
    assert note.read_text().startswith(f"{folder}/c++ cannot build the library")
    for _ in range(2):
        forget()
        said = left_out("host.cpp:1: error: no such header")
        assert f"{note} tells more; it is tried again after a day, or when you remove" in said
        assert said.endswith(explained())
    assert runs(folder) == 1
    yesterday = time.time() - cpu_cache.NOTE_HOLDS - 1
    os.utime(note, (yesterday, yesterday))
    forget()
    left_out("no such header")
    assert runs(folder) == 2


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("exit 3", "exit code 3"),
        (":", "it wrote no library"),
        (r"printf 'error: \377\376 no\n' >&2; exit 1", "error: \ufffd\ufffd no"),
    ],
)
def test_a_failure_without_words_or_in_odd_ones_has_a_reason(library_cache, does, reason):
    compiler(library_cache.parent.parent, does)
    assert reason in left_out("cannot build the library")
    forget()
    assert reason in explained()


@contextlib.contextmanager
def nothing_runs(pid_file):
    """Assert that the process of that number is gone, or is but a name, soon after the block."""
    yield
    pid, end = int(pid_file.read_text()), time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        while time.monotonic() < end:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            time.sleep(0.01)
        pytest.fail("it still runs")


def test_a_compiler_that_is_stopped_takes_its_children_along(library_cache, monkeypatch):
    folder = library_cache.parent.parent
    compiler(folder, f'sleep 60 & echo $! > "{folder}/pid"; wait')
    monkeypatch.setattr(cpu_build, "TIMEOUT", 0.5)
    with nothing_runs(folder / "pid"):
        assert "is tried again after a day" in left_out("no end after 0.5 s")


def test_an_interrupted_build_takes_its_children_along(library_cache):
    folder = library_cache.parent.parent
    start = f'sleep 60 & echo $! > "{folder}/pid"'
    compiler(folder, f"{start}; sleep 0.3; kill -INT {os.getpid()}; wait")
    with nothing_runs(folder / "pid"), pytest.raises(KeyboardInterrupt):
        decompose()
    assert libraries(library_cache) == []


@pytest.mark.parametrize("version", ["sleep 60", "exit 4", "kill -9 $$"])
def test_a_compiler_that_does_not_tell_its_version_is_asked_once(
    library_cache, version, monkeypatch
):
    folder = library_cache.parent.parent
    compiler(folder, "exit 1", version)
    monkeypatch.setattr(cpu_build, "VERSION_TIMEOUT", 0.2)
    left_out("--version fails: .*; see that it runs and start Python again")
    assert "--version fails" in explained()
    with pytest.raises(ValueError, match="--version fails"):
        decompose("cpu")
    assert runs(folder, "versions") == 1


def test_a_version_that_is_not_text_is_one(library_cache, built_library):
    compiler(
        library_cache.parent.parent, f'cp "{built_library}" "$output"', r"printf '\377\376 1.0'"
    )
    assert decompose() == "cpu"


@pytest.mark.parametrize(
    ("cxx", "reason"),
    [
        ("g++ 'unbalanced", "is no command: No closing quotation"),
        ("no-such-compiler -O3", "there is no program no-such-compiler"),
    ],
)
def test_a_cxx_that_is_no_command_is_said_with_its_remedy(library_cache, cxx, reason, monkeypatch):
    monkeypatch.setenv("CXX", cxx)
    assert reason in left_out("CXX is ")
    assert cpu_build.OTHER_CXX in explained()


def test_a_library_without_the_functions_is_refused(library_cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX")
    command, empty = cpu_build.compiler(), tmp_path / "empty.cpp"
    empty.touch()
    subprocess.run([*command, "-shared", "-fPIC", empty, "-o", tmp_path / "empty.so"], check=True)
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    compiler(tmp_path, f'cp "{tmp_path}/empty.so" "$output"')
    assert "choose a compiler for this machine with CXX" in left_out("cannot be loaded: .*synkern")
    forget()
    assert "cannot be loaded" in explained()


def test_a_file_system_that_runs_nothing_is_named(library_cache, monkeypatch):
    def cannot_map(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", cannot_map)
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_flag=os.ST_NOEXEC))
    said = left_out("failed to map segment")
    assert f"programs cannot be run from {library_cache} (noexec): set XDG_CACHE_HOME" in said
    assert "remove" not in said


# ---- Notes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["empty", "not text", "a folder", "a link", "unreadable"])
def test_a_note_in_any_state_does_no_harm(library_cache, built_library, what, monkeypatch):
    victim = library_cache.parent.parent / "victim"
    victim.write_text("mine")
    library_cache.mkdir(parents=True, mode=0o700)
    note = cpu_cache.note_of(library_cache, cpu_build._digest(cpu_build.compiler()))
    if what == "a folder":
        note.mkdir()
    elif what == "a link":
        note.symlink_to(victim)
    else:
        note.write_bytes(b"" if what == "empty" else b"\xff\xfe\nmore")
        if what == "unreadable":
            refuse(monkeypatch, "open", note)
    if what == "not text":
        left_out("\ufffd\ufffd; .* tells more")
        note.unlink()
    else:
        # It says nothing: the compiler is tried, fails, and the failure is noted in its place.
        compiler(library_cache.parent.parent, "echo error: mine >&2; exit 1")
        left_out("error: mine")
    assert victim.read_text() == "mine"
    compiler(library_cache.parent.parent, f'cp "{built_library}" "$output"')
    if note.is_dir():
        note.rmdir()
    assert decompose("cpu") == "cpu"
    assert not os.path.lexists(note)
