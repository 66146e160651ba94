"""Norms of recorded heads by the Triton kernel, interpreted, against `vector_norms`."""

import pytest
import torch
from torch import nn

from support.tiny_models import build, generate, prompts
from synkern import kernels
from synkern.kernels.triton_backend import norms as module
from synkern.kernels.triton_backend.norms import stacked_head_norms
from synkern.models.sites import VectorSite, vector_norms
from synkern.recording.reading import read_steps
from synkern.recording.recorder import record

# Of triton 3.6's interpreter, about itself.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """What the kernel does not write is NaN."""
    empty = module._empty
    monkeypatch.setattr(module, "_empty", lambda *a: empty(*a).fill_(torch.nan))


@pytest.mark.parametrize("dtype", list(module.NORM_TYPES), ids=str)
@pytest.mark.parametrize(
    ("steps", "trials", "heads", "width"),
    [(1, 1, 1, 1), (3, 2, 9, 64), (2, 5, 3, 80), (4, 33, 2, 96), (2, 3, 2, 5000)],
)
def test_norms_are_those_of_the_joined_steps(addresses, dtype, steps, trials, heads, width):
    torch.manual_seed(1)
    held = list((8 * torch.randn(steps, trials, heads * width)).to(dtype).unbind())
    addresses.others = [(h.data_ptr(), h.data_ptr() + h.nbytes, h.element_size()) for h in held]
    found = stacked_head_norms(held, width)
    expected = vector_norms(torch.stack(held), width)
    assert found.dtype == torch.float32
    # Sums of up to 5000 positive numbers in two orders.
    torch.testing.assert_close(found, expected, rtol=5e-6, atol=0)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # NumPy's, interpreting
def test_overflow_is_not_hidden():
    held = [torch.tensor([[3e38, 1.0, torch.nan, 0.0]])]
    assert not torch.isfinite(stacked_head_norms(held, 2)).any()


def test_any_memory_layout():
    held = [torch.randn(6, 4).T, torch.randn(4, 12)[:, ::2]]
    expected = vector_norms(torch.stack(held), 3)
    torch.testing.assert_close(stacked_head_norms(held, 3), expected, rtol=1e-6, atol=0)


def test_the_recorder_uses_it_where_triton_computes(monkeypatch):
    model = build("llama")
    with record(model) as expected:
        generate(model, prompts(2, 5), 4)
    monkeypatch.setattr(kernels, "triton_computes_on", lambda device: device == "cpu")
    calls = []
    launched = module.stacked_head_norms
    monkeypatch.setattr(
        kernels, "stacked_head_norms", lambda *a: calls.append(len(a[0])) or launched(*a)
    )
    with record(model) as found:
        generate(model, prompts(2, 5), 4)
    assert calls
    torch.testing.assert_close(found.series, expected.series, rtol=1e-6, atol=0)


def test_other_types_are_joined(monkeypatch):
    monkeypatch.setattr(kernels, "triton_computes_on", lambda _: True)
    monkeypatch.setattr(kernels, "NORM_TYPES", {})
    monkeypatch.setattr(kernels, "stacked_head_norms", None)
    site = VectorSite("heads", 0, "projection", nn.Identity(), count=3, width=2)
    norms, routed = read_steps(site, [torch.ones(2, 6)])
    assert routed is None
    torch.testing.assert_close(norms, torch.full((1, 2, 3), 2.0).sqrt())


def test_cpu_stays_as_it_is():
    assert not kernels.triton_computes_on("cpu")  # though these tests interpret there
