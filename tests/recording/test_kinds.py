"""Several kinds of nodes in one pass, and what is read of each."""

import pytest
import torch

from support.tiny_models import generate, prompts
from synkern.models import nodes as kinds
from synkern.models.heads import find_heads
from synkern.models.nodes import Kind, Node, checked_signals, find_sites
from synkern.models.signals import Signal
from synkern.models.sites import Site, VectorSite
from synkern.recording import record, replay

IDS = prompts(2, 5)
STEPS = 6


class Halves(Site):
    """Of each head the mean of its values, 0 where that is negative: idle there."""

    def read(self, values):
        return values.unflatten(-1, (self.count, -1)).mean(-1).relu()

    def routed(self, values):
        return values.unflatten(-1, (self.count, -1)).mean(-1) > 0

    def write(self, values, nodes, with_):
        raise NotImplementedError


@pytest.fixture
def halves(monkeypatch):
    def find(model, signal):
        made = Halves if signal == "mean" else VectorSite
        width = {} if made is Halves else {"width": 16}
        heads = find_heads(model)
        return tuple(made("halves", s.layer, s.name, s.module, s.count, **width) for s in heads)

    signals = {"mean": Signal("mean, or 0", zero_filled=True), "norm": Signal("L2 norm")}
    monkeypatch.setitem(kinds.KINDS, "halves", Kind("half", "halves", "X", find, signals))


@pytest.mark.usefixtures("halves")
@pytest.mark.parametrize("replayed", [False, True])
def test_kinds_side_by_side_are_each_alone(model, replayed):
    sequences = generate(model, IDS, STEPS)
    mask = torch.ones_like(sequences)

    def read(**asked):
        if replayed:
            return replay(model, sequences, new_tokens=STEPS, attention_mask=mask, **asked)
        with record(model, **asked) as recording:
            generate(model, IDS, STEPS)
        return recording

    both = read(nodes=("halves", "heads"))
    halves, heads = read(nodes="halves"), read()
    assert both.kinds == ("halves", "heads")
    assert both.signals == {"halves": "mean", "heads": "norm"}
    assert both.nodes == (*halves.nodes, *heads.nodes)
    assert both.nodes[0] == Node(0, 0, "halves")
    assert both.nodes[0].label == "L0X0"
    assert torch.equal(both.series, torch.cat([halves.series, heads.series], -1))
    assert torch.equal(both.of("heads").series, heads.series)
    assert torch.equal(both.of("halves").series, halves.series)
    assert both.of("halves").nodes == halves.nodes
    # Nodes that always take part are counted at all steps beside those that do not.
    assert torch.equal(both.of("halves").routed, (halves.series > 0).sum(1))
    assert torch.equal(halves.routed, both.of("halves").routed)
    assert (both.of("heads").routed == STEPS).all()
    assert heads.routed is None
    assert both.zero_filled
    assert halves.zero_filled
    assert not heads.zero_filled
    assert not read(nodes="halves", signal="norm").zero_filled
    with pytest.raises(ValueError, match="kind: 'mlp' was not recorded, only 'halves' and 'heads'"):
        both.of("mlp")


@pytest.mark.usefixtures("halves")
def test_a_step_that_generate_drops_is_not_counted(model):
    first = generate(model, IDS[:1], STEPS)[0, IDS.shape[1] :].tolist()
    with record(model, nodes="halves") as recording:
        model.generate(IDS[:1], max_new_tokens=STEPS, do_sample=False, eos_token_id=first[3])
    assert torch.equal(recording.routed, (recording.series > 0).sum(1))


@pytest.mark.usefixtures("halves")
@pytest.mark.parametrize(
    ("nodes", "signal", "message"),
    [
        ((), None, "nodes: no kind of node is named"),
        (("heads", "heads"), None, r"nodes: \['heads', 'heads'\] names a kind twice"),
        (("heads", "tails"), None, "nodes: 'tails' is no kind of node; use 'heads'"),
        (3, None, "nodes: 3 is no kind of node"),
        ("heads", "loudness", "signal: 'loudness' is none of heads; use 'norm'"),
        ("heads", ["norm"], r"signal: \['norm'\] is none of heads; use 'norm'"),
        (("heads", "halves"), "norm", "signal: 'norm' for 2 kinds of nodes; give a mapping"),
        ("heads", {"halves": "norm"}, "signal: 'halves' is none of the kinds of nodes asked for"),
    ],
)
def test_what_is_no_kind_or_signal_is_refused(model, nodes, signal, message):
    with pytest.raises(ValueError, match=message):
        checked_signals(nodes, signal)
    with pytest.raises(ValueError, match=message):
        find_sites(model, nodes, signal)
    with pytest.raises(ValueError, match=message), record(model, nodes=nodes, signal=signal):
        raise AssertionError("not reached")
    mask = torch.ones_like(IDS)
    with pytest.raises(ValueError, match=message):
        replay(model, IDS, new_tokens=2, attention_mask=mask, nodes=nodes, signal=signal)


@pytest.mark.usefixtures("halves")
def test_the_first_signal_is_the_default():
    assert checked_signals(["halves", "heads"], {"halves": "norm"}) == {
        "halves": "norm",
        "heads": "norm",
    }
    assert checked_signals("halves") == {"halves": "mean"}
