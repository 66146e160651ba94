"""The same kind of array comes out as went in."""

import numpy as np
import pytest

import synkern
from support.optional import torch


@pytest.fixture
def series(rng):
    return rng.standard_normal((2, 40, 3))


class Exporter:
    """An array of another library: DLPack and a namespace of its own, like CuPy's or JAX's."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()

    def __array_namespace__(self):
        return Exporter

    @classmethod
    def from_dlpack(cls, other):
        return cls(np.from_dlpack(other))

    @classmethod
    def asarray(cls, other):
        return cls(np.asarray(other))


def test_numpy(series, backend):
    result = synkern.phiid(series, backend=backend)
    assert type(result["sts"]) is np.ndarray
    assert result["sts"].dtype == np.float64
    assert synkern.phiid(series).backend == "cpu"


def test_torch(series, backend):
    result = synkern.phiid(torch.from_numpy(series), backend=backend)
    assert isinstance(result["sts"], torch.Tensor)
    assert result["sts"].dtype == torch.float64
    tensor = torch.from_numpy(series)
    assert synkern.phiid(tensor).backend == "cpu"
    assert synkern.phiid(tensor.requires_grad_()).backend == "torch"


def test_anything_with_dlpack(series, backend):
    expected = synkern.phiid(series, backend=backend)
    result = synkern.phiid(Exporter(series), backend=backend)
    assert isinstance(result["sts"], Exporter)
    np.testing.assert_array_equal(result["sts"].values, expected["sts"])
    assert isinstance(synkern.phiid(Exporter(series))["sts"], Exporter)


def test_nested_lists(series, backend):
    result = synkern.phiid(series.tolist(), backend=backend)
    np.testing.assert_array_equal(result["sts"], synkern.phiid(series, backend=backend)["sts"])


@pytest.mark.parametrize(
    "view",
    [
        lambda s: s[:, ::-1],
        np.asfortranarray,
        lambda s: s.astype(">f8"),
        lambda s: np.broadcast_to(s, s.shape),
    ],
    ids=["reversed", "fortran", "big-endian", "read-only"],
)
def test_any_layout(series, backend, view):
    values = view(series)
    before = values.copy()
    result = synkern.phiid(values, backend=backend)
    expected = synkern.phiid(np.array(values, np.float64), backend=backend)
    np.testing.assert_allclose(result["sts"], expected["sts"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "int8", "bool"])
def test_any_real_dtype(rng, backend, dtype):
    values = rng.integers(0, 2, (2, 40, 3)).astype(dtype)
    expected = synkern.phiid(values.astype(np.float64), backend=backend)
    assert synkern.phiid(values, backend=backend)["sts"].dtype == np.float64
    for array in (values, torch.from_numpy(values)):
        result = synkern.phiid(array, backend=backend)
        np.testing.assert_array_equal(np.asarray(result["sts"]), expected["sts"])


def test_bfloat16(series, backend):
    tensor = torch.from_numpy(series).bfloat16()
    expected = synkern.phiid(tensor.double(), backend=backend)["sts"]
    result = synkern.phiid(tensor, backend=backend)["sts"]
    torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)


def test_complex_numbers_of_another_library(series, backend):
    with pytest.raises(TypeError, match="series must hold real numbers.*complex128"):
        synkern.phiid(Exporter(series + 1j), backend=backend)


def test_library_without_a_way_back_is_refused_at_once(series, backend):
    class Bare(Exporter):
        __array_namespace__ = property(lambda self: self.nothing)

    with pytest.raises(TypeError, match="series: a Bare .* no from_dlpack.*torch.from_dlpack"):
        synkern.phiid(Bare(series), backend=backend)


def test_autocast_changes_nothing(series):
    tensor = torch.from_numpy(series).requires_grad_()
    expected = synkern.phiid(tensor, dtype="float32")
    torch.nansum(expected["sts"]).backward()
    gradient, tensor.grad = tensor.grad, None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = synkern.phiid(tensor, dtype="float32")
        torch.nansum(result["sts"]).backward()
    torch.testing.assert_close(result["sts"], expected["sts"], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(tensor.grad, gradient, rtol=0, atol=0)


class Sparse:
    """As SciPy's: no array to NumPy, which makes one object of it."""

    def toarray(self):
        raise AssertionError("dense arrays are the caller's to make")


class Lazy:
    """As polars' and dask's, not yet computed."""

    def collect(self):
        raise AssertionError("work is the caller's to begin")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Sparse(), r"got a Sparse: pass series\.toarray\(\)"),
        (Lazy(), r"got a Lazy: pass series\.collect\(\)"),
        (None, "got a NoneType: pass one, of numbers"),
        ({"a": [1.0]}, "got a dict: pass one, of numbers"),
    ],
)
def test_what_is_one_object_to_numpy_is_named(given, message, backend):
    with pytest.raises(TypeError, match=f"series must be an array of real numbers; {message}"):
        synkern.phiid(given, backend=backend)


def test_a_tracer_says_itself_that_it_has_no_values():
    """Of JAX: it has __dlpack__ from its class, and no memory."""

    class Tracer:
        def __dlpack__(self):
            raise AssertionError("there is no memory to share")

        def __array__(self, dtype=None, copy=None):
            raise TypeError("called on a traced array")

    with pytest.raises(TypeError, match="called on a traced array"):
        synkern.phiid(Tracer())
