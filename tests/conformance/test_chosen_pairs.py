"""`phiid(..., pairs=...)`: the same numbers as from all pairs, in the shape that was asked for."""

from dataclasses import replace

import numpy as np
import pytest

import synkern
from support.bounded import bounded
from support.optional import torch
from synkern.kernels import ESTIMATORS, Limits, Outcome

pytestmark = pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")

ROUNDING = 1e-12  # sums of some hundred products of unit vectors, in another order
EXCHANGED = 1e-9  # x and y of a pair exchanged: the rounding of data 1e-6 apart, a few times


WAYS = {
    "gathered": Limits(gathered=3000, matrices=0),
    "from matrices": Limits(gathered=0, matrices=3000),
}


@pytest.fixture(params=WAYS)
def way(request):
    """Both ways to compute chosen pairs, in parts of a few pairs or trials."""
    return WAYS[request.param]


@pytest.fixture
def mixture(rng):
    """Three trials of seven nodes, degenerate in all ways but in different trials."""
    series = rng.standard_normal((3, 40, 7)).cumsum(1)
    series[1, :, 2] = 4.0
    series[2, :, 3] = 2 - 3 * series[2, :, 1]
    series[0, 1:, 5] = series[0, :-1, 4]
    series[1, :, 6] = series[1, :, 0] + 1e-6 * rng.standard_normal(40)
    return series


PAIRS = [[0, 1], [3, 1], [1, 3], [2, 6], [4, 5], [6, 0], [0, 6], [0, 1]]


@pytest.fixture(scope="module")
def all_pairs():
    """What a backend gives for all pairs, asked once for both ways that are held against it."""
    known = {}

    def once(series, **options):
        asked = (series.tobytes(), *sorted(options.items()))
        if asked not in known:
            known[asked] = synkern.phiid(series, **options)
        return known[asked]

    return once


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
@pytest.mark.parametrize(("kind", "redundancy"), ESTIMATORS)
def test_numbers_are_those_of_all_pairs(
    mixture, all_pairs, backend, way, kind, redundancy, average
):
    options = {"kind": kind, "redundancy": redundancy, "average": average, "backend": backend}
    for atoms in (("rtr", "sts"), synkern.ATOMS):
        everything = all_pairs(mixture, atoms=atoms, **options)
        some = bounded(mixture, way, pairs=PAIRS, names=atoms, **options)
        i, j = np.transpose(PAIRS)
        for atom in everything:
            np.testing.assert_allclose(
                some[atom], everything[atom][..., i, j], rtol=0, atol=ROUNDING
            )
        np.testing.assert_array_equal(some.valid_trials(), everything.valid_trials()[i, j])
        wanted = {tuple(sorted(pair)) for pair in PAIRS}
        flags = {tuple(f) for f in everything.flagged if (f[1], f[2]) in wanted}
        assert {tuple(f) for f in some.flagged} == flags
        assert len(some.flagged) == len(flags)
        assert some.n_pairs == len(wanted)


def test_degenerate_pairs_are_counted_once(mixture, way):
    result = bounded(mixture, way, pairs=PAIRS, average=None)
    assert result.degenerate == {"constant": 1, "deterministic": 1, "duplicate": 1}
    assert result.rescued == 1
    with pytest.warns(UserWarning, match=r"3 of 15 \(trial, pair\) are degenerate"):
        synkern.phiid(mixture, pairs=PAIRS)


@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 2), (1, 4, 1, 2)])
def test_shape_is_that_of_the_pairs(mixture, shape):
    pairs = np.array(PAIRS[:4]).reshape(shape)
    assert synkern.phiid(mixture, pairs=pairs)["sts"].shape == shape[:-1]
    each = synkern.phiid(mixture, pairs=pairs, average=None)
    assert each["sts"].shape == (3, *shape[:-1])
    np.testing.assert_array_equal(each.pairs, pairs)


def test_exchanged_pairs_have_exchanged_names(mixture):
    forth, back = (
        synkern.phiid(mixture, pairs=[pair], atoms=["xty", "ytx"]) for pair in ([0, 4], [4, 0])
    )
    np.testing.assert_array_equal(forth["xty"], back["ytx"])
    assert forth["xty"] != back["xty"]


LAYERS = ["a", "b", "a", "c", "b", "a", "c"]


@pytest.mark.parametrize("labels", [LAYERS, np.array(LAYERS), torch.tensor([0, 1, 0, 2, 1, 0, 2])])
def test_within_and_between(mixture, way, labels):
    everything = synkern.phiid(mixture)["sts"]
    layers = np.array(LAYERS)
    found = []
    for selection, same in (("within", True), ("between", False)):
        result = bounded(mixture, way, pairs=selection, groups=labels)
        i, j = result.pairs.T
        assert (i < j).all()
        assert ((layers[i] == layers[j]) == same).all()
        np.testing.assert_allclose(result["sts"], everything[i, j], rtol=0, atol=ROUNDING)
        found += result.pairs.tolist()
    assert sorted(found) == np.transpose(np.triu_indices(7, 1)).tolist()


GROUPS = {
    "apart, in order": ([0, 1, 2], [3, 4, 5, 6]),
    "rows after columns": ([4, 5, 6], [0, 1, 2]),
    "in no order": ([6, 0, 3], [5, 1, 2, 4]),
    "one node in both": ([4, 0], [1, 6, 0]),
    "several in both": ([5, 3, 0, 1], [6, 1, 0, 5]),
    "rows among the columns": ([1, 3], [0, 3, 6, 1]),
    "columns among the rows": ([2, 6, 0, 1], [6, 2]),
    "the same": ([6, 0, 3, 1], [0, 1, 3, 6]),
    "two the same": ([0, 6], [6, 0]),
    "all with all": (range(7), range(7)),
    "one with one": ([6], [0]),
    "one with one in both": ([0], [0, 6]),
    "twice": ([0, 0, 5], [6, 1, 6]),
}


@pytest.mark.parametrize("average", ["trials", "moments", None])
@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_bipartite_is_a_matrix(mixture, backend, groups, average):
    """Whatever the groups share: each entry, flag and count is that of all pairs."""
    options = {"atoms": "all", "average": average, "backend": backend}
    everything = synkern.phiid(mixture, **options)
    result = synkern.phiid(mixture, pairs="bipartite", groups=groups, **options)
    at = np.ix_(*groups)
    for atom in synkern.ATOMS:
        np.testing.assert_allclose(result[atom], everything[atom][..., *at], rtol=0, atol=EXCHANGED)
    np.testing.assert_array_equal(result.pairs, np.stack(np.broadcast_arrays(*at), -1))
    np.testing.assert_array_equal(result.constant, everything.constant)
    wanted = {tuple(sorted(pair)) for pair in result.pairs.reshape(-1, 2).tolist()}
    wanted = {pair for pair in wanted if pair[0] != pair[1]}
    flags = {tuple(flag) for flag in everything.flagged if (flag[1], flag[2]) in wanted}
    assert {tuple(flag) for flag in result.flagged} == flags
    assert len(result.flagged) == len(flags)
    assert result.n_pairs == len(wanted)
    np.testing.assert_array_equal(result.valid_trials(), everything.valid_trials()[at])
    chosen = synkern.phiid(mixture, pairs=sorted(wanted), **options)
    assert (result.rescued, result.degenerate) == (chosen.rescued, chosen.degenerate)


@pytest.mark.parametrize("average", ["trials", "concatenate", None])
@pytest.mark.parametrize("groups", list(GROUPS.values())[2::3], ids=list(GROUPS)[2::3])
def test_bipartite_under_a_mask_and_of_moments(mixture, groups, average):
    mask = np.ones((3, 40), bool)
    mask[0, 3] = mask[2, [8, 9, 30]] = False
    at = np.ix_(*groups)
    options = {"average": average, "atoms": ["sts", "xtr"]}
    moments = synkern.LaggedMoments().update(mixture)
    for series, more in ((mixture, {"mask": mask}), (moments, {})):
        everything = synkern.phiid(series, **options, **more)
        result = synkern.phiid(series, pairs="bipartite", groups=groups, **options, **more)
        for atom in everything:
            np.testing.assert_allclose(
                result[atom], everything[atom][..., *at], rtol=0, atol=EXCHANGED
            )
        np.testing.assert_array_equal(result.constant, everything.constant)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("groups", [([3, 0], [1, 2]), ([0, 2, 3], [3, 0])])
def test_gradient_of_bipartite_pairs(groups, redundancy):
    torch.manual_seed(0)
    series = torch.randn(2, 32, 4, dtype=torch.float64, requires_grad=True)
    same = torch.as_tensor(groups[0])[:, None] == torch.as_tensor(groups[1])

    def values(series):
        options = {"redundancy": redundancy, "atoms": ["sts", "xty"]}
        result = synkern.phiid(series, pairs="bipartite", groups=groups, **options)
        return result["sts"][~same], result["xty"][~same]

    assert torch.autograd.gradcheck(values, (series,))


def test_gradient(way):
    torch.manual_seed(0)
    series = torch.randn(2, 32, 4, dtype=torch.float64, requires_grad=True)

    def values(series):
        result = bounded(series, way, pairs=[[0, 1], [3, 1]], names=("sts", "xty"))
        return result["sts"], result["xty"]

    assert torch.autograd.gradcheck(values, (series,))


def test_gradient_is_finite_beside_degenerate_pairs(mixture, way):
    series = torch.tensor(mixture, requires_grad=True)
    result = bounded(series, way, pairs=PAIRS, average=None)
    result["sts"].nansum().backward()
    assert series.grad.isfinite().all()
    assert (series.grad != 0).any()


def test_float32_and_bits(mixture):
    exact = synkern.phiid(mixture, pairs=PAIRS)["sts"]
    single = synkern.phiid(mixture, pairs=PAIRS, dtype="float32", unit="bits")["sts"]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single * np.log(2), exact, rtol=1e-6, atol=1e-5)


def test_few_pairs_of_many_nodes_need_no_matrix(rng):
    """400 thousand nodes: a matrix of all pairs would take 1.3 TB."""
    series = rng.standard_normal((6, 400_000))
    with pytest.warns(UserWarning, match="transposed"):
        result = synkern.phiid(series, pairs=[[0, 399_999], [5, 7]])
    assert np.isfinite(result["sts"]).all()
    assert result.valid_trials().tolist() == [1, 1]
    # One trial has no reference: the averages of the two are not over the same trials.
    lost = np.array([[0, 5, 7, Outcome.NO_AR1_PAIR]])
    with pytest.warns(UserWarning, match="1 of 2 pairs have a value in other trials"):
        excess = result.excess(replace(result, flagged=lost))
    np.testing.assert_array_equal(excess["sts"], [0, np.nan])
    assert excess.valid_trials().tolist() == [1, 0]


def test_valid_trials_of_chosen_pairs_are_those_of_all(mixture):
    mixture[1, :, 2] = 1.0
    mixture[2, 1:, 5] = mixture[2, :-1, 0]  # Fixed by the past: lost, in one trial.
    every = synkern.phiid(mixture).valid_trials()
    assert len(np.unique(every)) > 2
    for groups in GROUPS.values():
        result = synkern.phiid(mixture, pairs="bipartite", groups=groups)
        np.testing.assert_array_equal(result.valid_trials(), every[np.ix_(*groups)])
    result = synkern.phiid(mixture, pairs=[[5, 0], [0, 5], [2, 0], [3, 4]])
    np.testing.assert_array_equal(result.valid_trials(), every[[5, 0, 2, 3], [0, 5, 0, 4]])


def test_saved_and_labelled(mixture, tmp_path):
    result = synkern.phiid(mixture, pairs=PAIRS)
    result.save(tmp_path / "some.npz")
    loaded = synkern.PhiIDResult.load(tmp_path / "some.npz")
    np.testing.assert_array_equal(loaded.pairs, PAIRS)
    assert repr(loaded) == repr(result)
    assert "5 chosen pairs" in repr(result)
    labelled = result.to_xarray([f"n{k}" for k in range(7)])
    assert labelled["sts"].dims == ("pair",)
    assert labelled["x"].values.tolist()[:2] == ["n0", "n3"]
    matrix = synkern.phiid(mixture, pairs="bipartite", groups=([0, 1], [2, 3, 4]), average=None)
    assert matrix.to_xarray()["sts"].dims == ("trial", "pair_0", "pair_1")


def test_node_scores_need_all_pairs(mixture):
    with pytest.raises(ValueError, match="of chosen pairs"):
        synkern.node_scores(synkern.phiid(mixture, pairs=PAIRS))


@pytest.mark.filterwarnings("ignore:.*no persistence reference:UserWarning")
def test_excess_of_chosen_pairs(mixture):
    options = {"pairs": PAIRS, "average": None}
    reference = synkern.persistence_reference(mixture, **options)
    everything = synkern.persistence_reference(mixture, average=None)
    i, j = np.transpose(PAIRS)
    np.testing.assert_allclose(reference["sts"], everything["sts"][:, i, j], rtol=0, atol=ROUNDING)
    excess = synkern.phiid(mixture, **options).excess(reference)
    expected = synkern.phiid(mixture, average=None).excess(everything)["sts"][:, i, j]
    np.testing.assert_allclose(excess["sts"], expected, rtol=0, atol=2 * ROUNDING)
    with pytest.raises(ValueError, match="of other pairs"):
        synkern.phiid(mixture, average=None).excess(reference)


@pytest.mark.parametrize(
    ("pairs", "groups", "message"),
    [
        ([], None, r"\(\.\.\., 2\).*got shape \(0,\)"),
        (np.zeros((0, 2), int), None, "pairs is empty"),
        ([0, 1], None, r"one pair is \[\[i, j\]\]"),
        ([[0, 7]], None, r"nodes from 0 to 6; entry \[0, 1\] is 7"),
        ([[2, 2]], None, "two different nodes"),
        ("with", None, "pairs must be one of 'within', 'between', 'bipartite'"),
        ("within", None, "needs groups"),
        (None, [0] * 7, "groups say nothing without pairs"),
        ([[0, 1]], [0] * 7, "groups say nothing without pairs"),
        ("within", [0] * 6, "got 6 for 7 nodes"),
        ("within", range(7), "selects nothing: 7 nodes have 7 different groups"),
        ("between", [0] * 7, "selects nothing"),
        ("bipartite", [[0], [1], [2]], "two lists of nodes, .* got 3"),
        ("bipartite", [[3], [3]], "at least one pair of two different nodes"),
        ("bipartite", [[3], [9]], r"groups\[1\] must name nodes from 0 to 6"),
        ("bipartite", [[-1], [0]], r"groups\[0\] must name nodes from 0 to 6"),
        ("bipartite", [0, 1], r"two lists of nodes, .* groups\[0\] has shape \(\)"),
        ("bipartite", ([0, 1], [[2]]), r"two lists of nodes, .* groups\[1\] has shape \(1, 1\)"),
        ("bipartite", ([0], np.ma.array([1, 2], mask=[0, 1])), r"groups\[1\] has masked entries"),
        (np.ma.array([[0, 1], [2, 3]], mask=[[0, 0], [1, 1]]), None, "pairs has masked entries"),
    ],
)
def test_what_cannot_be_chosen(mixture, pairs, groups, message):
    with pytest.raises(ValueError, match=message):
        synkern.phiid(mixture, pairs=pairs, groups=groups)


def test_pairs_are_whole_numbers(mixture):
    with pytest.raises(TypeError, match="whole numbers.*float64"):
        synkern.phiid(mixture, pairs=[[0.0, 1.0]])
