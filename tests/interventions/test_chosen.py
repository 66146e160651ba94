"""Which nodes are meant: by label, as nodes, by index or by mask."""

import numpy as np
import pytest
import torch

from synkern.interventions import chosen_nodes
from synkern.models import Node

NODES = (*(Node(layer, head) for layer in range(2) for head in range(3)), Node(0, 0, "mlps"))


def indices(nodes, **options):
    return np.flatnonzero(chosen_nodes(nodes, NODES, **options)).tolist()


MASK = np.array([True, False, False, False, False, True, False])


@pytest.mark.parametrize(
    "nodes",
    [
        ["L0H0", "L1H2"],
        ("L1H2", Node(0, 0)),
        {Node(0, 0), 5},
        np.array(["L0H0", "L1H2"]),
        [5, 0],
        np.array([0, 5]),
        torch.tensor([5, 0]),
        (node for node in ("L0H0", "L1H2")),
        MASK,
        torch.from_numpy(MASK),
        MASK.tolist(),
        list(MASK),
    ],
)
def test_ways_to_name_nodes(nodes):
    found = chosen_nodes(nodes, NODES)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, MASK)


@pytest.mark.parametrize(("nodes", "index"), [("L1H0", 3), (Node(1, 0), 3), (3, 3), ("L0M", 6)])
def test_one_node(nodes, index):
    assert indices(nodes) == [index]


@pytest.mark.parametrize("nodes", [[], (), np.array([]), MASK & False])
def test_no_nodes_are_a_set(nodes):
    assert indices(nodes) == []


def test_what_is_returned_is_no_view():
    own = MASK.copy()
    chosen_nodes(own, NODES)[:] = True
    np.testing.assert_array_equal(own, MASK)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, list])
def test_a_set_for_each_text(kind):
    rows = [MASK.tolist(), (~MASK).tolist()]
    found = chosen_nodes(kind(rows), NODES, per_text=True)
    np.testing.assert_array_equal(found, [MASK, ~MASK])
    with pytest.raises(ValueError, match=r"mask of shape \(2, 7\) for 7 nodes; give \(7,\)$"):
        chosen_nodes(kind(rows), NODES)


@pytest.mark.parametrize(
    ("nodes", "error", "message"),
    [
        (
            ["L0H3"],
            ValueError,
            r"nodes: 'L0H3' is none of the 7 nodes L0H0 ... L0M \(heads, mlps\)",
        ),
        ("l0h0", ValueError, "nodes: 'l0h0' is none of the 7 nodes"),
        (Node(0, 1, "experts"), ValueError, r"nodes: 'L0E1' \(experts\) is none of the 7 nodes"),
        ([7], ValueError, "nodes: 7 is no index of the 7 nodes; give 0 to 6"),
        ([-1], ValueError, "nodes: -1 is no index"),
        ([0, "L0H0"], ValueError, "nodes: L0H0 is named twice; give each once"),
        ([0, 1, 1, 0, 0, 0, 0], ValueError, r"nodes: L0H1 .* \(a mask has to be of bools\)"),
        ([0.5], TypeError, r"nodes: 0.5 \(float\) names no node; give labels such as 'L0H0'"),
        (None, TypeError, r"nodes: None \(NoneType\) names no node"),
        ([[0, 1]], TypeError, r"nodes: an array \(1, 2\) of int64; a mask has bools, of shape"),
        ([[True], [True, False]], ValueError, r"rows of this mask have \[1, 2\] entries"),
        (MASK[:-1], ValueError, r"nodes: a mask of shape \(6,\) for 7 nodes; give \(7,\)"),
        (np.ones((0, 7), bool), ValueError, r"nodes: a mask of shape \(0, 7\)"),
    ],
)
def test_what_names_no_nodes_is_refused(nodes, error, message):
    with pytest.raises(error, match=message):
        chosen_nodes(nodes, NODES, per_text=False)
