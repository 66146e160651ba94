"""Centring and scaling by the CUDA kernel, on a CPU, against `formulas.unit_vectors`."""

import numpy as np
import pytest

import synkern
from support.cuda_shim import ORDERS, Launcher, build, planted
from synkern.kernels.contract import Limits
from synkern.kernels.cupy_backend import backend
from synkern.kernels.cupy_backend.launch import Device
from synkern.kernels.cupy_backend.source import NAMES, UNIT_VECTORS
from synkern.kernels.cupy_backend.unit_vectors import unit_vectors
from synkern.kernels.engine.libraries import CuPyLibrary
from synkern.kernels.formulas.unit_vectors import unit_vectors as standardise

EPS = 2.0**-52


class Poisoned(Device):
    """What the kernel does not write is NaN, or 255."""

    def empty(self, shape, dtype="float64"):
        return np.full(shape, np.nan if dtype == "float64" else 255, dtype)


class Renamed:
    """Launches kernels of another namespace."""

    def __init__(self, launcher, namespace):
        self.launcher, self.namespace = launcher, namespace

    def launch(self, name, *arguments):
        self.launcher.launch(name.replace("phiid", self.namespace), *arguments)


def found_by(launcher, series, tau=1):
    return unit_vectors(Poisoned(CuPyLibrary(np), launcher), series, tau)


def compare(launcher, series, tau=1, *, digits_lost=1.0):
    """Unit vectors of the kernel, which differ from the formula's by rounding.

    An entry of one is at most 1. It is rounded a few times, as are the mean and the norm; sums of n
    numbers run in another order, in 8 parts: an error of sqrt(n) eps at most, and twice that. An
    offset that takes digits from the data takes them from the means of both.
    """
    expected = standardise(np, series.astype(np.float64), tau)
    found = found_by(launcher, series, tau)
    bound = 2 * (4 + np.sqrt(expected.samples)) * EPS * digits_lost
    for one, two in zip(found[:2], expected[:2], strict=True):
        assert np.abs(one - two).max() <= bound
    assert np.abs(found.own - (expected.past * expected.future).sum(-1)).max() <= 2 * bound
    np.testing.assert_array_equal(found.constant, expected.constant)
    assert not found.past[expected.past.any(-1) == 0].any()
    return found


@pytest.mark.parametrize("dtype", UNIT_VECTORS)
@pytest.mark.parametrize(
    ("trials", "time", "nodes", "tau"),
    [(1, 4, 2, 1), (3, 38, 19, 2), (2, 33, 33, 1), (1, 65, 32, 32), (2, 101, 65, 3), (1, 9, 1, 7)],
)
def test_odd_sizes(launcher, rng, trials, time, nodes, tau, dtype):
    compare(launcher, rng.standard_normal((trials, time, nodes)).astype(dtype), tau)


def test_offsets_walks_and_rhythms(launcher, rng):
    noise = rng.standard_normal((2, 99, 34))
    compare(launcher, noise.cumsum(1))
    compare(launcher, np.sin(np.arange(99) / 7)[None, :, None] + 1e-3 * noise)
    for offset in (1e3, -1e6, 1e9):
        compare(launcher, offset + noise)
    # Two means: with one, what is left of the offset is not zero.
    found = found_by(launcher, 1e9 + noise)
    assert np.abs(found.past.sum(-1)).max() < 99 * EPS


def test_extreme_magnitudes(launcher, rng):
    """From the least subnormal numbers to the largest that are finite: the same unit vectors."""
    base = rng.standard_normal((1, 41, 1))
    scales = [1e-310, 1e-300, 1e-160, 1.0, 3e150, 1e300, 1.79e308 / np.abs(base).max()]
    series = np.concatenate([base * scale for scale in scales], -1)
    found = found_by(launcher, series)
    expected = standardise(np, base, 1)
    # A subnormal number of 1e-310 has 14 digits at most.
    assert np.abs(found.past - expected.past).max() < 2e-13
    assert np.abs(found.future - expected.future).max() < 2e-13
    compare(launcher, np.concatenate([series[..., 1:-1], -series[..., 1:-1]], -1), 3)


def test_constants_are_exact(launcher, rng):
    series = rng.standard_normal((2, 31, 7))
    series[0, :, 0] = 0.0
    series[0, :, 1] = 0.1  # its mean is not 0.1
    series[1, :-2, 2] = -1e300  # constant in the past alone, and the reverse
    series[1, 2:, 3] = 5e-324
    series[1, :, 4] = 0.1
    series[1, 20, 4] = np.nextafter(0.1, 1)  # one bit: no constant
    series[0, :, 5] = 5e-324
    series[0, 7, 5] = 0.0
    found = compare(launcher, series, 2)
    assert np.argwhere(found.constant).tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]
    assert found.past[1, 3].any()
    assert not found.past[1, 2].any()
    assert not found.own[found.constant].any()


def test_no_order_of_threads_changes_a_bit(library, rng):
    series = rng.standard_normal((2, 70, 37))
    results = [found_by(Launcher(library, order, 5), series) for order in ORDERS]
    for other in results[1:]:
        for one, two in zip((*results[0], results[0].own), (*other, other.own), strict=True):
            assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("dtype", ["int64", "float16", "bool"])
def test_other_layouts_and_dtypes(launcher, rng, dtype):
    series = (3 * rng.standard_normal((40, 2, 7))).astype(dtype).swapaxes(0, 1)
    compare(launcher, series)


PLANTED = {
    "no_barrier_before_parts_are_read": (
        "= values[k];\n    __syncthreads();\n",
        "= values[k];\n",
    ),
    "no_barrier_before_parts_are_overwritten": (
        "memory.parts[k][other][lane]);\n    }\n    __syncthreads();\n",
        "memory.parts[k][other][lane]);\n    }\n",
    ),
    "no_barrier_before_a_turn": (
        "* segment[1].scale;\n        }\n        __syncthreads();\n",
        "* segment[1].scale;\n        }\n",
    ),
    "one_mean": ("segment[0].rest = rest[0] / double(samples);", ""),
    "the_last_node_left_out": ("first + k >= nodes ||", "first + k >= nodes - 1 ||"),
    "the_last_sample_left_out": ("start + lane >= samples", "start + lane >= samples - 1"),
    "one_sample_too_few": (
        "squares[0] += p * p;",
        "if (t < samples - 1) squares[0] += p * p;",
    ),
    "one_side_constant": ("constant[at] = still[0] || still[1];", "constant[at] = still[0];"),
    "a_power_for_all": ("(exponent < 2045 ? exponent : 2045)", "1023"),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    text = "\n".join(planted(defect, name) for name, defect in PLANTED.items())
    names = [f"{name}::unit_vectors<double>" for name in PLANTED]
    return build(tmp_path_factory.mktemp("broken") / "broken.so", names, text=text)


@pytest.mark.parametrize("defect", PLANTED)
def test_planted_defects_are_found(broken, rng, defect):
    series = 1e9 + rng.standard_normal((2, 45, 37))
    series[1, 1:, 3] = 0.0  # constant in the future alone
    series[0, :, 5] = 1e300 * rng.standard_normal(45)
    expected = standardise(np, series, 1)
    found_out = False
    for order in ORDERS:
        with np.errstate(all="ignore"):
            found = found_by(Renamed(Launcher(broken, order), defect), series)
        bound = 100 * EPS
        off = [np.abs(one - two).max() for one, two in zip(found[:2], expected[:2], strict=True)]
        means = np.abs(found.past.sum(-1)).max()
        same = np.array_equal(found.constant, expected.constant)
        found_out |= not (max(off) <= bound and means <= bound and same)
    assert found_out


def test_a_call_standardises_by_the_kernel_alone(cupy, shim, rng, monkeypatch):
    """No array of CuPy takes part: each operation of those would be compiled at the first call."""
    series = rng.standard_normal((2, 40, 9))
    monkeypatch.setattr("synkern.kernels.formulas.unit_vectors.unit_vectors", None)
    synkern.phiid(cupy.asarray(series), backend="cupy")
    assert shim.names[0] == "phiid::one_series<double>"
    synkern.phiid(cupy.asarray(series), backend="cupy", tau=2)
    assert "phiid::unit_vectors<double>" in shim.names
    synkern.phiid_nodes(cupy.asarray(series.astype(np.float32)), backend="cupy", redundancy="CCS")
    assert "phiid::unit_vectors<float>" in shim.names
    assert set(UNIT_VECTORS.values()) <= set(NAMES)


def test_a_grown_list_is_kept_from_band_to_band(library, rng):
    """Else every band would run twice: once to learn how long its list is."""

    class Counted(Launcher):
        multiprocessors, capability, launched = 4, (9, 0), ()

        def launch(self, name, *arguments):
            self.launched = (*self.launched, name)
            super().launch(name, *arguments)

    from synkern.kernels.engine.all_pairs import request_for  # noqa: PLC0415
    from synkern.kernels.formulas.estimators import GaussianMMI  # noqa: PLC0415

    nodes = 160
    series = rng.standard_normal((1, 30, nodes))
    series[:, :, ::2] = series[:, :, 1::2]  # a duplicate in every pair of neighbours
    launcher = Counted(library)
    limits = Limits(workspace=1, capacity=1)  # bands of one row of tiles
    request = request_for(
        ("rtr", "sts"),
        estimator=GaussianMMI(),
        per_trial=False,
        dtype="float64",
        by_node=True,
        limits=limits,
    )
    with np.errstate(all="ignore"):
        backend.compute(Device(CuPyLibrary(np), launcher), series, request)
    bands = -(-nodes // 32)
    kernels = [name for name in launcher.launched if "mmi_lags_nodes" in name]
    assert len(kernels) == bands + 1
