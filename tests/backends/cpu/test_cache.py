"""Where the library of backend `cpu` is kept: damaged, planted, in a bad home, wanted by many."""

import os
import tempfile
import threading
import time

import pytest

from support.first_use import (
    compiler,
    decompose,
    explained,
    forget,
    left_out,
    libraries,
    python,
    refuse,
    runs,
)
from synkern.kernels.cpu_backend import bindings as cpu_library
from synkern.kernels.cpu_backend import build as cpu_build
from synkern.kernels.cpu_backend import cache as cpu_cache

# ---- Damaged ------------------------------------------------------------------------------------

DAMAGE = """
import os, pathlib, sys
from support.first_use import decompose, forget
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


def test_a_damaged_library_is_built_again(library_cache):
    """In a process of its own, which would end without a word."""
    done = python(DAMAGE, str(library_cache))
    assert (done.stdout, done.returncode) == ("alive\n", 0), done.stderr
    assert runs(library_cache.parent.parent) == 14


def test_a_library_of_another_name_does_not_stand_in_the_way(library_cache):
    library_cache.mkdir(parents=True, mode=0o700)
    (library_cache / f"cpu-{'0' * 24}.{'0' * 64}.so").write_bytes(b"of another machine")
    assert decompose() == "cpu"
    assert len(libraries(library_cache)) == 2


# ---- Planted ------------------------------------------------------------------------------------


def give_away(path, monkeypatch):
    """Let it belong to another user."""
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345, follow_symlinks=False)
    else:
        owner = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: owner)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777, 0o702])
def test_a_folder_that_others_can_write_is_refused(library_cache, mode):
    assert decompose() == "cpu"
    library_cache.chmod(mode)
    forget()
    assert f"(its mode is {mode:03o})" in left_out("could be replaced")
    assert f"chmod 700 it if it is yours, or {cpu_cache.ELSEWHERE}" in explained()
    with pytest.raises(ValueError, match="others can write"):
        decompose("cpu")


def test_a_folder_of_another_user_is_refused(library_cache, monkeypatch):
    assert decompose() == "cpu"
    give_away(library_cache, monkeypatch)
    forget()
    left_out("belongs to another user")


def test_a_link_to_a_folder_of_another_user_is_refused(library_cache, monkeypatch):
    assert decompose() == "cpu"
    theirs = library_cache.with_name("theirs")
    library_cache.rename(theirs)
    give_away(theirs, monkeypatch)
    library_cache.symlink_to(theirs)
    forget()
    left_out("belongs to another user")


def test_a_link_of_ones_own_to_a_folder_of_ones_own_is_taken(library_cache):
    elsewhere = library_cache.parent.parent / "large disk"
    elsewhere.mkdir(mode=0o700)
    library_cache.parent.mkdir()
    library_cache.symlink_to(elsewhere)
    assert decompose() == "cpu"
    assert len(libraries(elsewhere)) == 1


@pytest.mark.parametrize("what", ["writable", "of another", "a folder", "a link", "unreadable"])
def test_a_library_that_another_could_have_made_is_refused(
    library_cache, built_library, what, monkeypatch
):
    assert decompose() == "cpu"
    (path,) = library_cache.iterdir()
    if what == "writable":
        path.chmod(0o666)
    elif what == "of another":
        give_away(path, monkeypatch)
    else:
        path.unlink()
        if what == "a folder":
            path.mkdir()
        elif what == "a link":
            path.symlink_to(built_library)
        else:
            path.write_bytes(built_library.read_bytes())
            refuse(monkeypatch, "open", path)
    forget()
    assert str(path) in left_out("the compiled library")
    assert "remove it to have it built again" in explained()
    assert runs(library_cache.parent.parent) == 1


def test_nobody_else_can_write_what_is_made_whatever_the_umask(library_cache):
    before = os.umask(0)
    try:
        assert decompose() == "cpu"
    finally:
        os.umask(before)
    assert library_cache.stat().st_mode & 0o777 == 0o700
    assert library_cache.parent.stat().st_mode & 0o777 == 0o700
    (path,) = library_cache.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644


# ---- Homes --------------------------------------------------------------------------------------

HOMES = """
import contextlib, os, pathlib, pwd, sys, warnings
from support.first_use import decompose, forget
from synkern.cli import main
# What is imported when it is first used may lie where another user does not get to.
decompose("numpy")
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
    main(["backends"])
top = pathlib.Path(sys.argv[1])
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


def test_a_home_that_cannot_be_used_is_said_with_its_remedy(library_cache):
    """In a process of its own, which gives up being root if it is."""
    # Where a user who is not root gets to, unlike in a temporary folder of root's.
    with tempfile.TemporaryDirectory() as top:
        done = python(HOMES, top, CXX="true")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if "is left out" in line]
    explained = [line for line in done.stdout.splitlines() if line.startswith("cpu: ")]
    assert len(said) == len(explained) == 10
    for line, row in zip(said, explained, strict=True):
        assert "set XDG_CACHE_HOME to a folder of your own" in row.replace("set HOME, or ", "")
        assert line.partition("is left out: ")[2].partition(";")[0] in row


# ---- At once ------------------------------------------------------------------------------------


def test_threads_that_come_at_once_start_one_compiler(library_cache, built_library):
    folder = library_cache.parent.parent
    compiler(folder, f'sleep 0.3; cp "{built_library}" "$output"')
    found = []
    threads = [threading.Thread(target=lambda: found.append(decompose("cpu"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["cpu"] * 4
    assert runs(folder) == 1


@pytest.mark.parametrize("obstructed", ["no locks", "held too long"])
def test_without_a_lock_it_is_built_all_the_same(library_cache, obstructed, monkeypatch):
    def flock(descriptor, operation):
        raise BlockingIOError if obstructed == "held too long" else OSError(95, "not supported")

    monkeypatch.setattr(cpu_cache.fcntl, "flock", flock)
    monkeypatch.setattr(cpu_build, "TIMEOUT", 5)
    with cpu_cache.lock(library_cache.parent.parent, "key", 0.1):
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


def test_what_killed_builds_left_is_removed(library_cache):
    old, fresh, note = (library_cache / f"build-{name}" for name in ("old", "fresh", "note"))
    library_cache.mkdir(parents=True, mode=0o700)
    for folder in (old, fresh):
        folder.mkdir()
        (folder / "cpu.so").touch()
    note.touch()
    before = time.time() - cpu_cache.LEFT_OVER - 60
    for path in (old, note):
        os.utime(path, (before, before))
    assert decompose() == "cpu"
    assert [path.name for path in library_cache.glob("build-*")] == ["build-fresh"]


def test_a_fork_while_another_thread_builds_does_not_wait_for_it():
    """The lock of the process is the parent's: nobody would release it in the child."""
    with cpu_library._LOADING:
        child = os.fork() if threading.active_count() == 1 else None
        if child == 0:
            free = cpu_library._LOADING.acquire(blocking=False)
            os._exit(0 if free else 1)
    if child is not None:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
