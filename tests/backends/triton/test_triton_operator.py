"""The Triton backend as a torch operator and behind `phiid`, interpreted."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

import synkern
from support.bounded import bounded
from synkern import ATOMS
from synkern.decomposition import backends
from synkern.decomposition.backends import BACKENDS, Wanted, select
from synkern.kernels import numpy_backend
from synkern.kernels.contract import Limits
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas.estimators import PERSISTENCE, GaussianMMI
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.triton_backend import backend, record
from synkern.kernels.triton_backend.launch import Area
from synkern.kernels.triton_backend.mmi import path_for
from synkern.kernels.triton_backend.op import gaussian_mmi
from synkern.kernels.triton_backend.plan import plan

# Of triton 3.6's interpreter, about itself.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")

ALL, FEW = ",".join(ATOMS), "rtr,sts"


def features(rng, trials=2, time=20, nodes=4):
    return unit_vectors(torch, torch.from_numpy(rng.standard_normal((trials, time, nodes))), 1)


def compare(series, **options):
    """The result, next to that of the torch backend."""
    found, expected = (
        synkern.phiid(series, backend=name, **options) for name in ("triton", "torch")
    )
    assert found.backend == "triton"
    assert found.rescued == expected.rescued
    np.testing.assert_array_equal(found.constant, expected.constant)
    np.testing.assert_array_equal(found.flagged, expected.flagged)
    return found, expected


def test_list_of_atoms_is_closed(rng):
    found, expected = compare(rng.standard_normal((2, 40, 5)), atoms=["xtr", "sts", "stx"])
    assert list(found) == ["xtr", "sts", "stx"]
    assert_close(found, expected, 1e-12)


def assert_close(found, expected, tolerance):
    for atom in expected:
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=tolerance)


def test_golden_averages(golden):
    found = synkern.phiid(golden.series, tau=golden.tau, atoms="all", backend="triton")
    values = np.stack([found[atom][0, 1] for atom in ATOMS])
    np.testing.assert_allclose(values, golden.average, rtol=0, atol=1e-9)


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"])
def test_recorded_heads(heads, atoms, average):
    found, expected = compare(heads["trained"], atoms=atoms, average=average)
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_weights_are_finite_and_rescued_alike(heads, dtype):
    """Lag-1 autocorrelation of 0.998: a closed form in float32 alone has infinities here."""
    found, expected = compare(heads["random"], atoms="all", average=None, dtype=dtype)
    for atom in ATOMS:
        assert np.isfinite(found[atom][:, ~np.eye(25, dtype=bool)]).all()
    assert_close(found, expected, {"float64": 1e-9, "float32": 2e-5}[dtype])


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
def test_degenerate_and_near_singular_pairs(rng, average):
    series = rng.standard_normal((3, 60, 9)).cumsum(1)
    series[0, :, 1] = 2.0
    series[1, :, 3] = series[1, :, 2]
    series[2, :, 5] = series[2, :, 4] + 1e-6 * series[2, :, 5]
    series[2, 1:, 7] = series[2, :-1, 6]
    found, expected = compare(series, atoms="all", average=average)
    assert found.rescued == 1
    assert found.degenerate == {"constant": 8, "deterministic": 1, "duplicate": 1}
    # The two standardise to rounding, which a pair 1e-6 apart magnifies: 2^-53 / 1e-6, a few times.
    assert_close(found, expected, 1e-9)
    # A list too short for all of them is filled again, longer.
    options = {"names": ATOMS, "average": average, "backend": "triton"}
    assert_close(bounded(series, Limits(capacity=1), **options), found, 0)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_equals_that_of_the_torch_backend(rng, average, dtype):
    values = rng.standard_normal((3, 40, 20)).cumsum(1)
    values[0, :, 1] = 2.0
    values[1, :, 3] = values[1, :, 2]
    values[2, :, 5] = values[2, :, 4] + 1e-6 * values[2, :, 5]
    gradients = []
    for name in ("triton", "torch"):
        series = torch.tensor(values, requires_grad=True)
        options = {"atoms": "all", "average": average, "dtype": dtype, "backend": name}
        result = synkern.phiid(series, **options)
        weights = torch.linspace(-1, 1, 400, dtype=torch.float64).view(20, 20)
        sum(torch.nansum(weights * n * result[atom]) for n, atom in enumerate(result)).backward()
        gradients.append(series.grad)
    scale = gradients[1].abs().max()
    assert torch.isfinite(scale)
    torch.testing.assert_close(*(g / scale for g in gradients), rtol=0, atol=1e-11)


@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", [FEW, ALL])
def test_gradcheck(rng, names, per_trial):
    past, future, constant = features(rng, 2, 9, 3)
    past.requires_grad_()
    future.requires_grad_()

    def sums(x, a):
        return gaussian_mmi(x, a, constant, names, per_trial, False, 8)[0]

    assert torch.autograd.gradcheck(sums, (past, future), fast_mode=True)


@pytest.mark.parametrize("single", [False, True])
def test_opcheck(rng, single):
    past, future, constant = features(rng)
    past.requires_grad_()
    future.requires_grad_()
    for per_trial in (False, True):
        torch.library.opcheck(
            torch.ops.synkern.gaussian_mmi,
            (past, future, constant, FEW, per_trial, single, 4),
            # The rest of the list is memory as it was found.
            test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
        )


def test_compiles_whole_forward_and_backward(rng):
    past, future, constant = features(rng)

    def total(x, a):
        out, _, count = gaussian_mmi(x * 1.0, a * 1.0, constant, FEW, False, False, 4)
        return (out * out).sum(), count

    results = []
    for function in (total, torch.compile(total, fullgraph=True, backend="aot_eager")):
        leaves = [v.clone().requires_grad_() for v in (past, future)]
        value, count = function(*leaves)
        value.backward()
        results.append((value.detach(), count, *(leaf.grad for leaf in leaves)))
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)


def test_exports_and_runs_on_meta(rng):
    class Sums(torch.nn.Module):
        def forward(self, past, future, constant):
            return gaussian_mmi(past, future, constant, FEW, False, False, 4)[0]

    given = tuple(features(rng))
    program = torch.export.export(Sums(), given)
    torch.testing.assert_close(program.module()(*given), Sums()(*given))
    meta = gaussian_mmi(*(v.to("meta") for v in given), ALL, True, True, 4)
    assert [(v.shape, v.dtype) for v in meta] == [
        ((16, 2, 4, 4), torch.float32),
        ((4,), torch.int64),
        ((1,), torch.int64),
    ]


def test_gradient_refuses_a_list_that_was_cut_off(rng):
    series = np.repeat(rng.standard_normal((1, 30, 1)), 4, axis=-1)
    past, future, constant = unit_vectors(torch, torch.from_numpy(series), 1)
    out = gaussian_mmi(past.requires_grad_(), future, constant, FEW, False, False, 5)[0]
    with pytest.raises(ValueError, match="capacity is 5, but 6 pairs"):
        out.sum().backward()


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("cost", [0, 10**9])
def test_chosen_pairs(rng, average, cost, monkeypatch):
    """Gathered, or from the matrices of all: the kernels see two nodes a trial, or all."""
    monkeypatch.setattr(GaussianMMI, "gathered_cost", cost)
    series = rng.standard_normal((2, 40, 6))
    series[1, :, 2] = series[1, :, 5]
    pairs = [[0, 1], [5, 2], [4, 3]]
    found, expected = compare(series, average=average, atoms="all", pairs=pairs)
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.filterwarnings("ignore:.*(degenerate|have no persistence reference):UserWarning")
def test_moments(rng, reference, average, dtype):
    """From matrices that somebody else has gathered, with pairs that these cannot resolve."""
    series = rng.standard_normal((5, 60, 7)).cumsum(1)
    series[2, :, 4] = series[2, :, 1] + 1e-7 * series[2, :, 4]
    series[1, :, 0] = 3.0
    moments = synkern.LaggedMoments().update(torch.from_numpy(series))
    function = synkern.persistence_reference if reference else synkern.phiid
    options = {"atoms": "all", "average": average, "dtype": dtype}
    found, expected = (function(moments, backend=b, **options) for b in ("triton", "torch"))
    assert found.backend == "triton"
    assert_close(found, expected, 1e-12 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize(("workspace", "path"), [(1, "series"), (1 << 20, "moments")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_persistence_reference(rng, workspace, path, dtype):
    """By both kernels; with nodes of unequal persistence, which no AR(1) pair can be."""
    series = rng.standard_normal((9, 200, 5)).cumsum(1)
    series[..., 3] = series[..., 0] + 2 * rng.standard_normal((9, 200))
    request = request_for(
        ATOMS,
        per_trial=False,
        dtype=dtype,
        estimator=PERSISTENCE,
        limits=Limits(workspace=workspace),
    )
    assert path_for(Area(5), 199, False, plan(ATOMS), workspace, dtype=dtype) == path
    found = backend.run(torch.from_numpy(series), request)
    expected = numpy_backend.run(series, request)
    assert len(expected.flagged)
    assert np.array_equal(found.flagged, expected.flagged)
    assert_close(found.atoms, expected.atoms, 1e-12 if dtype == "float64" else 1e-6)


def test_gradient_of_the_persistence_reference(rng):
    series = torch.from_numpy(rng.standard_normal((2, 40, 3)).cumsum(1)).requires_grad_()
    for name in ("triton", "torch"):
        found = synkern.persistence_reference(series, backend=name)
        (gradient,) = torch.autograd.grad(found["sts"].nansum(), series)
        if name == "triton":
            first = gradient
    torch.testing.assert_close(first, gradient, rtol=0, atol=1e-12)


def test_record_says_what_there_are_kernels_for():
    assert backend.NODES.keys() == record.BY_NODE
    for key, moments in backend.TOTALS:
        assert record.BACKEND.refuses(Wanted(key, moments=moments)) is None
        refused = record.BACKEND.refuses(Wanted(key, moments=moments, by_node=True))
        assert (refused is None) == ((key, moments) in backend.NODES)


def test_what_is_left_to_other_backends(rng):
    series = rng.standard_normal((50, 3))
    with pytest.raises(
        ValueError,
        match="reduce gaussian CCS of a series to means by node: .* 'cupy' has one for every",
    ):
        synkern.phiid_nodes(series, redundancy="CCS", backend="triton")
    moments = synkern.LaggedMoments().update(torch.from_numpy(series))
    with pytest.raises(
        ValueError,
        match="reduce gaussian MMI of moments to means by node: moments are matrices of all",
    ):
        synkern.phiid_nodes(moments, backend="triton")


def test_status_and_the_choice_of_auto(monkeypatch):
    triton = next(b for b in BACKENDS if b.name == "triton")
    assert triton.status().devices == ("cpu",)  # interpreted, as in these tests
    assert select("auto", torch.zeros(3), Wanted(("gaussian", "MMI"))).name != "triton"

    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert triton.status().devices == ("cuda",)
    monkeypatch.setattr(backends, "native", lambda _: ("torch", "cuda"))
    assert select("auto", None, Wanted(("gaussian", "MMI"))).name == "triton"
    assert select("auto", None, Wanted(("discrete", "CCS"))).name == "triton"
    assert select("auto", None, Wanted(("persistence", "MMI"), moments=True)).name == "triton"
    assert select("auto", None, Wanted(("discrete", "CCS"), by_node=True)).name == "torch"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="triton: no GPU"):
        select("triton", None, Wanted(("gaussian", "MMI")))
    record._check_package.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert triton.status().why == "triton is not installed"
    assert "pip install" in triton.status().remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "found")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.5.1")
    assert "too old" in triton.status().why
    record._check_package.cache_clear()


def test_nothing_imports_triton_before_it_is_used():
    code = "import sys, synkern; from synkern import cli; cli.main(['backends']); " + (
        "sys.exit('triton' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
