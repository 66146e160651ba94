"""`torch.func` and forward mode: what has a gradient has it there too, the rest says what to do."""

import numpy as np
import pytest
import torch

import synkern
from synkern.decomposition import preprocess

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*below 30:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script"),
]


@pytest.fixture
def series(rng):
    values = torch.from_numpy(rng.standard_normal((2, 20, 4)))
    values[1, :, 2] = 1.0  # a constant node
    values[0, :, 3] = values[0, :, 1] + 1e-4 * values[0, :, 3]  # a rescued pair
    return values


def total(**options):
    return lambda s: torch.nansum(synkern.phiid(s, **options)["sts"].double())


CASES = {
    "MMI": total(),
    "triton": total(backend="triton"),
    "CCS": total(redundancy="CCS"),
    "one trial": lambda s: total()(s[0]),
    "bits, trials apart": total(unit="bits", average=None),
    "pooled": total(average="moments"),
    "pairs": total(pairs=[[1, 0], [0, 2]]),
    "float32": total(dtype="float32"),
    "several lags": lambda s: torch.nansum(synkern.phiid_lags(s, tau=[1, 2])[2]["rtr"]),
    "excess": lambda s: torch.nansum(
        synkern.phiid(s, average=None).excess(synkern.persistence_reference(s, average=None))["sts"]
    ),
    "masked": lambda s: total(mask=s[..., 0].abs() < 1.5)(s),
    "masked, pooled": total(mask=np.arange(20) % 11 > 0, average="moments"),
    "after preprocessing": lambda s: total()(preprocess.detrend(3 * s)),
}


@pytest.mark.parametrize("function", CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore:.*have no persistence reference:UserWarning")
def test_func_grad_is_autograd(series, function):
    leaf = series.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(leaf), leaf)
    assert expected.any()
    torch.testing.assert_close(torch.func.grad(function)(series), expected, rtol=0, atol=0)


def test_a_faint_node_is_told_of(series):
    series[..., 1] *= 1e-14
    with pytest.warns(UserWarning, match="node 1 varies by .* as rounding errors of"):
        assert torch.func.grad(total())(series).isfinite().all()


def test_auto_and_what_is_told_beside_the_atoms(series):
    seen = []

    def function(s):
        seen.append(synkern.phiid(s))
        return torch.nansum(seen[0]["sts"])

    torch.func.grad(function)(series)
    expected = synkern.phiid(series, backend="torch")
    assert seen[0].backend == "torch"
    assert seen[0].degenerate == expected.degenerate
    assert seen[0].rescued == expected.rescued == 1
    assert repr(seen[0]) == repr(expected)


def test_jacobian_by_func_and_by_autograd(series):
    def function(s):
        return torch.nan_to_num(synkern.phiid(s, atoms=["xtx", "sts"])["xtx"])

    expected = torch.autograd.functional.jacobian(function, series)
    torch.testing.assert_close(torch.func.jacrev(function)(series), expected, rtol=0, atol=1e-15)


def test_what_has_no_gradient_adds_none(series):
    """A detached series, one from outside, and the discrete estimator."""
    for function in (
        lambda s: s.sum() * total()(s.detach()),
        lambda s: s.sum() * total()(series),
        lambda s: s.sum() * total(backend="torch")(series),
        lambda s: s.sum() * total(kind="discrete")(s),
    ):
        expected = function(series) / series.sum() * torch.ones_like(series)
        torch.testing.assert_close(torch.func.grad(function)(series), expected)


@pytest.mark.parametrize(
    ("transform", "remedy"),
    [
        (lambda f, s: torch.func.vmap(f)(s), "as the trials of one call"),
        (lambda f, s: torch.func.vmap(torch.func.grad(f))(s), "as the trials of one call"),
        (lambda f, s: torch.func.jvp(f, (s,), (s,)), "reverse mode only.*torch.func.grad"),
        (lambda f, s: torch.func.jacfwd(f)(s), "reverse mode only.*|as the trials"),
        (lambda f, s: torch.func.hessian(f)(s), "reverse mode only.*|as the trials"),
    ],
)
@pytest.mark.parametrize("backend", ["auto", "torch", "numpy", "cpu"])
def test_others_are_refused(series, transform, remedy, backend):
    with pytest.raises(TypeError, match=f"series: .*({remedy})"):
        transform(total(backend=backend), series)


def test_forward_mode_is_refused(series):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(series, series)
        for function in (synkern.phiid, preprocess.zscore):
            with pytest.raises(TypeError, match="series: gradients flow in reverse mode only"):
                function(dual)


def test_second_derivative_by_func(series):
    gradient = torch.func.grad(total())
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.grad(lambda s: gradient(s).square().sum())(series)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.func.jacrev(gradient)(series)


@pytest.mark.parametrize(
    "function",
    [
        lambda s: synkern.phiid_local(s, [[0, 1]]),
        lambda s: synkern.null_test(s, n=19).p["sts"],
        lambda s: synkern.phiid(synkern.LaggedMoments().update(s))["sts"],
    ],
    ids=["phiid_local", "null_test", "LaggedMoments"],
)
def test_what_has_no_gradient_is_called_outside(series, function):
    for transform in (torch.func.grad, torch.func.vmap):
        with pytest.raises(
            TypeError, match="no gradient and does not work inside .*call it outsid"
        ):
            transform(lambda s: torch.nansum(function(s)))(series)
