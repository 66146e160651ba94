"""The page to explore of data: whose numbers it carries, and under which names."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from support.recordings_made import recording
from synkern.study import decompose_data
from synkern.study.explorer import FILE, explorer_page
from synkern.study.explorer.packing import Triangle, unpacked_triangle
from synkern.study.of_data.exploring import explored_data

QUICK = {"progress": False, "bootstrap": 100, "null_draws": 19}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    data = recording(step=2.0)
    return decompose_data(data, out=tmp_path_factory.mktemp("of") / "data", tau=(1, 2), **QUICK)


def test_every_number_stands_under_its_name_and_lag(found):
    explored = explored_data(found)
    assert explored.conditions == ["lag 1 (2 s)", "lag 2 (4 s)"]
    named = {
        "mean difference": "node_mean_difference",
        "rank difference": "node_rank_difference",
        "balance": "node_balance",
        "mean synergy (sts)": "node_synergy",
        "mean redundancy (rtr)": "node_redundancy",
        "mean synergy beyond persistence": "node_excess",
        "persistence": "node_persistence",
        "synergy (sts)": "sts",
        "redundancy (rtr)": "rtr",
        "synergy beyond persistence": "excess_sts",
        "synergy (sts), against null cross_trial": "null_sts_z",
        "redundancy (rtr), against null cross_trial": "null_rtr_z",
    }
    shown = [*explored.rankings, *explored.values, *explored.pairs]
    given = {one.name: one for one in shown if one.values}
    assert given.keys() == named.keys()
    for name, array in named.items():
        for tau, lag in zip((1, 2), explored.conditions, strict=True):
            np.testing.assert_array_equal(given[name].values[lag], found.at(tau)[array])
    computed = {one.name: (one.rule, one.of) for one in explored.pairs if one.rule}
    both = ("synergy (sts)", "redundancy (rtr)")
    assert computed == {
        "sts − rtr": ("difference", both),
        "balance, sts / (sts + rtr)": ("share", both),
    }
    assert {one.unit for one in explored.values} == {"nats", "correlation"}
    mean = explored.charts[0].lines[0]
    np.testing.assert_allclose(
        mean.y, [np.mean(found.at(tau)["node_synergy"]) for tau in (1, 2)], rtol=1e-5
    )
    assert (mean.lower < mean.y).all()
    assert (mean.y < mean.upper).all()


def test_the_page_lies_beside_the_report_that_links_to_it(found):
    page = (found.out / FILE).read_text("utf-8")
    assert f'<a href="{FILE}">' in found.report.read_text("utf-8")
    assert '<a href="report.html">' in page
    elements = dict(
        re.findall(r'<script type="[^"]+" id="([^"]+)">(.*?)</script>', page, re.DOTALL)
    )
    data = json.loads(elements["explored"])
    assert data["labels"] == list(found.node_names)
    name = data["pairs"][0]["values"]["lag 2 (4 s)"]
    carried = unpacked_triangle(Triangle(len(data["labels"]), elements[name]))
    np.testing.assert_array_equal(carried, found.at(2)["sts"].astype(np.float32))
    shown = " ".join(page.partition("<script")[0].split())
    assert "6 nodes in 3 groups; lag 1 (2 s), lag 2 (4 s)." in shown
    assert "Gaussian, MMI redundancy, in nats; 6 trials of 60 valid samples." in shown
    assert found.description["summary"][0].split(" (")[0] in shown
    assert "is not zero but that of unrelated nodes" in shown


def test_nodes_lie_where_they_are_and_by_group(found):
    explored = explored_data(found)
    assert [view.name for view in explored.views] == [
        "from above",
        "from the right",
        "from behind",
        "by group",
    ]
    where = found.coordinates
    above, right, behind, by_group = explored.views
    np.testing.assert_array_equal(np.stack([above.x, above.y, right.y], 1), where)
    np.testing.assert_array_equal(np.stack([behind.x, right.x, behind.y], 1), where)
    # The first group twice, then the second, and the one that is in none.
    np.testing.assert_array_equal(by_group.x, [0, 0, 1, 1, 2, 0])
    np.testing.assert_array_equal(by_group.y, [0, -1, 0, -1, 0, -2])
    assert by_group.y_names == {0: "left", -1: "right", -2: "no group"}
    assert list(explored.group_names) == ["left", "right", "no group"]


def test_sensors_are_in_millimetres_too(found):
    data = {**found.data, "space": "head", "coordinates": (found.coordinates / 1000).tolist()}
    explored = explored_data(replace(found, description={**found.description, "data": data}))
    np.testing.assert_allclose(explored.views[0].x, found.coordinates[:, 0], rtol=1e-12)
    assert explored.views[0].x_label == "x, mm (to the right)"


def test_without_groups_places_null_and_excess(found):
    told = found.description
    names = ["a", "a", "b", "c", "d", "e"]
    nothing = {"groups": None, "coordinates": None, "space": None, "node_names": names}
    facts = told["stages"]["decomposition (lag 1)"]
    description = {
        **told,
        "parameters": {**told["parameters"], "tau": [1], "kind": "discrete"},
        "data": {**told["data"], **nothing, "step": None},
        "stages": {"decomposition (lag 1)": {**facts, "unit": "bits"}},
        "null": {"name": "none", "why": "none was asked for"},
        "excess_absent": "it exists for kind gaussian only",
    }
    absent = ("excess", "null", "interval")
    arrays = {n: a for n, a in found.arrays.items() if not any(part in n for part in absent)}
    explored = explored_data(replace(found, description=description, arrays=arrays))
    assert list(explored.labels) == ["a (1)", "a (2)", "b", "c", "d", "e"]
    (view,) = explored.views
    assert (view.name, view.named, explored.group) == ("in order", True, "")
    np.testing.assert_array_equal(view.x, [0, 1, 2, 3, 0, 1])
    np.testing.assert_array_equal(view.y, [0, 0, 0, 0, -1, -1])
    given = [pair.name for pair in explored.pairs if pair.values]
    assert given == ["synergy (sts)", "redundancy (rtr)"]
    assert {pair.unit for pair in explored.pairs if pair.values} == {"bits"}
    assert not explored.charts
    assert list(explored.notes) == [
        "No synergy beyond persistence: it exists for kind gaussian only.",
        "There is no null: none was asked for.",
    ]
    shown = explorer_page(explored).partition("<script")[0]
    assert "6 nodes; lag 1. discrete, MMI redundancy, in bits;" in " ".join(shown.split())
    assert '<th scope="col">group' not in shown
