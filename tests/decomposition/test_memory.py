"""Peak memory above input and output, in a process of its own."""

import subprocess
import sys

import pytest

from support.optional import needs_torch

MEASURE = """
import resource, sys, numpy, synkern
backend, constant = sys.argv[1:]
series = numpy.random.default_rng(0).standard_normal((4, 100, 2000))
if constant == "constant":
    series[:2, :, ::2] = 0
if backend == "torch":
    import torch
    series = torch.from_numpy(series)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
synkern.phiid(series[..., :50], atoms="all")
before = peak()
result = synkern.phiid(series, atoms="all")
print(peak() - before - sum(value.nbytes for value in result.values()))
"""


@pytest.mark.proof
@pytest.mark.parametrize(("backend", "constant"), [("numpy", "constant"), ("torch", "varying")])
def test_two_thousand_nodes_within_a_gigabyte(backend, constant):
    """All 16 atoms, averaged over 4 trials. Moments of all pairs alone would be 770 MB."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, backend, constant]
    above = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert above < 0.5e9


MEASURE_LONG = """
import resource, numpy, torch, synkern
series = torch.from_numpy(numpy.random.default_rng(0).standard_normal((200_000, 20)))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
synkern.phiid(series[:100], redundancy="CCS")
synkern.phiid(series)
before = peak()
synkern.phiid(series, redundancy="CCS")
print(peak() - before)
"""


@needs_torch
def test_pairs_of_long_series_are_taken_one_by_one():
    """Forty numbers a sample for one pair are 64 MB; for a row of a tile they were 1 GB."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE_LONG]
    above = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert above < 2e8
