"""Backend `cupy` without a GPU: its kernels run on the CPU, its arrays are those of a stand-in."""

import sys
import types
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import synkern
from support import cuda_shim, cupy_stand_in
from synkern import _arrays
from synkern.decomposition import backends
from synkern.kernels.cupy_backend import backend, launch
from synkern.kernels.cupy_backend import nvrtc as launcher
from synkern.kernels.cupy_backend.library import DeviceLibrary
from synkern.kernels.cupy_backend.source import NAMES
from synkern.kernels.lattice import ATOMS

VARIANTS = [("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")]
variants = pytest.mark.parametrize(("kind", "redundancy"), VARIANTS)


class Shim:
    """`Launcher` of the kernels compiled for the CPU."""

    multiprocessors = 4

    def __init__(self, library):
        self.library = library
        self.order = "random"
        self.names = []

    def launch(self, name, grid, block, arguments):
        self.names.append(name)
        launched = cuda_shim.Launcher(self.library, self.order, len(self.names))
        launched.launch(name, grid, block, [cupy_stand_in.unwrap(a) for a in arguments])


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return cuda_shim.build(tmp_path_factory.mktemp("kernels") / "kernels.so")


@pytest.fixture
def shim(library, monkeypatch):
    shim = Shim(library)
    monkeypatch.setattr(backend, "device_launcher", lambda device: shim)
    return shim


@pytest.fixture
def cupy(shim, monkeypatch):
    """The module, as if there were a GPU."""
    made = cupy_stand_in.module()
    monkeypatch.setitem(sys.modules, "cupy", made)
    monkeypatch.setattr("synkern.kernels.cupy_backend.record.obstacle", lambda: None)
    return made


def hard(rng, trials=3, time=40, nodes=37):
    """Walks, some nearly or quite the same, constant, or fixed by the past."""
    series = rng.standard_normal((trials, time, nodes)).cumsum(1)
    series[..., 5] = series[..., 4] + 1e-5 * series[..., 5]
    series[..., 20] = 3 - 2 * series[..., 3]
    series[0, :, 7] = 1.5
    series[-1, 1:, 9] = series[-1, :-1, 8]
    return series


def decomposed(series, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return synkern.phiid(series, **options)


def assert_same(found, expected, tolerance=1e-12):
    assert found.backend == "cupy"
    for atom in expected:
        value = found[atom]
        assert isinstance(value, cupy_stand_in.ndarray)
        assert value.dtype == expected[atom].dtype
        np.testing.assert_allclose(value.get(), expected[atom], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.constant, expected.constant)
    assert found.rescued == expected.rescued
    assert found.degenerate == expected.degenerate
    if hasattr(expected, "flagged"):
        np.testing.assert_array_equal(
            np.unique(found.flagged, axis=0), np.unique(expected.flagged, axis=0)
        )


@variants
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all", ("xtx",)])
def test_all_pairs(cupy, rng, kind, redundancy, average, atoms):
    series = hard(rng)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": atoms}
    expected = decomposed(series, backend="numpy", **options)
    assert_same(decomposed(cupy.asarray(series), **options), expected, 1e-9)


@variants
@pytest.mark.parametrize("shape", [(1, 60, 2), (5, 70, 3), (2, 130, 33), (9, 60, 17), (2, 6, 8)])
def test_sizes(cupy, rng, kind, redundancy, shape):
    """Odd ones; benign series, of which two backends differ by rounding alone."""
    series = rng.standard_normal(shape)
    options = {"kind": kind, "redundancy": redundancy, "atoms": "all"}
    expected = decomposed(series, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), **options)
    assert_same(found, expected, 1e-12 if shape[1] > 6 else 1e-9)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
def test_samples_at_the_mean(cupy, rng, redundancy, average):
    """Of every node a third, where the rounding of the mean would decide."""
    series = rng.permuted(np.tile(np.resize([0.1, 0.2, 0.3], (60, 1)), (2, 1, 5)), axis=1)
    series = np.concatenate([series, series[:, :1]], 1)
    options = {"kind": "discrete", "redundancy": redundancy, "average": average, "atoms": "all"}
    found = decomposed(cupy.asarray(series), **options)
    assert_same(found, decomposed(series, backend="numpy", **options))
    pairs, options = [[0, 1], [3, 2]], {"kind": "discrete", "redundancy": redundancy}
    with pytest.warns(UserWarning, match="4 of 5 nodes take more than two levels"):
        local = synkern.phiid_local(cupy.asarray(series), pairs, **options)
    # The tenths of float64 make a mean that is a little less than its two tenths.
    expected = synkern.phiid_local(series >= 0.2, pairs, **options)
    np.testing.assert_allclose(local.get(), expected, rtol=0, atol=1e-12)


@variants
@pytest.mark.parametrize("average", ["trials", None])
def test_float32(cupy, heads, kind, redundancy, average):
    series = heads["trained"]
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": "all"}
    expected = decomposed(series, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), dtype="float32", **options)
    for atom in ATOMS:
        value = found[atom].get()
        assert value.dtype == np.float32
        # 1e-5 as promised, and the rounding of the output and of sums over trials.
        bound = 1e-5 + 4 * np.finfo("float32").eps * np.nanmax(np.abs(expected[atom]))
        np.testing.assert_allclose(value, expected[atom], rtol=0, atol=bound)
    assert found.rescued == expected.rescued


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"])
@pytest.mark.parametrize("average", ["trials", None])
def test_moments_through_memory(cupy, shim, rng, monkeypatch, dtype, atoms, average):
    """In parts of two trials; the list of marked pairs is one."""
    series = hard(rng, trials=5, nodes=21)
    monkeypatch.setattr(launch, "through_memory", lambda *_: True)
    monkeypatch.setattr(launch, "WORKSPACE", 2 * 3 * 8 * 21 * 21)
    options = {"atoms": atoms, "average": average}
    expected = decomposed(series, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), dtype=dtype, **options)
    assert {name.partition("<")[0] for name in shim.names} == {"phiid::mmi_moments"}
    assert len(shim.names) == 3
    if dtype == "float64":
        assert_same(found, expected, 2e-9)
    else:
        for atom in expected:
            np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=2e-5)
        assert found.degenerate == expected.degenerate


def test_the_path_is_chosen_by_a_model():
    assert not launch.through_memory(1152, 99, 32)
    assert launch.through_memory(1152, 1000, 32)
    assert launch.through_memory(1152, 99, 16)
    assert not launch.through_memory(50_000, 1000, 32)  # one trial would take 60 GB


@pytest.mark.parametrize("reduce", [None, "nodes"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_a_list_that_overflows(cupy, shim, rng, monkeypatch, redundancy, reduce):
    series = np.repeat(rng.standard_normal((2, 40, 1)).cumsum(1), 20, axis=-1)
    options = {"redundancy": redundancy, "reduce": reduce}
    expected = decomposed(cupy.asarray(series), **options)
    once = len(shim.names)
    monkeypatch.setattr(launch, "CAPACITY", 7)
    found = decomposed(cupy.asarray(series), **options)
    assert len(shim.names) > 2 * once
    assert found.degenerate == expected.degenerate
    assert found.degenerate["duplicate"] == 2 * 20 * 19 // 2
    for atom in ("rtr", "sts"):
        np.testing.assert_array_equal(found[atom].get(), expected[atom].get())


@variants
@pytest.mark.parametrize("average", ["trials", None])
def test_the_same_bits_whatever_the_order_of_threads(cupy, shim, rng, kind, redundancy, average):
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": "all"}
    series = cupy.asarray(hard(rng))
    results = []
    for shim.order in ("forward", "reverse", "random", "random"):
        results.append(decomposed(series, **options))
        results.append(decomposed(series, reduce="nodes", **options))
    for again in results[2:]:
        first = results[0] if type(again) is type(results[0]) else results[1]
        for atom in ATOMS:
            np.testing.assert_array_equal(again[atom].get(), first[atom].get())


@variants
@pytest.mark.parametrize("average", ["trials", None, "moments"])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all", ("sts",)])
def test_means_by_node(cupy, rng, kind, redundancy, average, atoms):
    series = hard(rng)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": atoms}
    expected = decomposed(series, reduce="nodes", backend="numpy", **options)
    found = decomposed(cupy.asarray(series), reduce="nodes", **options)
    assert_same(found, expected, 1e-9)
    np.testing.assert_array_equal(found.pairs.get(), expected.pairs)
    if expected.balance is not None:
        # Relative: where sts + rtr is nearly zero, as CCS has it, a share is large.
        np.testing.assert_allclose(found.balance.get(), expected.balance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("average", ["trials", None])
def test_means_by_node_in_bands(cupy, shim, rng, monkeypatch, average):
    series = hard(rng, nodes=70)
    options = {"reduce": "nodes", "average": average}
    expected = decomposed(cupy.asarray(series), **options)
    before = len(shim.names)
    monkeypatch.setattr(launch, "WORKSPACE", 1)
    found = decomposed(cupy.asarray(series), **options)
    # Rows of tiles one by one, each with its totals; of every trial if they are apart.
    assert len(shim.names) - before == 2 * 3 * (3 if average is None else 1)
    assert_same(found, _on_host(expected), 1e-12)


def _on_host(result):
    arrays = {name: result[name].get() for name in result}
    return type(result)(**{**vars(result), "arrays": arrays})


@variants
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("count", [5, 300], ids=["gathered", "from matrices"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_chosen_pairs(cupy, rng, kind, redundancy, average, count, dtype):
    series = hard(rng)
    first = rng.integers(0, 37, count)
    pairs = np.stack([first, (first + rng.integers(1, 37, count)) % 37], -1)
    pairs[:3] = [[4, 5], [20, 3], [8, 9]]
    options = {"kind": kind, "redundancy": redundancy, "average": average, "pairs": pairs}
    expected = decomposed(series, backend="numpy", atoms="all", **options)
    found = decomposed(cupy.asarray(series), atoms="all", dtype=dtype, **options)
    assert found["sts"].dtype == dtype
    for atom in ATOMS:
        bound = 1e-9
        if dtype == "float32":
            bound = 2e-5 + 4 * np.finfo(dtype).eps * np.nanmax(np.abs(expected[atom]), initial=0)
        np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=bound)
    assert found.rescued == expected.rescued
    np.testing.assert_array_equal(
        np.unique(found.flagged, axis=0), np.unique(expected.flagged, axis=0)
    )


@pytest.mark.parametrize("average", ["trials", None])
def test_persistence_reference(cupy, rng, average):
    series = hard(rng)
    options = {"average": average, "atoms": "all"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = synkern.persistence_reference(series, backend="numpy", **options)
        found = synkern.persistence_reference(cupy.asarray(series), **options)
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"])
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
@pytest.mark.parametrize("how", ["all", "chosen", "nodes", "reference"])
def test_moments(cupy, gpu_tensors, rng, atoms, average, how):
    """Gathered by torch on a GPU: taken through DLPack, and the atoms given back."""
    chunks = np.split(hard(rng, time=60), 3, axis=1)
    options = {"atoms": atoms, "average": average}
    options |= {"chosen": {"pairs": [[4, 5], [2, 1], [30, 8]]}, "nodes": {"reduce": "nodes"}}.get(
        how, {}
    )
    compute = synkern.persistence_reference if how == "reference" else synkern.phiid
    moments = [synkern.LaggedMoments() for _ in range(2)]
    for chunk in chunks:
        moments[0].update(chunk)
        moments[1].update(torch.from_numpy(chunk))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = compute(moments[0], backend="numpy", **options)
        found = compute(moments[1], backend="cupy", **options)
    assert found.backend == "cupy"
    for atom in expected:
        assert isinstance(found[atom], torch.Tensor)
        # Moments alone promise no more than 1e-6 where pairs are nearly singular.
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=2e-6)
    assert found.degenerate == expected.degenerate


@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
def test_moments_gathered_by_cupy(cupy, rng, average):
    """Chunk by chunk, of several lags and trials of different length, without torch."""
    parts = [hard(rng, time=60), hard(rng, trials=1, time=45)]

    def gathered(take):
        each = [synkern.LaggedMoments(tau=(1, 3)) for _ in parts]
        for moments, part in zip(each, parts, strict=True):
            for chunk in np.split(part, 3, axis=1):
                moments.update(take(chunk))
        return synkern.LaggedMoments.stack(each)

    there, here = gathered(cupy.asarray), gathered(np.asarray)
    assert there.library == "cupy"
    options = {"atoms": "all", "average": average, "tau": [1, 3]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = synkern.phiid(there, **options)
        expected = synkern.phiid(here, backend="numpy", **options)
    for lag in (1, 3):
        assert found[lag].backend == "cupy"
        assert found[lag].degenerate == expected[lag].degenerate
        for atom in expected[lag]:
            assert isinstance(found[lag][atom], cupy.ndarray)
            np.testing.assert_allclose(
                found[lag][atom].get(), expected[lag][atom], rtol=0, atol=2e-6
            )


@variants
@pytest.mark.parametrize("how", ["all", "chosen", "nodes"])
@pytest.mark.parametrize("average", ["trials", None, "moments"])
def test_masks(cupy, rng, kind, redundancy, how, average):
    """Trials that keep unequal numbers of pairs; constant and coinciding nodes among them."""
    series, mask = hard(rng, time=60, nodes=25), rng.random((3, 60)) > 0.15
    series[~mask] = np.nan
    options = {"kind": kind, "redundancy": redundancy, "average": average}
    options |= {"chosen": {"pairs": [[4, 5], [9, 2]]}, "nodes": {"reduce": "nodes"}}.get(how, {})
    expected = decomposed(series, mask=mask, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), mask=cupy.asarray(mask), **options)
    assert_same(found, expected, 1e-9)


def test_moments_under_a_mask(cupy, rng):
    series, mask = rng.standard_normal((2, 90, 4)), rng.random((2, 90)) > 0.1
    series[~mask] = np.nan
    moments = synkern.LaggedMoments()
    for start in (0, 45):
        part = slice(start, start + 45)
        moments.update(cupy.asarray(series[:, part]), mask=cupy.asarray(mask[:, part]))
    expected = synkern.phiid(series, mask=mask, backend="numpy")
    found = synkern.phiid(moments)
    for atom in expected:
        np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=1e-12)


# ---- Arrays --------------------------------------------------------------------------------------


STREAM = 1234


@pytest.fixture
def gpu_tensors(monkeypatch):
    """Tensors of torch pass for ones on a GPU, of whose streams `STREAM` is the current one."""

    def on_gpu(array):
        kind, device = _arrays.native(array)
        return kind, "cuda" if isinstance(array, torch.Tensor) else device

    monkeypatch.setattr(backends, "native", on_gpu)
    monkeypatch.setattr(_arrays, "_in_host_memory", lambda array: False)
    current = types.SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current)
    del cupy_stand_in.used_streams[:]


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
    assert set(cupy_stand_in.used_streams) == {STREAM}
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
    nodes = decomposed(given, reduce="nodes", unit="bits")
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
    lib = DeviceLibrary(cupy)
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
            return lambda grid, block, arguments: started.append((grid, block, arguments))

    cupy.RawModule = RawModule
    launched = launcher.DeviceLauncher(0)
    assert launched.multiprocessors == 4
    array = cupy.zeros((3,))
    for _ in range(2):
        launched.launch(NAMES[0], 5, 256, (array, 7, 0.5))
    assert started[0] == (NAMES[0],)
    assert len(started) == 3
    grid, block, arguments = started[1]
    assert (grid, block) == ((5,), (256,))
    assert arguments[0] is array
    assert [type(value) for value in arguments[1:]] == [np.int64, np.float64]
    launcher.device_launcher.cache_clear()
    assert launcher.device_launcher(0) is launcher.device_launcher(0)
    assert launcher.device_launcher(0) is not launcher.device_launcher(1)
    launcher.device_launcher.cache_clear()
