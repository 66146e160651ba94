"""What backend `cupy` takes and gives back, what it leaves to whole arrays, how kernels start."""

import types
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import synkern
from support import cupy_cases, cupy_stand_in
from support.cupy_cases import decomposed, hard, variants
from synkern.decomposition import backends
from synkern.kernels.cupy_backend import backend
from synkern.kernels.cupy_backend import nvrtc as launcher
from synkern.kernels.cupy_backend.source import LAGS_BYTES, NAMES
from synkern.kernels.engine.libraries import CuPyLibrary


def test_tensors_come_and_go_without_a_copy_on_the_stream_of_torch(cupy, gpu_tensors, rng, shim):
    series = torch.from_numpy(rng.standard_normal((3, 50, 4)))
    seen = []
    run, launched = backend.compute, shim.launch
    backend_saw = lambda device, array, *rest: seen.append(array) or run(device, array, *rest)  # noqa: E731

    def launch_on_stream(*arguments):
        assert cupy_stand_in.entered, "a kernel is started on no particular device"
        launched(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "compute", backend_saw)
        patch.setattr(shim, "launch", launch_on_stream)
        result = synkern.phiid(series, backend="cupy")
    assert seen[0].values.ctypes.data == series.data_ptr()
    assert isinstance(result["sts"], torch.Tensor)
    assert set(cupy_stand_in.used_streams) == {cupy_cases.STREAM}
    assert not cupy_stand_in.entered
    expected = synkern.phiid(series.numpy(), backend="numpy")
    np.testing.assert_allclose(result["sts"], expected["sts"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int64", "int8", "bool"])
def test_any_real_dtype(cupy, gpu_tensors, rng, dtype):
    values = torch.from_numpy(rng.integers(0, 2, (2, 40, 3))).to(getattr(torch, dtype))
    expected = synkern.phiid(values.double().numpy(), backend="numpy")["sts"]
    result = synkern.phiid(values, backend="cupy")["sts"]
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_what_a_tensor_cannot_be(cupy, gpu_tensors, rng):
    series = torch.from_numpy(rng.standard_normal((2, 40, 3)))
    with pytest.raises(ValueError, match="series requires a gradient, which a CuPy backend cannot"):
        synkern.phiid(series.requires_grad_(), backend="cupy")
    with pytest.raises(
        TypeError, match="series must hold real numbers; got dtype torch.complex128"
    ):
        synkern.phiid(series.detach() + 1j, backend="cupy")


def test_arrays_of_another_device_than_the_current_one(cupy, shim, rng):
    series = rng.standard_normal((3, 50, 37))
    with cupy.cuda.Device(1):
        given = cupy.asarray(series)
    expected = decomposed(series, backend="numpy")
    for options in ({}, {"pairs": "within", "groups": [k % 4 for k in range(37)]}):
        found = decomposed(given, **options)
        assert found["sts"].device.id == 1
    np.testing.assert_allclose(decomposed(given)["sts"].get(), expected["sts"], rtol=0, atol=1e-12)
    nodes = decomposed(given, by_node=True, unit="bits")
    assert nodes["sts"].device.id == nodes.pairs.device.id == 1
    assert synkern.phiid_local(given, [[0, 1]]).device.id == 1
    assert not cupy_stand_in.entered


def test_host_memory_is_refused(cupy, rng):
    with pytest.raises(ValueError, match="'cupy' cannot compute a series on device 'cpu'"):
        synkern.phiid(rng.standard_normal((2, 40, 3)), backend="cupy")
    with pytest.raises(ValueError, match="fit is in host memory, .* pass cupy.asarray of it"):
        synkern.phiid_local(
            cupy.asarray(rng.standard_normal((40, 3))), [[0, 1]], fit=np.eye(40)[:, :3]
        )


def test_complex_numbers(cupy, rng):
    with pytest.raises(TypeError, match="series must hold real numbers; got dtype complex128"):
        synkern.phiid(cupy.asarray(rng.standard_normal((40, 3)) + 1j))


def test_values_that_are_not_finite(cupy, rng):
    series = rng.standard_normal((2, 40, 3))
    series[1, 7, 2] = np.inf
    with pytest.raises(ValueError, match="the first at trial 1, time 7, node 2: inf"):
        synkern.phiid(cupy.asarray(series))


class Exporter:
    """An array of another library on a GPU: DLPack and a namespace of its own, like JAX's."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=Exporter)


def test_anything_with_dlpack(cupy, rng):
    series = rng.standard_normal((2, 40, 5))
    result = synkern.phiid(Exporter(cupy.asarray(series)), backend="cupy")
    assert isinstance(result["sts"], Exporter)
    expected = synkern.phiid(series, backend="numpy")["sts"]
    np.testing.assert_allclose(result["sts"].array.get(), expected, rtol=0, atol=1e-12)


def test_what_auto_takes(cupy, gpu_tensors, rng, monkeypatch):
    """CuPy's arrays go to `cupy`; tensors to `triton`, if it can, then to `cupy`."""
    on_gpu = {
        b.name: replace(b, status=lambda: backends.Status(("cuda",)))
        for b in backends.BACKENDS
        if b.arrays != "numpy"
    }
    monkeypatch.setattr(backends, "BACKENDS", tuple(on_gpu.values()))
    tensor = torch.from_numpy(rng.standard_normal((2, 40, 3)))
    array = cupy.asarray(tensor.numpy())
    work = {
        "mmi": backends.Wanted(),
        "ccs": backends.Wanted(("gaussian", "CCS")),
        "ccs by node": backends.Wanted(("gaussian", "CCS"), by_node=True),
        "pointwise": backends.Wanted(pointwise=True),
    }
    assert {backends.select("auto", array, each).name for each in work.values()} == {"cupy"}
    chosen = {name: backends.select("auto", tensor, each).name for name, each in work.items()}
    assert chosen == dict.fromkeys(("mmi", "ccs"), "triton") | dict.fromkeys(
        ("ccs by node", "pointwise"), "cupy"
    )
    with_gradient = tensor.clone().requires_grad_()
    assert backends.select("auto", with_gradient, work["ccs by node"]).name == "torch"

    def without(*names):
        monkeypatch.setattr(
            backends, "BACKENDS", tuple(b for b in on_gpu.values() if b.name not in names)
        )

    without("triton")
    assert backends.select("auto", tensor, work["mmi"]).name == "cupy"
    without("cupy")
    assert backends.select("auto", array, work["mmi"]).name == "triton"
    assert backends.select("auto", array, work["ccs by node"]).name == "torch"


# ---- What is left to whole-array operations ------------------------------------------------------


@variants
@pytest.mark.parametrize("fitted", [False, True])
def test_pointwise_atoms(cupy, rng, kind, redundancy, fitted):
    series = hard(rng)
    pairs = [[4, 5], [20, 3], [8, 9], [7, 1], [30, 2]]
    options = {"kind": kind, "redundancy": redundancy, "unit": "bits"}
    fit = {"fit": series[1]} if fitted else {}
    fit_there = {"fit": cupy.asarray(series[1])} if fitted else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = synkern.phiid_local(series, pairs, backend="numpy", **options, **fit)
        found = synkern.phiid_local(cupy.asarray(series), pairs, **options, **fit_there)
    assert isinstance(found, cupy_stand_in.ndarray)
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=1e-12)


def test_repeated_additions_are_in_order(cupy, rng):
    lib = CuPyLibrary(cupy)
    target = cupy.asarray(np.ones((3, 4)))
    at = rng.integers(0, 3, 50), rng.integers(0, 4, 50)
    values = rng.standard_normal(50)
    expected = np.ones((3, 4))
    np.add.at(expected, at, values)
    lib.add_at(target, tuple(map(cupy.asarray, at)), cupy.asarray(values))
    np.testing.assert_allclose(target.get(), expected, rtol=0, atol=1e-14)
    lib.add_at(target, tuple(cupy.asarray(part[:0]) for part in at), cupy.asarray(values[:0]))
    np.testing.assert_allclose(target.get(), expected, rtol=0, atol=1e-14)


# ---- How kernels are started ---------------------------------------------------------------------


def test_a_kernel_is_compiled_once_for_a_device(cupy):
    started = []

    class RawModule:
        def __init__(self, code, options, name_expressions, backend):
            assert "mmi_series" in code
            assert "#include" not in code
            assert options == ("--std=c++17",)
            assert backend == "nvrtc"
            self.names = name_expressions
            started.append(self.names)

        def get_function(self, name):
            assert name in self.names
            return Function()

    class Function:
        max_dynamic_shared_size_bytes = 0

        def __call__(self, grid, block, arguments, *, shared_mem):
            assert shared_mem == self.max_dynamic_shared_size_bytes
            started.append((grid, block, arguments, shared_mem))

    cupy.RawModule = RawModule
    launched = launcher.DeviceLauncher(0)
    assert launched.multiprocessors == 4
    assert launched.capability == (9, 0)
    array = cupy.zeros((3,))
    for _ in range(2):
        launched.launch(NAMES[0], 5, 256, (array, 7, 0.5))
    assert started[0] == (NAMES[0],)
    assert len(started) == 3
    grid, block, arguments, shared = started[1]
    assert (grid, block, shared) == ((5,), (256,), 0)
    assert arguments[0] is array
    assert [type(value) for value in arguments[1:]] == [np.int64, np.float64]
    # More shared memory than a block has unasked.
    for atoms, size in LAGS_BYTES.items():
        lags = f"phiid::mmi_lags<double, phiid::{atoms}, phiid::AllPairs>"
        launched.launch(lags, 5, 128, (array,))
        assert started[-1][-1] == size > 48 * 1024
    launcher.device_launcher.cache_clear()
    assert launcher.device_launcher(0) is launcher.device_launcher(0)
    assert launcher.device_launcher(0) is not launcher.device_launcher(1)
    launcher.device_launcher.cache_clear()
