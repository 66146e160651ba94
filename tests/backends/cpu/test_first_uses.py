"""Backend `cpu` in new processes: built once, or left out with the reason; what it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import synkern
from support.first_use import compiler, runs
from support.optional import torch
from synkern.kernels.cpu_backend import build as cpu_build

ROOT = Path(__file__).parents[3]

DECOMPOSE = """
import sys, warnings
import numpy, synkern
from synkern.cli import main
warnings.simplefilter("always")
series = numpy.random.default_rng(0).standard_normal((50, 3))
result = synkern.phiid(series)
synkern.phiid(series)
expected = synkern.phiid(series, backend="numpy")
assert abs(result["sts"] - expected["sts"])[0, 1] < 1e-12
print(result.backend)
main(["backends"])
try:
    print(synkern.phiid(series, backend="cpu").backend)
except ValueError as error:
    print("ValueError:", error)
"""


def python(code, cache, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "CXX"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**kept, "XDG_CACHE_HOME": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out, err


def row_of(out):
    return next(line for line in out.splitlines() if line.startswith("cpu "))


def test_several_first_uses_at_once(tmp_path):
    """One of the processes has it compiled, the other waits."""
    slow = compiler(tmp_path, f'sleep 1; cp "{cpu_build.library()}" "$output"')
    running = [python(DECOMPOSE, tmp_path, CXX=str(slow)) for _ in range(2)]
    for process in running:
        out, err = output(process)
        assert out.startswith("cpu\n")
        assert out.endswith("cpu\n")
        assert "not here" not in row_of(out)
        assert not err
    assert [path.suffix for path in (tmp_path / "synkern").iterdir()] == [".so"]
    assert runs(tmp_path) == 1


def test_without_a_compiler(tmp_path):
    # ziglang, a compiler in a wheel, counts as one: it must not be found either.
    hide = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'ziglang' else find(name, *rest)\n"
    )
    (tmp_path / "bin").mkdir()
    out, err = output(python(hide + DECOMPOSE, tmp_path, PATH=str(tmp_path / "bin")))
    assert out.startswith("numpy\n")
    assert "not here" in row_of(out)
    assert "cpu: no C++ compiler: no c++, g++ or clang++ on PATH" in out
    assert "ValueError: backend 'cpu' cannot run here: no C++ compiler" in out
    assert "pip install synkern[cpu]" in out
    assert not err  # not to have a compiler is not worth a warning
    assert not (tmp_path / "synkern").exists()


def test_a_compiler_that_fails(tmp_path):
    failing = compiler(tmp_path, "echo host.cpp:1: error: no such header >&2; exit 1")
    out, err = output(python(DECOMPOSE, tmp_path, CXX=str(failing)))
    assert out.startswith("numpy\n")
    assert err.count("UserWarning") == 1
    assert "backend 'cpu' is left out" in err
    assert "host.cpp:1: error: no such header" in err
    assert "not here" in row_of(out)
    note = next((tmp_path / "synkern").glob("*.failed.txt"))
    assert f"cpu: {failing} cannot build the library: host.cpp:1: error: no such" in out
    assert f"{note} tells more" in out
    assert "ValueError: backend 'cpu' cannot run here" in out
    assert runs(tmp_path) == 2  # "auto", and once when asked by name


def test_floating_point_mode_is_left_alone(rng):
    synkern.phiid(rng.standard_normal((50, 4)), backend="cpu")
    smallest = np.array([5e-324, 2.3e-308])
    assert (smallest / [1.0, 4.0] > 0).all()
    assert float(torch.tensor(2.3e-308, dtype=torch.float64) / 4) > 0
    # Also inside the kernel: a series of subnormal numbers has values.
    tiny = rng.standard_normal((50, 3)) * 1e-310
    assert np.isfinite(synkern.phiid(tiny, backend="cpu")["sts"][0, 1])
