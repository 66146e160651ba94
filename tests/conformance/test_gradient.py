import numpy as np
import pytest

import synkern
from support.backends import DIFFERENTIABLE
from support.bounded import bounded
from support.optional import torch
from synkern.kernels import Limits

pytestmark = pytest.mark.filterwarnings("ignore:.*below 30:UserWarning")


def off_diagonal(series, limits=None, **options):
    """Off-diagonal entries of all atoms, where nothing is NaN."""
    if limits is None:
        result = synkern.phiid(series, backend="torch", **options)
    else:
        result = bounded(series, limits, backend="torch", **options)
    keep = ~torch.eye(result.nodes, dtype=torch.bool)
    return tuple(result[atom][..., keep] for atom in result)


@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all", ("xtx", "sty")])
def test_gradcheck(average, atoms):
    torch.manual_seed(0)
    series = torch.randn(2, 12, 3, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda s: off_diagonal(s, average=average, atoms=atoms), (series,))


def test_gradcheck_through_several_tiles():
    torch.manual_seed(1)
    series = torch.randn(2, 8, 18, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    assert check(lambda s: off_diagonal(s, Limits(tile=1)), (series,), fast_mode=True)


@pytest.mark.parametrize(
    "limits",
    [
        *(pytest.param(Limits(part=size), marks=pytest.mark.proof) for size in (1, 100)),
        Limits(),
    ],
    ids=lambda limits: limits.part,
)
def test_gradcheck_of_common_change_in_surprisal(limits):
    """Redundancy has kinks where a sign changes, but none within a finite difference here."""
    torch.manual_seed(4)
    series = torch.randn(2, 12, 4, dtype=torch.float64, requires_grad=True)
    check = torch.autograd.gradcheck
    options = {"redundancy": "CCS", "names": synkern.ATOMS}
    assert check(lambda s: off_diagonal(s, limits, **options), (series,))


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_gradient_of_a_rescued_pair(redundancy):
    torch.manual_seed(2)
    series = torch.randn(1, 20, 2, dtype=torch.float64)
    series[..., 1] = series[..., 0] + 1e-4 * series[..., 1]
    series.requires_grad_()
    assert synkern.phiid(series, redundancy=redundancy).rescued == 1
    # The differences across the pair are 1e-4, so steps must be small beside them.
    check = torch.autograd.gradcheck

    def atoms(s):
        return off_diagonal(s, redundancy=redundancy)

    assert check(atoms, (series,), eps=1e-9, atol=1e-2, rtol=1e-3)


def test_float32_gradient_is_that_of_float64(rng):
    values = rng.standard_normal((2, 60, 5)).cumsum(1)
    gradients = []
    for dtype in ("float64", "float32"):
        series = torch.tensor(values, requires_grad=True)
        sum(v.double().sum() for v in off_diagonal(series, dtype=dtype)).backward()
        gradients.append(series.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
def test_degenerate_pairs_leave_the_gradient_finite_and_right(rng):
    values = rng.standard_normal((2, 40, 5)).cumsum(1)
    values[0, :, 3] = 1.0  # constant
    values[1, :, 4] = values[1, :, 3]  # duplicate
    series = torch.tensor(values, requires_grad=True)
    result = synkern.phiid(series, average=None)
    assert result.degenerate == {"constant": 4, "deterministic": 0, "duplicate": 1}
    torch.nansum(result["sts"]).backward()
    assert torch.isfinite(series.grad).all()
    assert not series.grad[0, :, 3].any()

    others = torch.tensor(values[0][:, [0, 1, 2, 4]], requires_grad=True)
    torch.nansum(synkern.phiid(others)["sts"]).backward()
    torch.testing.assert_close(series.grad[0][:, [0, 1, 2, 4]], others.grad, rtol=0, atol=1e-10)


def test_gradient_descends():
    """What a user does with it: raise the synergy of a pair."""
    torch.manual_seed(3)
    series = torch.randn(100, 4, dtype=torch.float64, requires_grad=True)
    before = synkern.phiid(series)["sts"][0, 1].item()
    synkern.phiid(series)["sts"][0, 1].backward()
    assert np.count_nonzero(series.grad[:, 2:]) == 0
    with torch.no_grad():
        series += 0.1 * series.grad / series.grad.norm()
    assert synkern.phiid(series)["sts"][0, 1].item() > before


SECOND = {
    "MMI": {},
    "CCS": {"redundancy": "CCS", "names": synkern.ATOMS},
    "trials apart": {"average": None},
    "moments pooled": {"average": "moments"},
    "concatenated": {"average": "concatenate"},
    "float32": {"dtype": "float32"},
    "pairs gathered": {"pairs": [[1, 0]], "limits": Limits(matrices=0)},
    "pairs from matrices": {"pairs": [[0, 1], [0, 2], [1, 2]], "limits": Limits(gathered=0)},
    "bits": {"unit": "bits"},
}


@pytest.mark.brief
@pytest.mark.parametrize("backend", DIFFERENTIABLE, indirect=True)
@pytest.mark.parametrize("options", SECOND.values(), ids=SECOND)
@pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")
def test_second_derivatives_raise_and_first_with_a_graph_do_not(rng, options, backend):
    """Whatever the second derivative is taken of, and with respect to."""
    leaf = torch.from_numpy(rng.standard_normal((2, 12, 3))).requires_grad_()
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)

    def total():
        result = bounded(weight * leaf, backend=backend, **{"limits": Limits(), **options})
        return sum(torch.nansum(value.double()) * weight for value in result.arrays.values())

    plain = torch.autograd.grad(total(), leaf)[0]
    (first,) = torch.autograd.grad(total(), leaf, create_graph=True)
    torch.testing.assert_close(first.detach(), plain, rtol=0, atol=0)
    for of, wanted in ((first.square().sum(), leaf), (first[0, 0, 0], leaf), (first.sum(), weight)):
        with pytest.raises(RuntimeError, match="first derivatives only.*detach the gradient"):
            torch.autograd.grad(of, wanted, retain_graph=True)


def test_second_derivatives_of_a_rescued_pair_and_of_the_reference_raise(rng):
    series = torch.from_numpy(rng.standard_normal((1, 20, 2)))
    series[..., 1] = series[..., 0] + 1e-4 * series[..., 1]
    series.requires_grad_()
    assert synkern.phiid(series).rescued == 1
    for function in (synkern.phiid, synkern.persistence_reference):

        def total(s, function=function):
            return torch.nansum(function(s, backend="torch")["rtr"])

        with pytest.raises(RuntimeError, match="first derivatives only"):
            torch.autograd.functional.hessian(total, series)


def test_gradgradcheck_raises(rng):
    series = torch.from_numpy(rng.standard_normal((1, 9, 2))).requires_grad_()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.gradgradcheck(off_diagonal, (series,))


def test_gradient_with_a_graph_can_be_used_up(rng):
    """Optimisers and loggers set create_graph without a second derivative."""
    leaf = torch.from_numpy(rng.standard_normal((12, 3))).requires_grad_()
    total = torch.nansum(synkern.phiid(leaf)["sts"])
    (first,) = torch.autograd.grad(total, leaf, create_graph=True)
    other = (first.detach() * leaf).sum() + leaf.square().sum()
    (after,) = torch.autograd.grad(other, leaf)
    torch.testing.assert_close(after, first.detach() + 2 * leaf.detach(), rtol=0, atol=0)
