"""The arithmetic of kernels/native, compiled for the host, as it is and under sanitizers."""

import ctypes
import subprocess
from pathlib import Path

import mpmath
import numpy as np
import pytest

from synkern.kernels.cpu_backend import build as cpu_build
from synkern.kernels.formulas.mmi import Correlations, atoms, lambdas
from synkern.kernels.formulas.uncorrelated import local_resolution, resolution
from synkern.kernels.lattice import ATOMS, LEAST_SUM, moebius_matrix

NATIVE = Path(__file__).parents[2] / "native"
DTYPES = ["float64", "float32"]


def build(source, output, *flags):
    command = [*cpu_build.compiler(), *flags, "-iquote", str(cpu_build.SOURCES), "-pthread"]
    line = [*command, str(NATIVE / source), "-o", str(output)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    """Functions of the header on arrays, compiled as the backend is."""
    return ctypes.CDLL(
        build("header.cpp", tmp_path_factory.mktemp("header") / "header.so", *cpu_build.FLAGS)
    )


def call(function, count, *arrays):
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    function(pointers[0], ctypes.c_long(count), *pointers[1:])


def logarithms(header, numbers):
    found = np.empty_like(numbers)
    call(getattr(header, f"ln_{numbers.dtype}"), len(numbers), numbers, found)
    return found


def decomposed(header, c, dtype):
    """Smallest conditional variance (pairs,), rtr and sts (2, pairs), cumulative (16, pairs)."""
    c = np.ascontiguousarray(c, dtype)
    count = c.shape[1]
    found = [np.empty(shape, dtype) for shape in ((count,), (2, count), (16, count))]
    call(getattr(header, f"atoms_{dtype}"), count, c, *found)
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithm_is_right_to_its_last_place(header, rng, dtype):
    info = np.finfo(dtype)
    numbers = np.concatenate(
        [
            np.exp(rng.uniform(np.log(info.tiny), np.log(info.max), 4096)),
            rng.uniform(0.5, 2, 4096),
            1 + rng.standard_normal(4096) * 2.0 ** rng.uniform(-info.nmant, -2, 4096),
            np.repeat([1.0, float(info.tiny), float(info.max), 0.5], 4),
        ]
    ).astype(dtype)
    found = logarithms(header, numbers)
    assert (found[numbers == 1] == 0).all()
    exact = np.log(numbers.astype(np.longdouble))
    # Half a unit is that of the last rounding; the algorithm's own error is below half of one.
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(np.longdouble)
    assert (np.abs(found - exact) <= unit).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_logarithm_of_what_has_none_is_nan(header, dtype):
    info = np.finfo(dtype)
    special = [0, -0.0, -1, -np.inf, np.inf, np.nan, info.smallest_subnormal, -info.max] * 2
    assert np.isnan(logarithms(header, np.array(special, dtype))).all()


def correlations(rng, count, spread):
    """(6, count) from matrices with a condition that grows with the spread."""
    mixed = rng.standard_normal((count, 4, 4)) * np.exp(rng.uniform(-spread, 0, (count, 4, 1)))
    covariance = mixed.swapaxes(1, 2) @ mixed
    scale = 1 / np.sqrt(np.diagonal(covariance, 0, 1, 2))
    r = covariance * scale[:, :, None] * scale[:, None]
    return np.stack([r[:, 0, 1], r[:, 2, 3], r[:, 0, 2], r[:, 0, 3], r[:, 1, 2], r[:, 1, 3]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0.5, 3, 6])
def test_all_atoms_as_in_numpy(header, rng, dtype, spread):
    # Rounded first: what is compared is the arithmetic, not the rounding of its input.
    c = correlations(rng, 4096, spread).astype(dtype)
    variance, two, cumulative = decomposed(header, c, dtype)
    eps = np.finfo(dtype).eps
    # What rounding to float32 has made singular has no bound, and is left out.
    with np.errstate(invalid="ignore", divide="ignore"):
        v, expected_variance = lambdas(np, Correlations(*c.astype(np.float64)))
        expected = np.array(atoms(np, v, ATOMS))
        bound = 16 * eps / expected_variance
    use = bound < 1e-2
    assert use.sum() > 50
    # The variance is off by as much, relative to itself.
    assert (np.abs(variance[use] / expected_variance[use] - 1) <= 16 * bound[use]).all()
    # Every atom is a sum of up to 16 cumulative informations, each off by the bound at most.
    found = moebius_matrix() @ cumulative.astype(np.float64)
    assert (np.abs(found - expected)[:, use] <= 16 * bound[use]).all()
    assert (np.abs(two - expected[[0, 15]])[:, use] <= 16 * bound[use]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_least_informations_are_largest_lambdas(header, rng, dtype):
    """The logarithm of the larger one is the larger logarithm, or the next number to it."""
    c = np.ascontiguousarray(correlations(rng, 4096, 2), dtype)
    c[:, 1::2] = c[:, ::2]
    c[2:, 1::2] *= 1 - np.finfo(dtype).epsneg  # Lambdas that are nearly equal.
    c[4, ::2], c[5, ::2] = c[2, ::2], c[3, ::2]
    sixteen = decomposed(header, c, dtype)[2]
    nine = np.empty_like(sixteen)
    call(getattr(header, f"nine_{dtype}"), c.shape[1], c, nine)
    known = ~np.isnan(sixteen).any(0)
    assert known.sum() > 2000
    assert (np.abs(nine - sixteen) <= np.spacing(np.abs(sixteen)))[:, known].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_and_missing_have_no_variance(header, rng, dtype):
    c = correlations(rng, 64, 1)
    for k, entry in enumerate([1.0, -1.0, np.nan, 1.5, np.inf, 1 + 1e-7]):
        for which in range(6):
            c[which, 6 * k + which] = entry
    variance = decomposed(header, c, dtype)[0]
    assert (variance[:36] == 0).all()
    assert (variance[36:] > 0).all()


def test_a_pair_by_sixty_digits(header, rng):
    c = correlations(rng, 64, 2)
    two = decomposed(header, c, "float64")[1]
    for k in range(8):
        xy, ab, xa, xb, ya, yb = (mpmath.mpf(float(r)) for r in c[:, k])
        with mpmath.workdps(60):
            matrix = mpmath.matrix(
                [[1, xy, xa, xb], [xy, 1, ya, yb], [xa, ya, 1, ab], [xb, yb, ab, 1]]
            )

            def determinant(*places, matrix=matrix):
                return mpmath.det(mpmath.matrix([[matrix[i, j] for j in places] for i in places]))

            singles = [determinant(i, j) for i in (0, 1) for j in (2, 3)]
            rtr = -mpmath.log(max(singles)) / 2
        assert abs(float(rtr) - two[0, k]) < 1e-14


@pytest.mark.parametrize("of", [resolution, local_resolution])
def test_what_is_zero_is_the_same_number_as_in_python(header, of):
    in_header = getattr(header, f"{of.__name__}_float64")
    in_header.restype = ctypes.c_double
    for samples in (7, 99, 12345, 10**7):
        assert in_header(ctypes.c_double(samples)) == of(samples)


def test_the_least_sum_is_the_same_number_as_in_python(header):
    header.least_sum.restype = ctypes.c_double
    assert header.least_sum() == LEAST_SUM


@pytest.mark.proof
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_are_silent_and_threads_change_nothing(tmp_path, sanitizer):
    flags = [flag for flag in cpu_build.FLAGS if flag not in ("-O2", "-shared", "-fPIC")]
    checks = ["-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    program = build("sanitized.cpp", tmp_path / "sanitized", *flags, *checks)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
