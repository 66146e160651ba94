"""Rounding by group against a loop in NumPy that takes one weight at a time."""

from itertools import pairwise

import numpy as np
import pytest

from support.optional import needs_torch, torch

pytestmark = needs_torch

if torch:
    from synkern.interventions.weights.rounding import Loss, Rounding

F = np.float32


def one_group(weights, bits, symmetric):
    """One group rounded, a weight at a time, in the arithmetic of float32; and its step."""
    weights = [F(w) for w in weights]
    if symmetric:
        most, least, low = 2 ** (bits - 1) - 1, -(2 ** (bits - 1) - 1), F(0)
        reach = max(abs(w) for w in weights)
    else:
        most, least, low = 2**bits - 1, 0, F(np.float16(min(weights)))
        reach = max(max(weights) - low, F(0))
    step = F(np.float16(reach / F(most)))
    if reach > 0:
        step = max(step, F(2.0**-24))
    rounded = []
    for w in weights:
        place = np.rint((w - low) / step) if step > 0 else F(0)
        rounded.append(F(min(max(place, F(least)), F(most))) * step + low)
    return rounded, float(step)


def slowly(weights, bits, group, symmetric):
    """(rows, inputs) rounded, the step of each weight, and the bits that they take."""
    rounded, steps, cost = np.zeros_like(weights), np.zeros_like(weights), 0
    for row in range(len(weights)):
        for start in range(0, weights.shape[1], group):
            part = slice(start, start + group)
            rounded[row, part], steps[row, part] = one_group(weights[row, part], bits, symmetric)
            cost += bits * len(weights[row, part]) + (16 if symmetric else 32)
    return rounded, steps, cost


def bound(weights, steps, bits, group, symmetric):
    """The largest differences that the arithmetic allows, by weight; see `Rounding`."""
    most = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    low = np.zeros_like(weights)
    if not symmetric:
        for start in range(0, weights.shape[1], group):
            part = slice(start, start + group)
            low[:, part] = weights[:, part].min(1, keepdims=True)
    # The last term: float32, whose rounding is that of numbers up to the largest weight.
    return (
        steps * (0.5 + most * 2.0**-11)
        + 2.0**-11 * np.abs(low)
        + (most + 1) * 2.0**-25
        + 2.0**-22 * np.abs(weights).max()
    )


SHAPES = [(5, 64), (3, 32), (4, 7), (2, 33), (1, 1), (3, 95)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("group", [32, 64, 5])
def test_every_width_is_what_the_loop_says(bits, symmetric, group):
    if symmetric and bits == 1:
        with pytest.raises(ValueError, match="use 0 .*2 to 8"):
            Rounding(group, symmetric).rounded(torch.ones(2, 2), 1)
        return
    rounding = Rounding(group, symmetric)
    for seed, shape in enumerate(SHAPES):
        weights = np.random.default_rng(seed).standard_normal(shape).astype(F) * F(0.05)
        expected, steps, cost = slowly(weights, bits, group, symmetric)
        before = torch.from_numpy(weights.copy())
        found = rounding.rounded(before, bits)
        # Every operation is one of IEEE arithmetic, in the same order: no bit may differ.
        np.testing.assert_array_equal(found.numpy(), expected)
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(before.numpy(), weights)
        assert rounding.cost(shape, bits) == cost
        assert (np.abs(expected - weights) <= bound(weights, steps, bits, group, symmetric)).all()
        loss = rounding.loss(before, bits)
        difference = expected.astype(np.float64) - weights
        np.testing.assert_allclose(loss.changed, (difference**2).sum(), rtol=1e-12)
        np.testing.assert_allclose(
            loss.weights, (weights.astype(np.float64) ** 2).sum(), rtol=1e-12
        )
        np.testing.assert_allclose(
            loss.even, (steps.astype(np.float64) ** 2).sum() / 12, rtol=1e-12
        )


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_rounded_in_float32_and_given_back_in_its_type(dtype, symmetric):
    weights = torch.randn(4, 48, generator=torch.Generator().manual_seed(1)).to(
        getattr(torch, dtype)
    )
    expected, *_ = slowly(weights.float().numpy(), 3, 32, symmetric)
    found = Rounding(32, symmetric).rounded(weights, 3)
    assert found.dtype == weights.dtype
    assert torch.equal(found, torch.from_numpy(expected).to(weights.dtype))


def test_double_precision_is_kept():
    weights = torch.randn(3, 40, dtype=torch.float64)
    found = Rounding().rounded(weights, 8)
    assert found.dtype == torch.float64
    assert float((found - weights).abs().max()) < float(weights.max() - weights.min()) / 255


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 40,
        [0.3] * 40,
        [-0.1] * 40,
        [0.1] * 32 + [0.2] * 8,
        [0.0] * 31 + [5.0] + [0.0] * 8,
        [1e-9, -1e-9] * 20,
        [3e-7, -1e-7, 2e-6, 0.0] * 10,
        [1e-42] * 40,
        [60000.0, -60000.0] + [1.0] * 38,
    ],
)
def test_groups_without_much_in_them(values, symmetric):
    weights = np.array([values], dtype=F)
    for bits in (2, 4, 8):
        expected, steps, _ = slowly(weights, bits, 32, symmetric)
        found = Rounding(32, symmetric).rounded(torch.from_numpy(weights), bits).numpy()
        np.testing.assert_array_equal(found, expected)
        assert np.isfinite(found).all()
        assert (np.abs(found - weights) <= bound(weights, steps, bits, 32, symmetric)).all()
        if len(set(values)) == 1 and float(np.float16(values[0])) == values[0]:
            assert (found == weights).all()  # constant, and float16: nothing to round


def test_what_lies_on_a_grid_stays_there_to_the_bit():
    """As the weights of a model that was quantised before: its own grid changes nothing."""
    rng = np.random.default_rng(0)
    places = rng.integers(0, 16, (6, 2, 32))
    places[..., 0], places[..., 1] = 0, 15
    step = rng.uniform(0.01, 0.02, (6, 2, 1)).astype(np.float16).astype(F)
    low = rng.uniform(-0.2, -0.1, (6, 2, 1)).astype(np.float16).astype(F)
    weights = torch.from_numpy((places.astype(F) * step + low).reshape(6, 64))
    # The largest weight was itself rounded to float32, so that its step may be another float16
    # number in rare cases: here it is not.
    assert torch.equal(Rounding(32).rounded(weights, 4), weights)
    assert Rounding(32).loss(weights, 4).changed == 0
    loss = Rounding(32).loss(weights, 3)
    assert loss.changed > 0.5 * loss.even
    half = Rounding(32).loss(weights, 2)
    assert half.changed > 0.5 * half.even
    assert Rounding(64).loss(weights, 4).changed > 0


def test_sixteen_bits_are_half_precision_and_nothing_else():
    rounding = Rounding()
    for dtype in (torch.float16, torch.bfloat16):
        weights = torch.randn(4, 50).to(dtype)
        same = rounding.rounded(weights, 16)
        assert torch.equal(same, weights)
        assert same.data_ptr() != weights.data_ptr()
        assert rounding.loss(weights, 16) == Loss(0, float(weights.double().square().sum()), 0)
    wide = torch.randn(4, 50)
    assert torch.equal(rounding.rounded(wide, 16), wide.half().float())
    assert rounding.cost((4, 50), 16) == 16 * 200


def test_no_bits_are_zeros_and_cost_nothing():
    weights = torch.randn(4, 50)
    assert torch.equal(Rounding().rounded(weights, 0), torch.zeros(4, 50))
    assert Rounding().cost((4, 50), 0) == 0


@pytest.mark.parametrize("symmetric", [False, True])
def test_each_further_bit_halves_the_error_of_even_weights(symmetric):
    weights = torch.rand(64, 512, generator=torch.Generator().manual_seed(2)) - 0.5
    errors = [Rounding(64, symmetric).loss(weights, bits).changed for bits in (3, 4, 5, 6)]
    for before, after in pairwise(errors):
        # Steps of (2**b - 1): from 3 to 4 bits 15 / 7 (symmetric: 7 / 3); squares of them.
        assert 3.5 < before / after < 6
    loss = Rounding(64, symmetric).loss(weights, 4)
    assert abs(loss.changed / loss.even - 1) < 0.05


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(wrong):
    weights = torch.ones(2, 40)
    weights[1, 3] = wrong
    for bits in (0, 2, 8, 16):
        with pytest.raises(ValueError, match="1 of 80 are NaN or infinite"):
            Rounding().rounded(weights, bits)


def test_weights_beyond_half_precision_are_refused():
    for rounding, bits in ((Rounding(), 4), (Rounding(), 16), (Rounding(symmetric=True), 2)):
        with pytest.raises(ValueError, match="more than float16 can hold"):
            rounding.rounded(torch.tensor([[1e6, -1e6]]), bits)


@pytest.mark.parametrize("bits", [-1, 9, 15, 32, 2.0, True, None, "4"])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(ValueError, match=r"bits = .*; use 0 .*1 to 8"):
        Rounding().rounded(torch.ones(2, 2), bits)
    with pytest.raises(ValueError, match="bits = "):
        Rounding().cost((2, 2), bits)


@pytest.mark.parametrize("group", [0, -1, 2.0, True, None])
def test_other_groups_are_refused(group):
    with pytest.raises(ValueError, match="group = "):
        Rounding(group)


def test_what_is_no_matrix_of_numbers_is_refused():
    with pytest.raises(TypeError, match="int64"):
        Rounding().rounded(torch.ones(2, 2, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match=r"shape \(0, 4\)"):
        Rounding().rounded(torch.ones(0, 4), 4)


def test_more_axes_in_front_are_rows():
    weights = torch.randn(3, 4, 70)
    found = Rounding().rounded(weights, 3)
    assert torch.equal(found.flatten(0, 1), Rounding().rounded(weights.flatten(0, 1), 3))
    assert Rounding().cost((3, 4, 70), 3) == 3 * 840 + 12 * 3 * 32
