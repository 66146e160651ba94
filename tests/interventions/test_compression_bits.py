"""The ledger of bits, against counts by hand, and what is refused as no equal bits."""

import numpy as np
import pytest

from support.optional import needs_torch, torch

pytestmark = needs_torch

if torch:
    from synkern.interventions.weights.bits import (
        KEPT,
        NOBODY,
        Budget,
        Ledger,
        budgets,
        refuse_unequal,
    )
    from synkern.interventions.weights.rounding import Rounding


def ledger(rounding, widths=(4, 4, 4)):
    """Three nodes' rows, columns and biases in a tensor each, a matrix of nobody's and a norm."""
    rows = [*widths, *[10] * 3, 6, 1, *[1] * 3]
    inputs = [40] * 3 + [*widths] + [40, 40] + [5] * 3
    return Ledger(
        tensors=("query", "output", "up", "norm", "bias"),
        own_bits=np.array([16, 16, 16, 32, 16]),
        tensor=np.array([0, 0, 0, 1, 1, 1, 2, 3, 4, 4, 4]),
        node=np.array([0, 1, 2, 0, 1, 2, NOBODY, KEPT, 0, 1, 2]),
        rows=np.array(rows),
        inputs=np.array(inputs),
        vector=np.array([False] * 7 + [True] * 4),
        rounding=rounding,
    )


def test_every_bit_is_counted():
    found = ledger(Rounding(32))
    assert found.elements.tolist() == [480, 120, 240, 40, 15]
    assert found.in_nodes == 615
    # Rows of 40 are two groups, of 4 one: 32 bits each for step and offset.
    query = 160 * (8 + 2 + 2) + 3 * 4 * 2 * 32
    output = 40 * (8 + 2 + 2) + 3 * 10 * 32
    assert found.bits([8, 2, 2]).tolist() == [query, output, 240 * 16, 40 * 32, 15 * 16]
    rest = 240 * 3 + 6 * 2 * 32
    assert found.bits([8, 2, 2], rest=3).tolist() == [query, output, rest, 40 * 32, 15 * 16]
    half = ledger(Rounding(32, symmetric=True))
    assert half.bits([8, 2, 2])[1] == 40 * 12 + 3 * 10 * 16


def test_half_precision_and_nothing_take_no_grid():
    found = ledger(Rounding(32))
    assert found.bits([16, 16, 16]).tolist() == [480 * 16, 120 * 16, 240 * 16, 40 * 32, 15 * 16]
    assert found.bits([16, 0, 0]).tolist() == [160 * 16, 40 * 16, 240 * 16, 40 * 32, 5 * 16]
    assert found.bits([16, 0, 0], rest=0).tolist() == [160 * 16, 40 * 16, 0, 40 * 32, 5 * 16]


@pytest.mark.parametrize("bits", [0, 2, 5, 16])
def test_bits_of_nodes_are_those_of_their_tensors(bits):
    found = ledger(Rounding(8), widths=(4, 6, 5))
    each = found.of_each_node(bits)
    assert each.sum() == found.bits([bits] * 3)[[0, 1, 4]].sum()
    for node in range(3):
        others = [0] * 3
        others[node] = bits
        assert each[node] == found.bits(others)[[0, 1, 4]].sum()


def test_budgets_are_all_pairs_with_all_shares():
    found = budgets([(4, 2), (8, 3)], [0.5, 0.1], 10, Rounding())
    assert found == (Budget(8, 3, 1), Budget(8, 3, 5), Budget(4, 2, 1), Budget(4, 2, 5))
    assert Budget(8, 3, 2).of_nodes([2, 0, 3], 4).tolist() == [8, 3, 8, 3]
    assert str(Budget(8, 3, 2)) == "2 nodes at 8 bits, the rest at 3"


@pytest.mark.parametrize(
    ("pairs", "shares", "message"),
    [
        ([(2, 4)], [0.5], "the higher number of bits comes first"),
        ([(4, 4)], [0.5], "the higher number of bits comes first"),
        ([(4,)], [0.5], r"pairs: \(4,\)"),
        ([(4, 2, 1)], [0.5], r"pairs: \(4, 2, 1\)"),
        ([(9, 2)], [0.5], "bits = 9"),
        ([(4, 2)], [0.0], "shares: 0.0 of 10 nodes leaves none"),
        ([(4, 2)], [0.04], "shares: 0.04 of 10 nodes"),
        ([(4, 2)], [1.0], "shares: 1.0"),
        ([(4, 2)], [float("nan")], "shares: nan"),
        ([], [0.5], "pairs: there are none"),
        ([(4, 2)], [], "shares: there are none"),
        ([(4, 2), (4, 2)], [0.5], "two of these are the same"),
        ([(4, 2)], [0.5, 0.51], "two of these are the same"),
    ],
)
def test_other_budgets_are_refused(pairs, shares, message):
    with pytest.raises(ValueError, match=message):
        budgets(pairs, shares, 10, Rounding())


def test_orders_that_take_other_bits_are_refused():
    names, orders = ("synergy", "redundancy"), ([0, 1, 2], [2, 1, 0])
    refuse_unequal(ledger(Rounding()), orders, names, [Budget(4, 2, 1)])
    unequal = ledger(Rounding(), widths=(4, 4, 6))
    with pytest.raises(
        ValueError, match=r"synergy takes .* redundancy .*2 of 4 x 40 \+ 10 x 4 \+ 1 x 5; 1 "
    ):
        refuse_unequal(unequal, orders, names, [Budget(4, 2, 1)])
    # Of all nodes but one of a size each: the same.
    refuse_unequal(unequal, ([0, 1, 2], [1, 0, 2]), names, [Budget(4, 2, 1)])
