"""Edits of weights: bit for bit as before, in whatever order and by whatever accident they end."""

import itertools
import signal
import threading
from dataclasses import replace

import pytest
import torch

from support.ablations import close, logits
from support.interrupts import interrupted_everywhere
from support.tiny_models import ARCHITECTURES, EXPERTS, build, build_experts
from support.weights import bits, same
from synkern.interventions import WeightsChangedError, ablate, edited_weights, interrupts
from synkern.interventions.weights import journal
from synkern.models import Node, UnsupportedModelError, find_slices

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def nothing_stays():
    """No journal is kept, and Ctrl-C does what it did."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    assert journal._JOURNALS == {}
    assert signal.getsignal(signal.SIGINT) is handler


def of_nodes(model, *labels):
    return [s for node, own in find_slices(model).items() if str(node) in labels for s in own]


def times(factor, slices):
    return [(s, lambda weights: weights * factor) for s in slices]


# Experts do not run in float64.
CASES = [(name, dtype) for name in ARCHITECTURES for dtype in DTYPES[1:]]
CASES += [(name, torch.float64) for name in ("llama", "gpt_neox", "gpt2")]


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_the_slices_change_and_all_comes_back(name, dtype):
    model = build(name, dtype=dtype)
    with torch.no_grad():
        next(model.parameters()).view(-1)[:2] = torch.tensor([-0.0, 0.0])
    slices = of_nodes(model, "L0H1", "L1H0")
    assert len(slices) == 4
    before = bits(model)
    expected = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for s in slices:
        expected[s.name][s.where] = expected[s.name][s.where] * 3
    with edited_weights(model, times(3, slices)):
        assert all(torch.equal(model.state_dict()[n], value) for n, value in expected.items())
    assert same(model, before)


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS)
def test_blocks_end_in_any_order(order):
    """Each time the weights are what those edits make that are left, in the order of their making.

    The edits overlap: the second in a whole layer what the first does to a head of it, and they do
    not commute.
    """
    model = build("llama")
    layers = find_slices(model, "layers")
    edits = [
        [(s, lambda weights: weights * 1.7) for s in of_nodes(model, "L1H0", "L2H2")],
        [(s, lambda weights: weights + 0.3) for s in layers[Node(1, 0, "layers")]],
        [(s, lambda weights: weights.round(decimals=1)) for s in of_nodes(model, "L1H0", "L1H1")],
    ]
    before = bits(model)

    def of(some):
        blocks = [edited_weights(model, edits[i]) for i in some]
        for block in blocks:
            block.__enter__()
        made = bits(model)
        for block in reversed(blocks):
            block.__exit__(None, None, None)
        assert same(model, before)
        return made

    blocks = [edited_weights(model, edit) for edit in edits]
    expected = {some: of(some) for n in (1, 2) for some in itertools.combinations(range(3), n)}
    for block in blocks:
        block.__enter__()
    left = (0, 1, 2)
    for i in order:
        blocks[i].__exit__(None, None, None)
        left = tuple(j for j in left if j != i)
        assert same(model, expected[left] if left else before)


def test_changes_may_be_listed_anew_each_time():
    """Of the weights as they are before the first of them is made."""
    model = build("llama")
    first, second = of_nodes(model, "L0H0")[0], of_nodes(model, "L0H1")[0]
    assert first.parameter is second.parameter
    before, listed = bits(model), []

    def changes():
        whole = float(first.parameter.detach().abs().sum())
        listed.append(whole)
        for part in (first, second):
            yield part, lambda weights: weights * 0 + whole

    below, above = edited_weights(model, times(2, [first])), edited_weights(model, changes)
    below.__enter__()
    above.__enter__()
    below.__exit__(None, None, None)
    whole = float(first.parameter.detach().abs().sum())
    above.__exit__(None, None, None)
    assert same(model, before)
    intact = float(first.parameter.detach().abs().sum())
    assert listed[0] > listed[1] == intact
    assert whole > intact


def test_an_exception_in_the_block():
    model = build("gpt2")
    before = bits(model)
    with (
        pytest.raises(KeyError, match="mine"),
        edited_weights(model, times(2, of_nodes(model, "L0H0"))),
        edited_weights(model, times(2, of_nodes(model, "L0H0", "L1H3"))),
    ):
        raise KeyError("mine")
    assert same(model, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda weights: weights[:, :2], ValueError, r"o_proj\.weight gives numbers \(48, 2\)"),
        (lambda weights: weights * torch.nan, ValueError, "gives NaN or numbers too large"),
        (lambda weights: weights.float() + 7e4, ValueError, "too large for float16"),
        (lambda weights: {}["lost"], KeyError, "lost"),
    ],
)
def test_a_change_that_fails_undoes_those_before(change, error, message):
    model = build("llama", dtype=torch.float16)
    before = bits(model)
    query, output = of_nodes(model, "L0H0")
    entered = []
    with (
        pytest.raises(error, match=message),
        edited_weights(model, [*times(2, [query]), (output, change)]),
    ):
        entered.append(True)
    assert not entered
    assert same(model, before)


def test_a_model_in_a_wrapper_is_the_same_model():
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    model = build("llama")
    before = bits(model)
    outer = edited_weights(model, times(2, of_nodes(model, "L0H0")))
    outer.__enter__()
    inner = edited_weights(Wrapper(model), lambda: times(3, of_nodes(model, "L0H0")))
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert not same(model, before)
    inner.__exit__(None, None, None)
    assert same(model, before)


def test_inside_inference_mode_and_out_of_it():
    model = build("llama")
    before = bits(model)
    block = edited_weights(model, times(2, of_nodes(model, "L0H0")))
    with torch.inference_mode():
        block.__enter__()
    assert not same(model, before)
    block.__exit__(None, None, None)
    assert same(model, before)


ROUTED = [(name, "experts") for name in EXPERTS]
SHARED = [(name, "shared_experts") for name in ("qwen2_moe", "deepseek_v3", "ernie4_5_moe")]
DENSE = [(name, of) for name in ARCHITECTURES for of in ("heads", "mlps")]


@pytest.mark.parametrize(("name", "of"), [*DENSE, *ROUTED, *SHARED])
def test_nodes_without_weights_are_nodes_taken_out(name, of):
    """What the slices say of the weights is what the sites say of the activity."""
    model = (build if (name, of) in DENSE else build_experts)(name)
    slices = find_slices(model, of)
    chosen = list(slices)[::2]
    before, intact = bits(model), logits(model)
    with ablate(model, chosen, of=of):
        expected = logits(model)
    zero = [(s, torch.zeros_like) for node in chosen for s in slices[node]]
    with edited_weights(model, zero):
        close(logits(model), expected)
    assert same(model, before)
    assert (expected - intact).abs().max() > 1e-3 * intact.abs().max()


# Ctrl-C


def lock_is_free():
    """For another thread: that of a lock may take it again."""
    free = []

    def take():
        free.append(journal._LOCK.acquire(timeout=5))
        if free[0]:
            journal._LOCK.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return free[0]


def test_an_interrupt_at_any_line():
    model = build("gpt2")
    before = bits(model)
    changes = times(2, of_nodes(model, "L0H0"))

    def edited_twice(_):
        with edited_weights(model, changes), edited_weights(model, changes):
            pass

    for line in interrupted_everywhere(edited_twice, journal, interrupts):
        assert same(model, before), line
        assert journal._JOURNALS == {}, line
        assert lock_is_free(), line
    assert line > 50


def test_handlers_of_others_are_called_once_afterwards():
    model = build("gpt2")
    before, seen = bits(model), []
    usual = signal.signal(signal.SIGINT, lambda *_: seen.append(same(model, before)))
    try:
        with edited_weights(model, times(2, of_nodes(model, "L0H0"))):
            held = interrupts.Interrupts()
            held.hold()
            signal.raise_signal(signal.SIGINT)
            assert seen == []
            held.release()
            assert seen == [False]
    finally:
        signal.signal(signal.SIGINT, usual)
    assert seen == [False]


def test_another_thread():
    model = build("gpt2")
    before, seen = bits(model), []

    def edit():
        with edited_weights(model, times(2, of_nodes(model, "L0H0"))):
            seen.append(same(model, before))

    thread = threading.Thread(target=edit)
    thread.start()
    thread.join()
    assert seen == [False]
    assert same(model, before)


# Others that change weights meanwhile


def optimizer_step(part):
    part.parameter.grad = torch.ones_like(part.parameter)
    torch.optim.AdamW([part.parameter], lr=0.1).step()


def fused_optimizer_step(part):
    part.parameter.grad = torch.ones_like(part.parameter)
    torch.optim.AdamW([part.parameter], lr=0.1, fused=True).step()


def through_data(part):
    part.parameter.data.add_(0.5)


def another_type(part):
    part.parameter.data = part.parameter.data.bfloat16()


OTHERS = [optimizer_step, fused_optimizer_step, through_data, another_type]


@pytest.mark.parametrize("change", OTHERS)
def test_weights_that_others_change_are_left_and_named(change):
    model = build("llama")
    before = bits(model)
    query, output = of_nodes(model, "L0H0")
    kept = []
    message = rf"{query.name} changed while weights were edited.*step of an optimizer"

    def block():
        with edited_weights(model, times(2, [query, output])):
            change(query)
            kept.append(query.parameter.detach().clone())

    with pytest.raises(WeightsChangedError, match=message) as refusal:
        block()
    assert output.name not in str(refusal.value)
    assert torch.equal(query.parameter, kept[0])
    now = bits(model)
    assert [n for n in now if not torch.equal(now[n], before[n])] == [query.name]


def test_what_others_change_elsewhere_stays():
    model = build("llama")
    one, other = of_nodes(model, "L0H0")[0], of_nodes(model, "L0H1")[0]
    before = one.tensor.clone()
    with edited_weights(model, times(2, [one])), torch.no_grad():
        other.parameter[other.where] = 7.0
    assert torch.equal(one.tensor, before)
    assert bool((other.tensor == 7).all())


def test_edits_that_are_left_after_others_changed_weights():
    model = build("llama")
    query, output = of_nodes(model, "L0H0")
    before = output.tensor.clone()
    blocks = [edited_weights(model, times(f, [query, output])) for f in (2, 3, 4)]
    for block in blocks:
        block.__enter__()
    optimizer_step(query)
    kept = query.parameter.detach().clone()
    with pytest.raises(WeightsChangedError, match=query.name):
        blocks[1].__exit__(None, None, None)
    assert torch.equal(query.parameter, kept)
    assert torch.equal(output.tensor, before * 2 * 4)
    again = edited_weights(model, times(5, [query]))
    with pytest.raises(WeightsChangedError, match="leave the blocks that edit weights"):
        again.__enter__()
    blocks[0].__exit__(None, None, None)
    assert torch.equal(output.tensor, before * 4)
    blocks[2].__exit__(None, None, None)
    assert torch.equal(output.tensor, before)
    assert torch.equal(query.parameter, kept)
    with edited_weights(model, times(5, [query])):
        assert not torch.equal(query.parameter, kept)
    assert torch.equal(query.parameter, kept)


# Refusals


def test_weights_that_cannot_be_changed_are_refused():
    model = build("llama")
    (query, _) = of_nodes(model, "L0H0")
    offloaded = replace(query, parameter=torch.nn.Parameter(query.parameter.to("meta")))
    with (
        pytest.raises(UnsupportedModelError, match=r"changes: .*q_proj\.weight is offloaded"),
        edited_weights(model, times(2, [offloaded])),
    ):
        pass
    quantised = build("llama")
    quantised.is_quantized = True
    with (
        pytest.raises(UnsupportedModelError, match="is quantised"),
        edited_weights(quantised, []),
    ):
        pass
