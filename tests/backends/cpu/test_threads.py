"""How many threads backend `cpu` takes: whoever may limit them is heeded."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import synkern
from support.bounded import verb
from support.optional import needs_torch, torch
from synkern.kernels.cpu_backend import bindings as cpu_library
from synkern.kernels.cpu_backend import threads as cpu_threads


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch):
    """A machine on which nobody has limited anything yet."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cpu_threads, "_cores", lambda: 16)
    monkeypatch.setattr(cpu_threads, "_physical_cores", lambda cores: 8)
    monkeypatch.setattr(cpu_threads, "_quota", lambda: None)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    cpu_threads._torch_began_with.cache_clear()
    yield
    monkeypatch.undo()
    cpu_threads._torch_began_with.cache_clear()


def test_without_a_limit_there_is_a_thread_for_each_core():
    assert cpu_threads.threads() == 16


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), (" 3 ", 3), ("3,2", 3), ("64", 16), ("", 16), ("0", 16), ("-1", 16), ("two", 16)],
)
def test_omp_num_threads_is_heeded_where_it_is_a_number(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cpu_threads.threads() == expected


@needs_torch
def test_threads_of_torch_are_heeded_where_they_were_lowered(monkeypatch):
    assert cpu_threads.threads() == 16  # 8 are torch's own choice: one for a physical core
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert cpu_threads.threads() == 5
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    assert cpu_threads.threads() == 16
    # Lowered before it was first seen.
    for count in (1, 5, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=count: n)
        cpu_threads._torch_began_with.cache_clear()
        assert cpu_threads.threads() == count


@needs_torch
@pytest.mark.parametrize("first", ["import torch, synkern", "import synkern, torch"])
def test_threads_of_torch_may_be_lowered_before_anything_is_used(first):
    code = f"""
{first}
torch.set_num_threads(1)
synkern.limit_threads
from synkern.kernels.cpu_backend import threads as cpu_threads
assert cpu_threads._of_torch(16) == 1, cpu_threads._of_torch(16)
began = cpu_threads._torch_began_with(torch)
assert began == {"before" if first.startswith("import torch") else 1}, began
"""
    code = code.replace("import torch,", "import torch\nbefore = torch.get_num_threads()\nimport")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_physical_cores_are_no_more_than_the_others(monkeypatch):
    monkeypatch.undo()
    cores = cpu_threads._cores()
    cpu_threads._physical_cores.cache_clear()
    assert 1 <= cpu_threads._physical_cores(cores) <= cores
    monkeypatch.setattr(cpu_threads, "Path", lambda _: Path("/nonexistent"))
    cpu_threads._physical_cores.cache_clear()
    assert [cpu_threads._physical_cores(n) for n in (1, 2, 3, 16)] == [1, 1, 2, 8]
    cpu_threads._physical_cores.cache_clear()


@needs_torch
def test_a_limit_on_openmp_is_seen_through_torch(monkeypatch):
    """As threadpoolctl sets it, by the runtime's own function."""
    monkeypatch.undo()
    cpu_threads._torch_began_with.cache_clear()
    maps = Path("/proc/self/maps").read_text().split()
    runtimes = [p for p in maps if Path(p).name.startswith(("libgomp", "libomp", "libiomp"))]
    # Others, scikit-learn for one, bring a runtime of their own beside torch's.
    openmp = ctypes.CDLL(min(runtimes, key=lambda path: "/torch" not in path))
    before = torch.get_num_threads()
    openmp.omp_set_num_threads(before + 3)
    try:
        assert cpu_threads._of_torch(cores=1) is None
        openmp.omp_set_num_threads(before)
        assert cpu_threads._of_torch(cores=1) == before
    finally:
        openmp.omp_set_num_threads(before)


def test_the_smallest_limit_holds_and_ends_with_its_block(monkeypatch):
    with synkern.limit_threads(6):
        assert cpu_threads.threads() == 6
        with synkern.limit_threads(np.int64(2)):
            assert cpu_threads.threads() == 2
        with synkern.limit_threads(9):
            assert cpu_threads.threads() == 6
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert cpu_threads.threads() == 4
        monkeypatch.delenv("OMP_NUM_THREADS")
        with pytest.raises(KeyError), synkern.limit_threads(1):
            raise KeyError
        assert cpu_threads.threads() == 6
    assert cpu_threads.threads() == 16


def test_a_limit_is_that_of_its_thread():
    found = []

    def other():
        found.append(cpu_threads.threads())
        with synkern.limit_threads(3):
            found.append(cpu_threads.threads())

    with synkern.limit_threads(2):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert cpu_threads.threads() == 2
    assert found == [16, 3]


@pytest.mark.parametrize("count", [0, -1, 1.5, "2", True, None])
def test_a_limit_that_is_no_number_of_threads_is_refused(count):
    with pytest.raises(ValueError, match="count must be a positive whole number"):
        synkern.limit_threads(count).__enter__()


# ---- Quotas of containers ------------------------------------------------------------------------


def quota(tmp_path, membership, files):
    (tmp_path / "self").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_threads.quota_of(tmp_path / "self", tmp_path / "cgroup")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "500000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/outside/only\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/../../odd\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("nonsense\n", {"cpu.max": "100000 100000"}, None),
        (
            "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
            {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            "3:cpu:/docker/ab\n",  # in the container, its own group is the root
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "3:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("3:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, None),
    ],
)
def test_quota_of_both_versions_of_control_groups(tmp_path, membership, files, expected):
    assert quota(tmp_path, membership, files) == expected


def test_no_control_groups_are_no_quota(tmp_path):
    assert cpu_threads.quota_of(tmp_path / "none", tmp_path) is None


def test_a_quota_limits_the_threads(monkeypatch):
    monkeypatch.setattr(cpu_threads, "_quota", lambda: 2)
    assert cpu_threads.threads() == 2


# ---- What a call takes ---------------------------------------------------------------------------


@pytest.fixture
def taken(monkeypatch):
    """The numbers of threads that compiled functions are told."""
    numbers, call = [], cpu_library.call

    def spy(name, *arguments):
        task = getattr(arguments[0], "_obj", None)
        numbers.append(task.threads if task is not None else arguments[-1])
        return call(name, *arguments)

    monkeypatch.setattr(cpu_library, "call", spy)
    return numbers


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("options", [{}, {"by_node": True}, {"average": "moments"}], ids=str)
def test_little_work_is_done_by_the_thread_that_calls(rng, taken, kind, redundancy, options):
    if options.get("average") == "moments" and (kind, redundancy) != ("gaussian", "MMI"):
        options = {}
    series = rng.standard_normal((3, 60, 8))
    verb(series, kind=kind, redundancy=redundancy, backend="cpu", **options)
    assert set(taken) == {1}


def test_much_work_takes_what_it_may(rng, taken):
    series = rng.standard_normal((20, 100, 150))
    synkern.phiid(series, backend="cpu")
    assert set(taken) == {16}
    taken.clear()
    with synkern.limit_threads(3):
        synkern.phiid(series, backend="cpu")
        synkern.phiid(series, kind="discrete", backend="cpu")
        synkern.phiid_nodes(series, backend="cpu")
    assert set(taken) == {3}
