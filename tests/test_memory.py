"""Peak memory above input and output, in a process of its own."""

import subprocess
import sys

import pytest

MEASURE = """
import resource, sys, numpy, synkern
kind, atoms, nodes, constant = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3]), sys.argv[4]
series = numpy.random.default_rng(0).standard_normal((1, 100, nodes))
if constant == "constant":
    series[..., ::2] = 0
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if kind == "torch":
    import torch
    series = torch.from_numpy(series)
synkern.phiid(series[..., :50], atoms=atoms)
before = peak()
result = synkern.phiid(series, atoms=atoms)
print(peak() - before - sum(value.nbytes for value in result.values()))
"""


@pytest.mark.parametrize(("backend", "constant"), [("numpy", "constant"), ("torch", "varying")])
def test_four_thousand_nodes_within_two_gigabytes(backend, constant):
    """All outputs of the call are subtracted, twelve of the sixteen atoms (1.5 GB) among them."""
    names = "rtr,rtx,rty,rts,xtr,xtx,xty,ytr,ytx,yty,str,sts"
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, backend, names, "4000", constant]
    above = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert above < 1.2e9
