"""Every message names the argument, the value and the remedy."""

import numpy as np
import pytest

import synkern
from support.backends import BACKENDS, DIFFERENTIABLE
from support.optional import torch

pytestmark = pytest.mark.brief


@pytest.fixture
def series(rng):
    return rng.standard_normal((2, 40, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(series, backend, value):
    series[1, 7, 2] = value
    message = "1 values that are NaN or infinite, the first at trial 1, time 7, node 2"
    with pytest.raises(ValueError, match=message):
        synkern.phiid(series, backend=backend)


@pytest.mark.parametrize("tau", [0, -1, 1.5, True, "1"])
def test_tau_is_a_positive_integer(series, tau):
    with pytest.raises(ValueError, match=f"tau must be a positive whole number.*{tau!r}"):
        synkern.phiid(series, tau=tau)


def test_numpy_integers_are_integers(series):
    assert synkern.phiid(series, tau=np.int64(2)).tau == 2


@pytest.mark.parametrize("tau", [36, 39, 40, 1000])
def test_too_few_samples(series, backend, tau):
    with pytest.raises(ValueError, match=f"40 time points and tau = {tau}.*at least 5"):
        synkern.phiid(series, tau=tau, backend=backend)


def test_few_samples_warn(series, backend):
    with pytest.warns(UserWarning, match="40 time points and tau = 11, which leaves 29 samples"):
        synkern.phiid(series, tau=11, backend=backend)
    synkern.phiid(series, tau=10, backend=backend)


def test_transposed_series_is_recognised(rng, backend):
    with pytest.raises(ValueError, match=r"\(3, 100\).*transposed"):
        synkern.phiid(rng.standard_normal((3, 100)), backend=backend)
    with pytest.warns(UserWarning, match="transposed"):
        synkern.phiid(rng.standard_normal((20, 100)), backend=backend)


@pytest.mark.parametrize("shape", [(40,), (1, 2, 40, 3), ()])
def test_wrong_number_of_axes(shape, backend):
    with pytest.raises(ValueError, match=r"must be \(trials, time, nodes\)"):
        synkern.phiid(np.zeros(shape), backend=backend)


@pytest.mark.parametrize("shape", [(0, 40, 3), (2, 40, 1), (2, 40, 0)])
def test_empty(shape, backend):
    with pytest.raises(ValueError, match="at least 1 trial and 2 nodes"):
        synkern.phiid(np.zeros(shape), backend=backend)


@pytest.mark.parametrize("values", [np.zeros((40, 3), complex), [["a", "b"]] * 40])
def test_not_real_numbers(values, backend):
    with pytest.raises(TypeError, match="series must hold real numbers"):
        synkern.phiid(values, backend=backend)


def test_complex_tensor():
    with pytest.raises(TypeError, match="series must hold real numbers.*complex64"):
        synkern.phiid(torch.zeros(40, 3, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("kind", "normal", "'gaussian', 'discrete'"),
        ("redundancy", "mmi", "'MMI', 'CCS'"),
        ("average", "mean", "'trials', 'moments', 'concatenate', None"),
        ("unit", "shannon", "'nats', 'bits', None"),
        ("dtype", "float16", "'float64', 'float32'"),
        ("backend", "cuda", f"'auto' or one of {', '.join(BACKENDS)}"),
        ("atoms", ["sts", "xyz"], "'all' or names from rtr .* where 'xyz' is unknown"),
        ("atoms", [], "'all' or names from rtr"),
        ("atoms", None, "'all' or names from rtr .* None is unknown"),
    ],
)
def test_unknown_option(series, option, value, allowed):
    with pytest.raises(ValueError, match=f"{option} must be .*{allowed}") as info:
        synkern.phiid(series, **{option: value})
    assert repr(value) in str(info.value)


def test_a_gradient_is_not_lost(series, backend):
    tensor = torch.from_numpy(series).requires_grad_()
    if backend in DIFFERENTIABLE:
        assert synkern.phiid(tensor, backend=backend)["sts"].requires_grad
    else:
        with pytest.raises(ValueError, match="requires a gradient.*backend='torch'"):
            synkern.phiid(tensor, backend=backend)


@pytest.mark.parametrize("name", [*BACKENDS, "auto"])
def test_another_device(name):
    with pytest.raises(ValueError, match=f"backend '{name}' .* device 'meta'.*to the CPU"):
        synkern.phiid(torch.zeros(40, 3, device="meta"), backend=name)


def test_masked_array(series, backend):
    with pytest.raises(TypeError, match="series is a masked array.*mask=~numpy.ma.getmaskarray"):
        synkern.phiid(np.ma.masked_greater(series, 2), backend=backend)


def test_ragged_lists(backend):
    with pytest.raises(ValueError, match="series is not an array of equal rows"):
        synkern.phiid([[1.0, 2.0]] * 39 + [[1.0]], backend=backend)


def test_float32_refuses_rounded_matrix_products(series):
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        synkern.phiid(torch.from_numpy(series), backend="torch")
        with pytest.raises(ValueError, match="dtype is 'float32'.*'high'.*use dtype='float64'"):
            synkern.phiid(torch.from_numpy(series), dtype="float32", backend="torch")
    finally:
        torch.set_float32_matmul_precision(precision)
