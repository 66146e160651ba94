"""The page to explore: its contract, what it carries, and what it shows of a study."""

import base64
import dataclasses
import json
import re

import numpy as np
import pytest
from bokeh.resources import Resources

from support.explorations import WEIGHTS, of_layers, of_places, symmetric
from synkern.analysis.profile import MEANS
from synkern.analysis.scores import mean_over_pairs
from synkern.kernels import LEAST_SUM
from synkern.study.explorer import (
    FILE,
    Explored,
    Line,
    NodeValues,
    PairValues,
    explored_study,
    explorer_page,
)
from synkern.study.explorer.blocks import SIDE, blocks_for
from synkern.study.explorer.packing import Triangle, packed, packed_triangle, unpacked_triangle
from synkern.study.explorer.payload import payload_of


def unpacked(text):
    kinds = {"f8": "<f8", "i4": "<i4"}
    return np.frombuffer(base64.b64decode(text["data"]), kinds[text["dtype"]])


def carried(page):
    """The data of a page, and its matrices by name, as a browser finds them."""
    elements = dict(re.findall(r'<script type="[a-z/]+" id="([a-z0-9-]+)">(.*?)</script>', page))
    data = json.loads(elements["explored"])
    side = len(data["labels"])
    if data["block_of"] is not None:
        side = int(unpacked(data["block_of"]).max()) + 1
    found = {
        name: unpacked_triangle(Triangle(side, text))
        for name, text in elements.items()
        if name.startswith("matrix-") and not name.endswith(("plot", "control"))
    }
    return data, found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": []}, "labels is empty"),
        ({"labels": ["a"] * 12}, "12 nodes have 1 labels"),
        ({"group_of": np.arange(12)}, "group_of goes from 0 to 11 for 4 group_names"),
        ({"group_of": np.zeros(3, int)}, r"group_of has shape \(3,\); give \(12,\)"),
        (
            {"values": [NodeValues(name="v", unit="", values={"x": np.zeros(12)})]},
            "'x' is none of the conditions",
        ),
        (
            {"values": [NodeValues(name="v", unit="", values={WEIGHTS[0]: np.zeros(3)})]},
            r"values 'v' of 'trained weights' has shape \(3,\)",
        ),
        (
            {"pairs": [PairValues(name="p", unit="", values={WEIGHTS[0]: np.zeros(12)})]},
            r"pairs 'p' of 'trained weights' has shape \(12,\); give \(12, 12\)",
        ),
        ({"pairs": [PairValues(name="p", unit="", rule="sum")]}, "rule = 'sum'; give 'difference'"),
        (
            {"pairs": [PairValues(name="p", unit="", rule="share", of=("a", "b"))]},
            "name two that have values: there are none",
        ),
        ({"pairs": [PairValues(name="p", unit="")] * 2}, "pairs: 'p' is there twice"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        of_layers(**changes)


def test_a_line_and_a_ranking_of_a_chart_have_to_fit():
    chart = of_layers().profiles[0]
    with pytest.raises(ValueError, match="there is no ranking 'none such'"):
        of_layers(profiles=[dataclasses.replace(chart, ranking="none such")])
    short = Line(name="l", x=np.arange(3), y=np.arange(2))
    with pytest.raises(ValueError, match=r"y of line 'l' .* has shape \(2,\); give \(3,\)"):
        of_layers(charts=[dataclasses.replace(chart, name="c", lines=[short])])
    with pytest.raises(ValueError, match=r"groups of chart .* give \(4,\)"):
        of_layers(profiles=[dataclasses.replace(chart, groups=np.zeros(3))])


def test_draws_have_their_mean_and_their_range():
    line = Line.of_draws("random", np.arange(3), np.array([[1.0, 2, 3], [3, 4, 8]]))
    assert line.name == "random (2 draws)"
    np.testing.assert_array_equal(
        [line.lower, line.y, line.upper], [[1, 2, 3], [2, 3, 5.5], [3, 4, 8]]
    )
    assert Line.of_draws("one", np.arange(3), np.ones((1, 3))).lower is None


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_a_matrix_comes_back_bit_by_bit(n):
    matrix = symmetric(n, n).astype(np.float32)
    back = unpacked_triangle(packed_triangle(matrix))
    np.testing.assert_array_equal(back.view(np.uint32), matrix.view(np.uint32))


def test_numbers_come_back_bit_by_bit():
    for values in (np.array([0.1, np.nan, -np.inf, 1e-300]), np.array([3, -7, 2**31 - 1])):
        np.testing.assert_array_equal(unpacked(packed(values)), values)


def test_the_page_carries_the_very_numbers():
    explored = of_layers()
    data, matrices = carried(explorer_page(explored))
    assert len(matrices) == 4  # of the two that no rule gives, in two conditions
    for place, pair in enumerate(explored.pairs):
        for condition, values in pair.values.items():
            name = data["pairs"][place]["values"][condition]
            np.testing.assert_array_equal(matrices[name], values.astype(np.float32))
    assert [one["of"] for one in data["pairs"]] == [[], [], [0, 1], [0, 1]]
    for kind in ("rankings", "values"):
        for told, one in zip(data[kind], getattr(explored, kind), strict=True):
            assert (told["name"], told["unit"]) == (one.name, one.unit)
            assert told["values"].keys() == one.values.keys()
            for condition, values in one.values.items():
                np.testing.assert_array_equal(unpacked(told["values"][condition]), values)
    line, told = explored.profiles[0].lines[1], data["profiles"][0]["lines"][1]
    for name in ("x", "y", "lower", "upper"):
        np.testing.assert_array_equal(unpacked(told[name]), getattr(line, name))
    assert data["labels"] == list(explored.labels)


CONTROLS = {"ranking", "condition", "colour", "theme", "find", "pairs", "order", "profile", "chart"}


def test_the_page_has_every_control_and_needs_nothing_else():
    page = explorer_page(of_layers())
    for name in {*CONTROLS, "published"}:
        assert f'<div id="{name}-control">' in page
    assert "view-control" not in page.partition("<script")[0]
    for name in ("map", "matrix", "partners", "profile", "chart"):
        assert f'<div id="{name}-plot">' in page
    # Text of Bokeh's own scripts apart, nothing names an address.
    bokeh = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render_js()
    assert bokeh in page
    own = page.replace(bokeh, "")
    assert not re.search(r'(src|href)="(?!data:,|report\.html)', own)
    assert not re.search(r"https?://(?!www\.w3\.org)", own)
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"http", page)
    assert "made &lt;b&gt;model" in own
    assert "something &lt; nothing" in own
    assert "Gaussian, MMI redundancy, in nats; lag 1 token." in own


def test_a_page_of_data_has_the_controls_that_decide_something():
    page = explorer_page(of_places()).partition("<script")[0]
    names = re.findall(r'<div id="([a-z]+)-control">', page)
    assert {*names} == {"ranking", "theme", "find", "colour", "view", "pairs", "order"}
    assert "Map of the regions" in page
    assert "profile-plot" not in page


def test_no_name_ends_the_script_it_stands_in():
    labels = [f"</script><img src=x{k}>" for k in range(12)]
    data, _ = carried(explorer_page(of_layers(labels=labels)))
    assert data["labels"] == labels


def test_nodes_too_many_for_pairs_are_taken_together():
    group_of = np.repeat([0, 1, 2], [5, 4, 1])
    assert blocks_for(group_of, 2) is None
    blocks = blocks_for(group_of, 2, side=6)
    assert blocks.size == 2
    np.testing.assert_array_equal(blocks.of, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5])
    matrix = symmetric(10, 0)
    found = blocks.mean(matrix)
    for a in range(6):
        for b in range(6):
            pairs = matrix[np.ix_(blocks.of == a, blocks.of == b)]
            known = pairs[np.isfinite(pairs)]
            expected = known.mean() if len(known) else np.nan
            np.testing.assert_allclose(found[a, b], expected, rtol=1e-14)
    # Of 10 nodes and as many matrices, 60 pairs in all leave room for 3 blocks.
    assert blocks_for(group_of, 10, values=60).count == 3
    assert blocks_for(np.zeros(SIDE + 1, int), 1).count <= SIDE


def test_a_page_of_blocks_says_so():
    explored = of_layers()
    blocks = blocks_for(explored.group_of, 4, side=8)
    data, triangles = payload_of(explored, blocks)
    np.testing.assert_array_equal(unpacked(data["block_of"]), blocks.of)
    assert {triangle.side for triangle in triangles.values()} == {8}
    synergy, redundancy, gap, share = data["pairs"]
    assert (gap["rule"], share["rule"], share["of"]) == ("", "", [])
    for condition, name in share["values"].items():
        a, b = (one.values[condition] for one in explored.pairs[:2])
        with np.errstate(invalid="ignore"):
            expected = np.where(a + b > 0, a / (a + b), np.nan)
        found = unpacked_triangle(triangles[name])
        np.testing.assert_allclose(found, blocks.mean(expected), rtol=1e-6)
        apart = blocks.mean(a) / (blocks.mean(a) + blocks.mean(b))
        assert np.nanmax(np.abs(apart - found)) > 1e-4
        difference = unpacked_triangle(triangles[gap["values"][condition]])
        np.testing.assert_allclose(difference, blocks.mean(a - b), rtol=1e-5, atol=1e-6)
    assert (synergy["rule"], redundancy["rule"]) == ("", "")
    many = of_layers(1, SIDE + 4, pairs=[PairValues(name="p", unit="")])
    assert "taken together" not in explorer_page(many)  # there is no matrix
    matrix = {WEIGHTS[0]: np.zeros((SIDE + 4, SIDE + 4))}
    page = explorer_page(
        of_layers(1, SIDE + 4, pairs=[PairValues(name="p", unit="", values=matrix)])
    )
    said = " ".join(page.partition("<script")[0].split())
    assert "Single pairs of 2,004 heads are too many for a page" in said
    assert "in 1,002 blocks of up to 2 neighbours" in said


def test_a_study_fills_the_contract(finished):
    page = (finished.out / FILE).read_text("utf-8")
    data, matrices = carried(page)
    assert data["conditions"] == [*WEIGHTS]
    assert data["labels"] == [f"L{layer}H{head}" for layer in range(4) for head in range(2)]
    names = [one["name"] for one in data["rankings"]]
    assert names == ["mean difference (as published)", "rank difference", "balance"]
    for weights in ("trained", "random"):
        said, own = f"{weights} weights", finished.of(weights)
        profiles = finished.profiles[weights]
        for told, ranking in zip(
            data["rankings"], [r for r in profiles if r not in MEANS], strict=True
        ):
            np.testing.assert_array_equal(unpacked(told["values"][said]), profiles[ranking].scores)
        synergy, redundancy = data["values"][:2]
        for told, atom in ((synergy, "sts"), (redundancy, "rtr")):
            means = mean_over_pairs(own[atom])
            np.testing.assert_array_equal(unpacked(told["values"][said]), means)
        for told, atom in zip(data["pairs"], ("sts", "rtr"), strict=False):
            np.testing.assert_array_equal(
                matrices[told["values"][said]], own[atom].astype(np.float32)
            )
        line = next(one for one in data["profiles"][0]["lines"] if one["name"] == said)
        profile = profiles["mean_difference"]
        for name, values in (("y", profile.mean), ("lower", profile.lower)):
            np.testing.assert_array_equal(unpacked(line[name]), values)
    charts = [chart["name"] for chart in data["profiles"]]
    assert charts[3] == "rank of the layers, beside published ones"
    lines = [line["name"] for line in data["profiles"][3]["lines"] if line["published"]]
    assert "Qwen 3 8B (base)" in lines
    shown = page.partition("<script")[0]
    for sentence in finished.description["summary"]:
        assert sentence.split(" (")[0] in shown.replace("&#39;", "'")
    assert "Gaussian, MMI redundancy, in nats; lag 1 token" in shown


def test_of_very_many_nodes_some_of_every_layer_are_shown(finished):
    arrays = {name: a for name, a in finished.arrays.items() if not name.endswith(("sts", "rtr"))}
    for weights in ("trained", "random"):
        for mean, atom in (("synergy", "sts"), ("redundancy", "rtr")):
            arrays[f"{weights}_{mean}"] = mean_over_pairs(finished.of(weights)[atom])
    big = dataclasses.replace(finished, arrays={n: widened(n, a) for n, a in arrays.items()})
    profiles = {
        weights: {r: dataclasses.replace(p, scores=np.repeat(p.scores, 3)) for r, p in own.items()}
        for weights, own in finished.profiles.items()
    }
    explored = explored_study(dataclasses.replace(big, profiles=profiles), [], [], most=4)
    # The ends of each layer of six, by score, of which every three are alike.
    assert np.bincount(explored.group_of).tolist() == [2, 2, 2, 2]
    scores = explored.rankings[0].values[WEIGHTS[0]].reshape(4, 2)
    before = finished.profiles["trained"]["mean_difference"].scores.reshape(4, 2)
    np.testing.assert_array_equal(np.sort(scores, 1), np.sort(before, 1))
    assert explored.notes[0].startswith("8 of 24 heads are shown")


def widened(name, array):
    """Every node three times, as `LnHm` of its own."""
    kind = name.split("_", 1)[1]
    if kind == "index":
        return np.tile(np.arange(6), 4)
    nodes = kind in ("layer", "synergy", "redundancy", "autocorrelation")
    return np.repeat(array, 3) if nodes else array


def test_a_report_that_is_outdated_takes_the_page_with_it(copy):
    from synkern.study.folder import StudyFolder  # noqa: PLC0415  of a copy that is changed

    StudyFolder.open(copy).remove_report([])
    assert not (copy / FILE).exists()
    assert not (copy / "report.html").exists()


def test_the_contract_knows_no_study():
    assert not {field.name for field in dataclasses.fields(Explored)} & {"layers", "weights"}


def test_the_page_leaves_out_the_shares_that_scores_leave_out():
    assert LEAST_SUM == 2.0**-40
    assert "const LEAST_SUM = 2 ** -40;" in explorer_page(of_layers())
