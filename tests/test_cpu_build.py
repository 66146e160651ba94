"""The library of backend `cpu`: damaged, planted, failing, hanging, and what the user is told."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import pytest
from first_use import compiler, decompose, forget, runs

from synkern.kernels import cpu_build, cpu_cache, cpu_library

TESTS = Path(__file__).parent
BACKENDS = "from synkern.cli import main; main(['backends'])"


@pytest.fixture(scope="module")
def built():
    """A library that was really compiled."""
    forget()
    return cpu_build.library()


@pytest.fixture
def cache(built, tmp_path, monkeypatch):
    """The folder of a user who has compiled nothing yet; the compiler copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", str(compiler(tmp_path, f'cp "{built}" "$output"')))
    forget()
    yield tmp_path / "cache" / "synkern"
    monkeypatch.undo()
    forget()


def explained():
    """What `synkern backends` says of `cpu`: reason and remedy, or None."""
    found = cpu_library.obstacle()
    return None if found is None else str(found)


def left_out(match):
    """Assert that "auto" goes on, and says why, once; returns what it said."""
    with pytest.warns(UserWarning, match=f"backend 'cpu' is left out: .*{match}") as said:
        assert decompose() == "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decompose() == "numpy"
    assert len(said) == 1
    return str(said[0].message)


def libraries(cache):
    return [path.name for path in cache.iterdir()]


# ---- Damaged ------------------------------------------------------------------------------------

DAMAGE = """
import os, pathlib, sys
from first_use import decompose, forget
assert decompose() == "cpu"
path, = pathlib.Path(sys.argv[1]).iterdir()
whole = path.read_bytes()
size = len(whole)
cuts = [whole[:n] for n in (0, 64, 1000, 4096, 20000, size // 2, 3 * size // 4, size - 1)]
halves = [whole[:size // 2] + bytes(size - size // 2), whole[:4096] + bytes(size - 4096)]
flip = bytearray(whole)
flip[size // 3] ^= 1
for damaged in (*cuts, *halves, bytes(flip), bytes(size), b"junk" * 1000):
    path.unlink()  # what runs here is another file, and stays whole
    path.write_bytes(damaged)
    forget()
    assert decompose() == "cpu"
    assert path.read_bytes() == whole
print("alive")
"""


def test_a_damaged_library_is_built_again(cache):
    """In a process of its own, which would end without a word."""
    done = python(DAMAGE, str(cache))
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
    assert runs(cache.parent.parent) == 14


def python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_library_of_another_name_does_not_stand_in_the_way(cache):
    cache.mkdir(parents=True, mode=0o700)
    (cache / f"cpu-{'0' * 24}.{'0' * 64}.so").write_bytes(b"of another machine")
    assert decompose() == "cpu"
    assert len(libraries(cache)) == 2


# ---- Planted ------------------------------------------------------------------------------------


def give_away(path, monkeypatch):
    """Let it belong to another user."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    else:
        owner = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: owner)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_a_folder_that_others_can_write_is_refused(cache, mode):
    assert decompose() == "cpu"
    cache.chmod(mode)
    forget()
    assert f"(its mode is {mode:03o})" in left_out("could be replaced")
    assert f"chmod 700 it if it is yours, or {cpu_cache.ELSEWHERE}" in explained()
    with pytest.raises(ValueError, match="others can write"):
        decompose("cpu")


def test_a_folder_of_another_user_is_refused(cache, monkeypatch):
    assert decompose() == "cpu"
    give_away(cache, monkeypatch)
    forget()
    left_out("belongs to another user")


def test_a_link_to_a_folder_of_another_user_is_refused(cache, monkeypatch):
    assert decompose() == "cpu"
    theirs = cache.with_name("theirs")
    cache.rename(theirs)
    give_away(theirs, monkeypatch)
    cache.symlink_to(theirs)
    forget()
    left_out("belongs to another user")


def test_a_link_of_ones_own_to_a_folder_of_ones_own_is_taken(cache):
    elsewhere = cache.parent.parent / "large disk"
    elsewhere.mkdir(mode=0o700)
    cache.parent.mkdir()
    cache.symlink_to(elsewhere)
    assert decompose() == "cpu"
    assert len(libraries(elsewhere)) == 1


@pytest.mark.parametrize("what", ["writable", "of another", "a folder", "a link", "unreadable"])
def test_a_library_that_another_could_have_made_is_refused(cache, built, what, monkeypatch):
    assert decompose() == "cpu"
    (path,) = cache.iterdir()
    if what == "writable":
        path.chmod(0o666)
    elif what == "of another":
        give_away(path, monkeypatch)
    else:
        path.unlink()
        if what == "a folder":
            path.mkdir()
        elif what == "a link":
            path.symlink_to(built)
        else:
            path.write_bytes(built.read_bytes())
            refuse(monkeypatch, "open", path)
    forget()
    assert str(path) in left_out("the compiled library")
    assert "remove it to have it built again" in explained()
    assert runs(cache.parent.parent) == 1


def refuse(monkeypatch, function, path):
    """Let the system deny what root would be allowed."""
    allowed = getattr(os, function)

    def denied(asked, *arguments, **options):
        if str(asked) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return allowed(asked, *arguments, **options)

    monkeypatch.setattr(os, function, denied)


def test_nobody_else_can_write_what_is_made_whatever_the_umask(cache):
    before = os.umask(0)
    try:
        assert decompose() == "cpu"
    finally:
        os.umask(before)
    assert cache.stat().st_mode & 0o777 == 0o700
    assert cache.parent.stat().st_mode & 0o777 == 0o700
    (path,) = cache.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


# ---- Failing ------------------------------------------------------------------------------------

PASSING = {
    "killed": "echo 'c++: fatal error: Killed signal terminated program cc1plus' >&2; exit 1",
    "disk full": "echo 'error writing to /tmp/x.s: No space left on device' >&2; exit 1",
    "memory": "echo 'cc1plus: out of memory allocating 65536 bytes' >&2; exit 1",
    "itself killed": "kill -9 $$",
    "shell says so": "exit 137",
}


@pytest.mark.parametrize("does", PASSING.values(), ids=PASSING)
def test_a_failure_that_may_pass_is_tried_again_by_the_next_process(cache, built, does):
    folder = cache.parent.parent
    compiler(folder, f'if [ -e "{folder}/passed" ]; then cp "{built}" "$output"; exit; fi; {does}')
    said = left_out("cannot build the library: .+; the next process tries again")
    assert "asked for backend='cpu'" in said
    assert runs(folder) == 1  # twice would be for each call
    assert libraries(cache) == []
    (folder / "passed").touch()
    assert decompose() == "numpy"  # still: "auto" asks once in a process
    assert decompose("cpu") == "cpu"
    assert decompose() == "cpu"
    shutil.rmtree(cache)
    forget()
    assert decompose() == "cpu"


def test_another_failure_is_noted_for_a_day_and_said_by_every_process(cache):
    folder = cache.parent.parent
    compiler(folder, "echo 'host.cpp:1: error: no such header' >&2; exit 1")
    left_out("host.cpp:1: error: no such header")
    (note,) = cache.iterdir()
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
def test_a_failure_without_words_or_in_odd_ones_has_a_reason(cache, does, reason):
    compiler(cache.parent.parent, does)
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


def test_a_compiler_that_is_stopped_takes_its_children_along(cache, monkeypatch):
    folder = cache.parent.parent
    compiler(folder, f'sleep 60 & echo $! > "{folder}/pid"; wait')
    monkeypatch.setattr(cpu_build, "TIMEOUT", 0.5)
    with nothing_runs(folder / "pid"):
        assert "is tried again after a day" in left_out("no end after 0.5 s")


def test_an_interrupted_build_takes_its_children_along(cache):
    folder = cache.parent.parent
    start = f'sleep 60 & echo $! > "{folder}/pid"'
    compiler(folder, f"{start}; sleep 0.3; kill -INT {os.getpid()}; wait")
    with nothing_runs(folder / "pid"), pytest.raises(KeyboardInterrupt):
        decompose()
    assert libraries(cache) == []


@pytest.mark.parametrize("version", ["sleep 60", "exit 4", "kill -9 $$"])
def test_a_compiler_that_does_not_tell_its_version_is_asked_once(cache, version, monkeypatch):
    folder = cache.parent.parent
    compiler(folder, "exit 1", version)
    monkeypatch.setattr(cpu_build, "VERSION_TIMEOUT", 0.2)
    left_out("--version fails: .*; see that it runs and start Python again")
    assert "--version fails" in explained()
    with pytest.raises(ValueError, match="--version fails"):
        decompose("cpu")
    assert runs(folder, "versions") == 1


def test_a_version_that_is_not_text_is_one(cache, built):
    compiler(cache.parent.parent, f'cp "{built}" "$output"', r"printf '\377\376 1.0'")
    assert decompose() == "cpu"


@pytest.mark.parametrize(
    ("cxx", "reason"),
    [
        ("g++ 'unbalanced", "is no command: No closing quotation"),
        ("no-such-compiler -O3", "there is no program no-such-compiler"),
    ],
)
def test_a_cxx_that_is_no_command_is_said_with_its_remedy(cache, cxx, reason, monkeypatch):
    monkeypatch.setenv("CXX", cxx)
    assert reason in left_out("CXX is ")
    assert cpu_build.OTHER_CXX in explained()


def test_a_library_without_the_functions_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("CXX")
    command, empty = cpu_build.compiler(), tmp_path / "empty.cpp"
    empty.touch()
    subprocess.run([*command, "-shared", "-fPIC", empty, "-o", tmp_path / "empty.so"], check=True)
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    compiler(tmp_path, f'cp "{tmp_path}/empty.so" "$output"')
    assert "choose a compiler for this machine with CXX" in left_out("cannot be loaded: .*synkern")
    forget()
    assert "cannot be loaded" in explained()


def test_a_file_system_that_runs_nothing_is_named(cache, monkeypatch):
    def cannot_map(path):
        raise OSError(f"{path}: failed to map segment from shared object")

    monkeypatch.setattr(ctypes, "CDLL", cannot_map)
    monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_flag=os.ST_NOEXEC))
    said = left_out("failed to map segment")
    assert f"programs cannot be run from {cache} (noexec): set XDG_CACHE_HOME" in said
    assert "remove" not in said


# ---- Notes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["empty", "not text", "a folder", "a link", "unreadable"])
def test_a_note_in_any_state_does_no_harm(cache, built, what, monkeypatch):
    victim = cache.parent.parent / "victim"
    victim.write_text("mine")
    cache.mkdir(parents=True, mode=0o700)
    note = cpu_cache.note_of(cache, cpu_build._digest(cpu_build.compiler()))
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
        compiler(cache.parent.parent, "echo error: mine >&2; exit 1")
        left_out("error: mine")
    assert victim.read_text() == "mine"
    compiler(cache.parent.parent, f'cp "{built}" "$output"')
    if note.is_dir():
        note.rmdir()
    assert decompose("cpu") == "cpu"
    assert not os.path.lexists(note)


# ---- Homes --------------------------------------------------------------------------------------

HOMES = """
import os, pathlib, pwd, sys, tempfile, warnings
from first_use import decompose, forget
from synkern.cli import main
top = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
top.chmod(0o755)
for name, mode in {"closed": 0o000, "read-only": 0o555}.items():
    (top / name).mkdir()
    (top / name).chmod(mode)
(top / "file").touch()
if os.getuid() == 0:
    os.setgroups([]); os.setgid(12345); os.setuid(12345)
homes = {"closed": top / "closed", "read-only": top / "read-only", "file": top / "file",
         "none": None, "long": top / ("a" * 300)}
pwd.getpwuid = lambda uid: {}[uid]
for name, home in homes.items():
    for variable in ("HOME", "XDG_CACHE_HOME"):
        os.environ.pop("HOME", None); os.environ.pop("XDG_CACHE_HOME", None)
        if home is not None:
            os.environ[variable] = str(home)
        forget()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            assert decompose() == decompose() == "numpy"
        assert len(said) == 1, said
        assert "XDG_CACHE_HOME" in str(said[0].message)
        print(name, said[0].message)
        main(["backends"])
"""


def test_a_home_that_cannot_be_used_is_said_with_its_remedy(cache):
    """In a process of its own, which gives up being root if it is."""
    done = python(HOMES, CXX="true")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "is left out" in line]
    explained = [line for line in done.stdout.splitlines() if line.startswith("cpu: ")]
    assert len(said) == len(explained) == 10
    for line, row in zip(said, explained, strict=True):
        assert "set XDG_CACHE_HOME to a folder of your own" in row.replace("set HOME, or ", "")
        assert line.partition("is left out: ")[2].partition(";")[0] in row


# ---- At once ------------------------------------------------------------------------------------


def test_threads_that_come_at_once_start_one_compiler(cache, built):
    folder = cache.parent.parent
    compiler(folder, f'sleep 0.3; cp "{built}" "$output"')
    found = []
    threads = [threading.Thread(target=lambda: found.append(decompose("cpu"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["cpu"] * 4
    assert runs(folder) == 1


@pytest.mark.parametrize("obstructed", ["no locks", "held too long"])
def test_without_a_lock_it_is_built_all_the_same(cache, obstructed, monkeypatch):
    def flock(descriptor, operation):
        raise BlockingIOError if obstructed == "held too long" else OSError(95, "not supported")

    monkeypatch.setattr(cpu_cache.fcntl, "flock", flock)
    monkeypatch.setattr(cpu_build, "TIMEOUT", 5)
    with cpu_cache.lock(cache.parent.parent, "key", 0.1):
        pass
    if obstructed == "no locks":
        assert decompose("cpu") == "cpu"


def test_a_lock_that_was_given_back_can_be_had_again(tmp_path):
    held = threading.Event()
    order = []

    def other():
        with cpu_cache.lock(tmp_path, "key", 10):
            held.set()
            time.sleep(0.2)
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    held.wait()
    with cpu_cache.lock(tmp_path, "key", 10):
        order.append("this")
    thread.join()
    assert order == ["other", "this"]
    assert list(tmp_path.iterdir()) == []


def test_what_killed_builds_left_is_removed(cache):
    old, fresh, note = (cache / f"build-{name}" for name in ("old", "fresh", "note"))
    cache.mkdir(parents=True, mode=0o700)
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "cpu.so").touch()
    note.touch()
    before = time.time() - cpu_cache.LEFT_OVER - 60
    for path in (old, note):
        os.utime(path, (before, before))
    assert decompose() == "cpu"
    assert [path.name for path in cache.glob("build-*")] == ["build-fresh"]


def test_a_fork_while_another_thread_builds_does_not_wait_for_it():
    """The lock of the process is the parent's: nobody would release it in the child."""
    with cpu_library._LOADING:
        child = os.fork() if threading.active_count() == 1 else None
        if child == 0:
            free = cpu_library._LOADING.acquire(blocking=False)
            os._exit(0 if free else 1)
    if child is not None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
