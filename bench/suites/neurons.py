"""Means by node of every neuron of a model: 46,080 nodes of SmolLM2-135M, 60 prompts x 100 tokens.

All pairs in each of 60 trials are 64 billion decompositions. The series are in a file, as
`synkern.record_answers(nodes="neurons", store=PATH)` leaves them, or made with a structure like
theirs; time and memory are those of a process that decomposes them and does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import synkern

LAYERS, WIDTH = 30, 1536
SHAPE = 60, 100, LAYERS * WIDTH


def made(path: Path, shape: tuple[int, int, int] = SHAPE) -> dict[str, Any]:
    """Write series like those of gated neurons: signed, heavy-tailed, related within a layer.

    A neuron is u * sigmoid(2 u) * v, u with a share of what its layer has in common and persistent
    (rho up to 0.5, drawn for each trial), v independent noise.
    """
    _, steps, nodes = shape
    rng = np.random.default_rng(0)
    series = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    layer = np.minimum(np.arange(nodes) * LAYERS // nodes, LAYERS - 1)
    for trial in series:
        u = rng.standard_normal((steps, nodes), np.float32)
        common = rng.standard_normal((steps, LAYERS), np.float32)
        u += rng.uniform(0, 0.6, nodes).astype(np.float32) * common[:, layer]
        rho = rng.uniform(0, 0.5, nodes).astype(np.float32)
        for t in range(1, steps):
            u[t] += rho * u[t - 1]
        trial[:] = u / (1 + np.exp(-2 * u)) * rng.standard_normal((steps, nodes), np.float32)
    series.flush()
    return {"series": "made", "shape": list(shape)}


def recorded(path: Path, batch_size: int, max_prompts: int | None = None) -> dict[str, Any]:
    """Record the neurons of SmolLM2-135M that answers the prompts of the study."""
    from synkern.models.language_model import load  # noqa: PLC0415
    from synkern.study.prompts import load_prompts  # noqa: PLC0415

    model, tokenizer = load("smollm2-135m", device="cpu")
    prompts = [prompt.text for prompt in load_prompts()][:max_prompts]
    start = time.perf_counter()
    with tqdm(total=100 * len(prompts), unit="token", disable=None) as bar:
        answers = synkern.record_answers(
            model,
            tokenizer,
            prompts,
            new_tokens=100,
            batch_size=batch_size,
            nodes="neurons",
            store=path,
            progress=bar.update,
        )
    return {
        "series": "recorded from smollm2-135m",
        "shape": list(answers.series.shape),
        "batch size": batch_size,
        "seconds of the recording": time.perf_counter() - start,
        "peak of the recording": _peak(),
    }


def measure(
    say: Callable[[str], None],
    *,
    record: bool = False,
    batch_size: int = 4,
    shape: tuple[int, int, int] = SHAPE,
    limit: float | None = None,
) -> dict[str, Any]:
    """Time and memory of `phiid_nodes`, in a process of its own.

    Args:
        say: told what is found.
        record: the neurons of SmolLM2-135M in place of series like theirs.
        batch_size: prompts at a time, of the recording.
        shape: of made series.
        limit: seconds after which it ends, and says what part of the work was done.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "neurons.npy"
        source = _apart("recorded", path, batch_size) if record else made(path, shape)
        say(", ".join(f"{name} {value}" for name, value in source.items()))
        found = {**source, **_apart("decomposed", path, limit)}
    say(
        f"{found['decompositions']:,} of {found['of']:,} decompositions in "
        f"{found['seconds']:.0f} s ({found['cpu seconds']:.0f} s of {found['threads']} cores): "
        f"{found['decompositions'] / found['seconds'] / 1e6:.0f} million/s; peak memory "
        f"{found['peak'] / 1e9:.2f} GB, the mapped file in it"
    )
    return found


class _EnoughError(Exception):
    """The time is over."""


def decomposed(path: Path, limit: float | None) -> dict[str, Any]:
    """Decompose the series in a file; called in the process that is measured."""
    warnings.simplefilter("ignore")  # of constant nodes, as they may be
    synkern.phiid_nodes(np.random.default_rng(0).standard_normal((2, 60, 600)))  # compiled
    series = torch.from_numpy(np.load(path, mmap_mode="c"))
    trials, _, nodes = series.shape
    total = trials * nodes * (nodes - 1) // 2
    start, cpu = time.perf_counter(), time.process_time()
    bar = tqdm(total=total, unit="pair", unit_scale=True, disable=None)
    done = 0

    def progress(more: int) -> None:
        nonlocal done
        done += more
        bar.update(more)
        if limit is not None and time.perf_counter() - start > limit and done < total:
            raise _EnoughError

    backend = "cpu"
    try:
        means = synkern.phiid_nodes(series, backend=backend, progress=progress)
        bad = int(np.isnan(means["sts"]).sum())
        extra = {"rescued": means.rescued, "nodes without a value": bad, **means.degenerate}
    except _EnoughError:
        extra = {}
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    bar.close()
    return {
        "atoms": ["rtr", "sts"],
        "dtype": "float64",
        "backend": backend,
        "of": total,
        "decompositions": done,
        "seconds": seconds,
        "cpu seconds": cpu,
        "nanoseconds of one core each": cpu / done * 1e9,
        "threads": len(os.sched_getaffinity(0)),
        "load": list(os.getloadavg()),
        "peak": _peak(),
        **extra,
    }


def _peak() -> int:
    """Most bytes that were resident, pages of mapped files among them."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _apart(name: str, path: Path, option: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.suites.neurons", name, str(path), json.dumps(option)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    step = {"recorded": recorded, "decomposed": decomposed}[sys.argv[1]]
    print(json.dumps(step(Path(sys.argv[2]), json.loads(sys.argv[3]))))
