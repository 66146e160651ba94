"""Statistics of ablation curves, against cases worked out by hand."""

import re

import numpy as np
import pytest

from synkern.interventions.curve import OTHER_HALF, AblationCurve
from synkern.interventions.curve_statistics import area_weights, over_texts, permutation_p
from synkern.interventions.orders import Order

FRACTIONS = np.array([0, 0.2, 0.3, 0.6])


@pytest.mark.parametrize(
    ("to", "area"),
    [
        # Of heights 0, 2, 4, 1: triangle 0.2, then 0.3 to 0.3, then 0.75.
        (0.1, 0.05),
        (0.2, 0.2),
        (0.25, 0.2 + 0.05 * 2.5),
        (0.3, 0.5),
        (0.4, 0.5 + 0.1 * 3.5),
        (0.6, 1.25),
    ],
)
def test_areas_end_anywhere(to, area):
    np.testing.assert_allclose(area_weights(FRACTIONS, to) @ [0, 2, 4, 1], area, rtol=1e-15)


@pytest.mark.parametrize("to", [0, -0.1, 0.61])
def test_areas_end_inside_of_the_curve(to):
    with pytest.raises(ValueError, match=re.escape(f"to = {to}: the curve goes to 0.6")):
        area_weights(FRACTIONS, to)


def test_p_counts_equals_and_is_never_zero():
    assert permutation_p(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert permutation_p(9.0, np.arange(3)) == 1 / 4


def test_intervals_hold_the_mean_of_other_texts_in_95_of_100_cases():
    random = np.random.default_rng(0)
    held = 0
    for seed in range(400):
        (found,) = over_texts(random.normal(5, 2, (1, 40)), 500, seed)
        held += found.low <= 5 <= found.high
    # Binomial of 0.95 and 400: standard deviation 4.4; the percentile interval of 40 texts is a
    # little short (about 0.935).
    assert 355 < held < 397


def test_an_interval_of_a_difference_leaves_out_what_texts_have_in_common():
    texts = np.random.default_rng(0).normal(0, 10, 50)
    one, other, gap = over_texts(np.stack([texts + 1, texts, np.ones(50)]), 500, 0)
    assert one.high - one.low > 3
    assert tuple(gap) == (1, 1, 1)
    np.testing.assert_allclose(one.low - other.low, 1)


def curve(**changed):
    """Three orders over four nodes and two texts of 2 and 1 tokens; 6 entries, of single sets."""
    kl = np.array(
        [
            [0, 0, 0],  # nothing out
            [1, 3, 4],  # L0H0
            [3, 3, 5],  # L0H0 and L1H1
            [0, 2, 2],  # L0H1
            [2, 2, 4],  # L0H1 and L1H0
            [4, 4, 8],  # L0H0 and L0H1
        ],
        np.float32,
    )
    options = {
        "nodes": ("L0H0", "L0H1", "L1H0", "L1H1"),
        "layers": np.array([0, 0, 1, 1]),
        "among": np.ones(4, bool),
        "orders": (
            Order("synergy", 0, np.array([0, 3, 1, 2])),
            Order("random", 0, np.array([1, 2, 3, 0])),
            Order("random", 1, np.array([0, 1, 2, 3])),
        ),
        "counts": np.array([0, 1, 2]),
        "sets": np.array([[0, 1, 2], [0, 3, 4], [0, 1, 5]]),
        "token_kl": kl,
        "token_loss": kl + 1,
        "token_agreement": kl < 3,
        "tokens": np.array([2, 1]),
        "first_half": None,
        "groups": ("easy", "hard"),
        "about": {"of": "heads", "kind": "zero", "ranking": "balance", "model": "Tiny"},
    }
    return AblationCurve(**options | changed)


def test_means_are_over_tokens_first_and_texts_then():
    found = curve()
    np.testing.assert_array_equal(found.fractions, [0, 0.25, 0.5])
    np.testing.assert_array_equal(found.per_text("kl")["synergy"], [[[0, 0], [2, 4], [3, 5]]])
    np.testing.assert_array_equal(found.kl["synergy"], [[0, 3, 4]])
    np.testing.assert_array_equal(found.kl["random"], [[0, 1.5, 3], [0, 3, 6]])
    np.testing.assert_array_equal(found.loss["synergy"], [[1, 4, 5]])
    np.testing.assert_array_equal(found.agreement["synergy"], [[1, 0.25, 0]])


def test_means_over_tokens_weigh_texts_by_their_length():
    by_tokens = curve().mean("kl", by_tokens=True)["synergy"]
    np.testing.assert_allclose(by_tokens, [[0, 8 / 3, 11 / 3]], rtol=1e-15)


def test_values_by_token():
    nan = np.nan
    found = curve().per_token("kl", "random", 1)
    np.testing.assert_array_equal(found[1:], [[[1, 3], [4, nan]], [[4, 4], [8, nan]]])


def test_areas_ratios_and_chance():
    found = curve()
    # Trapezoids of width 1/4: synergy (0+3)/8 + (3+4)/8, and so on.
    np.testing.assert_array_equal(found.auc["synergy"], [1.25])
    np.testing.assert_array_equal(found.auc["random"], [0.75, 1.5])
    np.testing.assert_array_equal(found.area(0.25)["random"], [0.1875, 0.375])
    np.testing.assert_array_equal(found.areas_so_far()["synergy"], [[0, 0.375, 1.25]])
    assert found.ratios() == {"random": 1.25 / 1.125}
    assert found.p_values == {"random": 2 / 3}
    assert found.permutation_p(0.25) == {"random": 2 / 3}  # an equal one counts


def test_differences_over_texts():
    found = curve()
    # Area of synergy by text: 7/8, 13/8; mean of the two random ones: 3/4, 3/2.
    gap = found.differences()["random"]
    assert gap.value == 0.125
    assert gap.low == gap.high == 0.125
    own = found.intervals()["synergy"]
    assert (own.low, own.value, own.high) == (7 / 8, 1.25, 13 / 8)


def test_largest_steps_name_their_nodes():
    first, second = curve().largest_steps()
    assert first == ("synergy", 0, 0, ("L0H0",), 3.0)
    assert second == ("synergy", 0, 1, ("L1H1",), 1.0)
    (most,) = curve().largest_steps("random", 1)
    assert most == ("random", 1, 0, ("L0H0",), 3.0)


def test_curves_by_group_of_texts():
    easy, hard = curve().by().values()
    np.testing.assert_array_equal(easy.kl["synergy"], [[0, 2, 3]])
    np.testing.assert_array_equal(hard.kl["synergy"], [[0, 4, 5]])
    assert [*curve().by(["x", "x"])] == ["x"]
    np.testing.assert_array_equal(curve().by(["x", "x"])["x"].token_kl, curve().token_kl)
    with pytest.raises(ValueError, match="groups: 1 for 2 texts"):
        curve().by(["x"])
    with pytest.raises(ValueError, match="groups: none for 2 texts"):
        curve(groups=None).by()
    with pytest.raises(ValueError, match="are no places of texts"):
        curve().some([])


def test_what_was_not_measured_is_refused():
    with pytest.raises(ValueError, match="order: 'norm' is none of those that were measured"):
        curve().largest_steps("norm")
    with pytest.raises(ValueError, match="order: 'norm' is none"):
        curve().ratios(reference="norm")
    with pytest.raises(ValueError, match="measure: 'accuracy'"):
        curve().mean("accuracy")
    halves = Order(OTHER_HALF, 0, np.array([[0, 1, 2, 3], [3, 2, 1, 0]]))
    split = curve(orders=(*curve().orders[:2], halves))
    with pytest.raises(ValueError, match="takes out other nodes in each half"):
        split.largest_steps(OTHER_HALF)


def many(synergy, controls, texts=20):
    """A curve of one step whose KL by text is given, for each control a draw for each height."""
    spread = np.linspace(-0.1, 0.1, texts)
    heights = [np.zeros(texts), synergy + spread]
    orders, sets = [Order("synergy", 0, np.arange(4))], [[0, 1]]
    for name, draws in controls.items():
        for draw, height in enumerate(draws):
            orders.append(Order(name, draw, np.arange(4)))
            sets.append([0, len(heights)])
            heights.append(height + spread[::-1])
    kl = np.array(heights, np.float32)
    return curve(
        orders=tuple(orders),
        sets=np.array(sets),
        counts=np.array([0, 2]),
        token_kl=kl,
        token_loss=kl,
        token_agreement=kl < 1,
        tokens=np.ones(texts, np.int64),
        groups=None,
    )


def test_the_paragraph_answers_whatever_the_answer_is():
    found = many(2.0, {"random": [1.0] * 19, "layer_matched": [3.0] * 19, "norm": [2.0]}).finding
    assert "(ranking: balance), up to 50% of 4, changes" in found
    assert "by 1 nats on average" in found
    assert "It does more harm than taking out heads in random order (0.5 nats" in found
    assert "p = 0.05 of 19 draws" in found
    assert "It does less harm than taking out heads of the same layers" in found
    assert "It does not clearly do more harm than taking out heads that are most active" in found


def test_few_draws_are_not_enough_for_more():
    found = many(2.0, {"random": [1.0] * 5}).finding
    assert "It does not clearly do more harm than taking out heads in random order" in found
    assert "p = 0.17 of 5 draws" in found
    assert "Against heads that are most active it was not compared." in found


def test_an_order_among_those_of_chance_does_neither_more_nor_less():
    found = many(2.0, {"random": [3.0] * 15 + [1.0] * 4}).finding
    assert "difference -0.289, 95 % interval over texts -0.3" in found
    assert "p = 0.8 of 19 draws" in found
    assert "It does not clearly do more harm than taking out heads in random order" in found
    found = many(2.0, {"random": [3.0] * 18}).finding
    assert "It does not clearly do more harm" in found
    assert "It does less harm" in many(2.0, {"random": [3.0] * 19}).finding


def test_a_curve_without_synergy_says_so():
    found = curve(orders=curve().orders[1:], sets=curve().sets[1:])
    assert found.finding.startswith("The order of synergy was not measured")
    assert "random" in repr(found)


def test_repr_is_for_people():
    lines = repr(curve()).splitlines()
    assert lines[0] == "AblationCurve(4 heads, zero, 3 points to 50%, 2 texts)"
    assert lines[1] == "  synergy  KL 4 nats at the end, mean 2.5"
    assert lines[2] == "  random   KL 4.5 nats at the end, mean 2.25, 2 draws"
    assert lines[3] == curve().finding


def test_curves_are_saved_and_loaded(tmp_path):
    halves = Order(OTHER_HALF, 0, np.array([[0, 1, 2, 3], [3, 2, 1, 0]]))
    mine = curve(
        orders=(*curve().orders[:2], halves), first_half=np.array([True, False]), groups=None
    )
    mine.save(tmp_path / "curve.npz")
    found = AblationCurve.load(tmp_path / "curve.npz")
    assert repr(found) == repr(mine)
    assert (found.nodes, found.groups, found.about) == (mine.nodes, mine.groups, mine.about)
    for name in ("layers", "among", "counts", "sets", "token_kl", "token_loss", "first_half"):
        own = getattr(mine, name)
        np.testing.assert_array_equal(getattr(found, name), own)
        assert getattr(found, name).dtype == own.dtype
    for one, other in zip(found.orders, mine.orders, strict=True):
        assert (one.name, one.draw) == (other.name, other.draw)
        np.testing.assert_array_equal(one.nodes, other.nodes)
    assert curve().groups == ("easy", "hard")


def test_other_files_are_refused(tmp_path):
    file = tmp_path / "curve.npz"
    file.write_bytes(b"no curve")
    with pytest.raises(ValueError, match="cannot be read as an ablation curve"):
        AblationCurve.load(file)
    np.savez(file, series=np.zeros(3))
    with pytest.raises(ValueError, match="cannot be read as an ablation curve"):
        AblationCurve.load(file)
    curve(layers=np.array([0])).save(file)
    with pytest.raises(ValueError, match=re.escape("layers has shape (1,), not (4,)")):
        AblationCurve.load(file)


@pytest.mark.parametrize("measure", ["kl", "loss", "agreement"])
def test_the_figure_shows_every_order(measure):
    pytest.importorskip("matplotlib")
    figure = curve().plot(measure, title="Mine")
    (axes,) = figure.axes
    assert axes.get_title() == "Mine"
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["synergy", "random (2 draws)"]
    x, y = axes.get_lines()[1].get_data()
    np.testing.assert_array_equal(x, [0, 25, 50])
    np.testing.assert_array_equal(y, curve().mean(measure)["random"].mean(0))
    assert len(axes.collections) == 1  # the band of the draws
