"""Nodes of several columns: against the reference, single columns, invariances and each other."""

import numpy as np
import pytest

import synkern
from support.backends import MEMBERS as TAKERS
from support.bounded import bounded
from support.optional import torch
from synkern import ATOMS
from synkern.decomposition import phiid_pair
from synkern.kernels import Limits

pytestmark = [pytest.mark.brief, pytest.mark.filterwarnings("ignore:.*the bias of the estimate")]

REDUNDANCIES = ("MMI", "CCS")
MEMBERS = [[4, 0, 2], [1], [3, 6], [5, 7, 8, 9]]
ROUNDING = 1e-11
"""Of informations of some nats, from covariances of condition 100 over 100 samples."""


@pytest.fixture(params=TAKERS)
def backend(request):
    return request.param


def processes(rng, trials=2, time=120, columns=10):
    """Columns that persist and depend on each other."""
    mixing = np.eye(columns) + 0.3 * rng.standard_normal((columns, columns))
    noise = rng.standard_normal((trials, time, columns))
    series = noise.copy()
    for t in range(1, time):
        series[:, t] += 0.5 * series[:, t - 1] + 0.2 * series[:, t - 1, ::-1]
    return series @ mixing


def expected(series, members, redundancy, tau=1, **options):
    """(16, trials, nodes, nodes) by the reference, pair by pair."""
    nodes = len(members)
    found = np.full((len(ATOMS), len(series), nodes, nodes), np.nan)
    for k, trial in enumerate(series):
        for i in range(nodes):
            for j in range(nodes):
                if i != j:
                    pair = trial[:, members[i]], trial[:, members[j]]
                    atoms = phiid_pair(*pair, tau, "gaussian", redundancy)
                    found[:, k, i, j] = list(atoms.values())
    return found


def all_atoms(series, members, **options):
    result = synkern.phiid(series, members=members, atoms="all", **options)
    return np.stack([np.asarray(result[name]) for name in ATOMS])


def assert_same(found, wanted, atol=ROUNDING):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_the_reference_of_sets_of_columns(rng, backend, redundancy, tau):
    series = processes(rng)
    wanted = expected(series, MEMBERS, redundancy, tau)
    options = {"redundancy": redundancy, "tau": tau, "backend": backend}
    assert_same(all_atoms(series, MEMBERS, average=None, **options), wanted)
    assert_same(all_atoms(series, MEMBERS, **options), wanted.mean(1))


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_nodes_of_one_column_are_plain_nodes(rng, backend, redundancy):
    series = processes(rng, columns=5)
    plain = synkern.phiid(series, redundancy=redundancy, atoms="all", backend="numpy")
    members = [[k] for k in (3, 0, 4, 1, 2)]
    options = {"redundancy": redundancy, "backend": backend}
    found = all_atoms(series, members, **options)
    order = np.ravel(members)
    assert_same(found, np.stack([plain[name][np.ix_(order, order)] for name in ATOMS]))


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_mixing_the_columns_of_a_node_changes_nothing(rng, backend, redundancy):
    series = processes(rng)
    mixed = series.copy()
    for columns in MEMBERS:
        mixing = rng.standard_normal((len(columns), len(columns))) + 2 * np.eye(len(columns))
        mixed[..., columns] = 1e3 * series[..., columns] @ mixing + 40.0
    options = {"redundancy": redundancy, "backend": backend}
    assert_same(
        all_atoms(mixed, MEMBERS, **options), all_atoms(series, MEMBERS, **options), atol=1e-9
    )


def test_the_order_of_columns_and_of_nodes_changes_nothing(rng, backend):
    series = processes(rng)
    wanted = all_atoms(series, MEMBERS, backend=backend)
    assert_same(all_atoms(series, [c[::-1] for c in MEMBERS], backend=backend), wanted)
    turned = all_atoms(series, MEMBERS[::-1], backend=backend)
    assert_same(turned[:, ::-1, ::-1], wanted)


def test_sets_of_past_and_of_future_as_four_matrices(rng, backend):
    """MATLAB's four-argument form: X1, X2 of the past, Y1, Y2 of the future, no series at all."""
    past, future = rng.standard_normal((2, 60, 5))
    future += past @ rng.standard_normal((5, 5))
    series, tau = synkern.lagged_pairs(past, future)
    found = all_atoms(series, [[0, 1, 2], [3, 4]], tau=tau, backend=backend)[:, 0, 1]

    def information(sources, targets):
        s, t = past[:, sources], future[:, targets]
        half = [np.linalg.slogdet(np.cov(v.T).reshape(v.shape[1], -1))[1] for v in (s, t)]
        both = np.linalg.slogdet(np.cov(np.hstack([s, t]).T))[1]
        return 0.5 * (sum(half) - both)

    assert found.sum() == pytest.approx(information([*range(5)], [*range(5)]), abs=1e-11)
    one, other = [0, 1, 2], [3, 4]
    every = [information(s, t) for s in (one, other) for t in (one, other)]
    assert found[0] == pytest.approx(min(every), abs=1e-11)


# ---- Together with the other options -------------------------------------------------------------


def test_chosen_pairs_are_those_of_the_matrix(rng, backend):
    series = processes(rng)
    whole = synkern.phiid(series, members=MEMBERS, atoms=("xty", "sts"), backend=backend)
    pairs = np.array([[2, 0], [1, 3], [0, 3]])
    options = {"members": MEMBERS, "atoms": ("xty", "sts"), "backend": backend}
    some = synkern.phiid(series, pairs=pairs, **options)
    across = synkern.phiid(series, pairs="bipartite", groups=([0, 2], [2, 1, 3]), **options)
    between = synkern.phiid(series, pairs="between", groups="aabb", **options)
    for name in whole:
        assert_same(some[name], whole[name][pairs[:, 0], pairs[:, 1]])
        assert_same(across[name], whole[name][np.ix_([0, 2], [2, 1, 3])])
        assert_same(between[name], whole[name][between.pairs[:, 0], between.pairs[:, 1]])


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
@pytest.mark.parametrize("average", ["trials", None])
def test_tiles_and_gathered_pairs(rng, backend, redundancy, average):
    series = processes(rng, columns=40)
    members = [[k, k + 20] for k in range(20)]
    whole = synkern.phiid(
        series, members=members, redundancy=redundancy, average=average, backend=backend
    )
    pairs = np.stack(np.triu_indices(20, 1), -1)
    for limits in (Limits(tile=1), Limits(matrices=0), Limits(gathered=0)):
        asked = None if limits.tile else pairs
        options = {"redundancy": redundancy, "average": average, "pairs": asked}
        found = bounded(series, limits, members=members, backend=backend, **options)
        wanted = whole["sts"] if asked is None else whole["sts"][..., pairs[:, 0], pairs[:, 1]]
        assert_same(found["sts"], wanted)


def test_means_by_node_and_lags(rng, backend):
    series = processes(rng)
    whole = synkern.phiid(series, members=MEMBERS, tau=2, backend=backend)
    means = synkern.phiid_nodes(series, members=MEMBERS, tau=2, backend=backend)
    assert_same(means["sts"], np.nanmean(whole["sts"], -1))
    assert means.shape == (2, 120, 4)
    lags = synkern.phiid_lags(series, tau=[1, 2], members=MEMBERS, backend=backend)
    assert_same(lags[2]["rtr"], whole["rtr"])


def test_a_mask_leaves_samples_out(rng, backend):
    series = processes(rng, trials=3)
    mask = np.ones((3, 120), bool)
    mask[0, 100:], mask[1, :30] = False, False
    holes = np.where(mask[..., None], series, np.nan)
    parts = [series[0, :100], series[1, 30:], series[2]]
    apart = [all_atoms(part, MEMBERS, backend=backend) for part in parts]
    options = {"mask": mask, "backend": backend}
    assert_same(all_atoms(holes, MEMBERS, average=None, **options), np.stack(apart, 1))
    assert_same(all_atoms(holes, MEMBERS, **options), np.mean(apart, 0))
    means = synkern.phiid_nodes(holes, members=MEMBERS, **options)
    assert_same(means["rtr"], np.nanmean(np.mean(apart, 0)[0], -1))


@pytest.mark.parametrize("average", ["moments", "concatenate"])
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_pooled_trials_are_one(rng, backend, average, redundancy):
    series = processes(rng, trials=3, time=40)
    past, future = series[:, :-1], series[:, 1:]
    if average == "moments":
        past, future = (part - part.mean(1, keepdims=True) for part in (past, future))
    one, tau = synkern.lagged_pairs(past.reshape(-1, 10), future.reshape(-1, 10))
    options = {"redundancy": redundancy, "backend": backend}
    assert_same(
        all_atoms(series, MEMBERS, average=average, **options),
        all_atoms(one, MEMBERS, tau=tau, **options),
    )


def test_float32_series_and_output(rng, backend):
    series = processes(rng)
    rounded = series.astype(np.float32)
    wanted = synkern.phiid(rounded.astype(float), members=MEMBERS, backend=backend)["sts"]
    found = synkern.phiid(rounded, members=MEMBERS, dtype="float32", backend=backend)["sts"]
    assert found.dtype == np.float32
    assert_same(found, wanted, atol=4 * np.finfo(np.float32).eps * np.nanmax(wanted))


# ---- Gradient ------------------------------------------------------------------------------------


def off_diagonal(series, members, **options):
    result = synkern.phiid(series, members=members, backend="torch", **options)
    keep = ~torch.eye(result.nodes, dtype=torch.bool)
    return tuple(result[atom][..., keep] for atom in result)


@pytest.mark.parametrize("average", ["trials", "moments"])
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_gradcheck(redundancy, average):
    torch.manual_seed(3)
    series = torch.randn(2, 16, 4, dtype=torch.float64, requires_grad=True)
    options = {"redundancy": redundancy, "average": average, "atoms": "all"}

    def atoms(values):
        return off_diagonal(values, [[0, 2], [1], [3]], **options)

    assert torch.autograd.gradcheck(atoms, (series,), fast_mode=True)


def test_gradient_of_a_rescued_pair():
    torch.manual_seed(2)
    series = torch.randn(1, 20, 3, dtype=torch.float64)
    series[..., 1] = series[..., 0] + 1e-4 * series[..., 1]
    series.requires_grad_()
    members = [[0, 2], [1]]
    assert synkern.phiid(series, members=members).rescued == 1
    check = torch.autograd.gradcheck
    assert check(lambda s: off_diagonal(s, members), (series,), eps=1e-9, atol=1e-2, rtol=1e-3)


def test_a_functional_gradient_is_that_of_autograd(rng):
    series = torch.tensor(processes(rng), requires_grad=True)

    def total(values):
        return sum(part.sum() for part in off_diagonal(values, MEMBERS))

    total(series).backward()
    torch.testing.assert_close(torch.func.grad(total)(series.detach()), series.grad)


def test_no_column_outside_the_nodes_has_a_gradient(rng):
    series = torch.tensor(processes(rng), requires_grad=True)
    off_diagonal(series, [[0, 1], [2, 3]])[0].sum().backward()
    assert (series.grad[..., :4] != 0).any()
    assert (series.grad[..., 4:] == 0).all()
