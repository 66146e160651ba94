"""Time every tile of the Triton kernels on the GPU at hand, and print the table ready to paste.

    python bench/sweep_tiles.py [--only "float64 series few"] [--seconds 600] [--nodes 1152]

The table goes in place of `LAUNCHES` in `kernels/triton_backend/launch.py`. Each candidate is
compared with the first before it may win. Needs a GPU; without one it says so.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from synkern.kernels.lattice import ATOMS
from synkern.kernels.segments import Segments, standardise

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = {"few": ("rtr", "sts"), "many": ATOMS}


def features(trials: int, samples: int, nodes: int) -> Segments:
    """Random walks around shared ones, on the GPU."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "device": DEVICE, "dtype": torch.float64}
    own = torch.randn(trials, samples + 1, nodes, **options)
    shared = torch.randn(trials, samples + 1, 8, **options) @ torch.randn(8, nodes, **options)
    return standardise(torch, 0.3 * own.cumsum(1) + own + 0.3 * shared, 1)


def device_ms(call: Any, repetitions: int = 7) -> float:
    """Median time on the device, after one call that compiles and one that warms up."""
    call()
    call()
    times = []
    for _ in range(repetitions):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[repetitions // 2]


def candidates(path: str) -> Iterator[Any]:
    from synkern.kernels.triton_backend.launch import Launch  # noqa: PLC0415

    depths = (16, 32) if path == "series" else (16,)
    stages = (2, 3) if path == "series" else (2,)
    for block, warps, depth, stage in itertools.product((32, 16, 64), (8, 4, 16), depths, stages):
        if 2 <= block * block // (32 * warps) <= 16:
            yield Launch(block, warps, depth, stage)


def sweep(segments: Segments, seconds: float, only: str = "") -> dict[str, Any]:
    """Times by key and candidate, and the best of each key.

    Returns:
        {key: {"times": {candidate: ms}, "best": candidate, "frozen_ms": ms}}; keys for which time
        did not suffice are missing.
    """
    from synkern.kernels.triton_backend.launch import LAUNCHES, fill  # noqa: PLC0415
    from synkern.kernels.triton_backend.plan import plan  # noqa: PLC0415

    end = time.monotonic() + seconds
    found: dict[str, Any] = {}
    for key, frozen in LAUNCHES.items():
        name, (dtype, path, size, output) = " ".join(key), key
        if only not in name:
            continue
        expected, times = None, {}
        others = [c for c in candidates(path) if c != frozen]
        for launch in [frozen, *others]:
            if time.monotonic() > end:
                break
            # Trials apart are as many outputs: a few show the same.
            part = segments if output == "summed" else Segments(*(v[:8] for v in segments))
            marked = torch.zeros(1 << 16, dtype=torch.int64, device=DEVICE)
            count = torch.zeros(1, dtype=torch.int64, device=DEVICE)
            options = {
                "plan": plan(NAMES[size]),
                "per_trial": output == "apart",
                "dtype": dtype,
                "launch": launch,
            }

            call = functools.partial(fill, path, *part, marked, count, **options)

            try:
                out = call().double()
                expected = out if expected is None else expected
                error = (out - expected).abs().max().item()
                limit = (1e-5 if dtype == "float32" else 1e-9) * len(part.past)
                times[str(launch)] = device_ms(call) if error <= limit else f"wrong by {error:.1e}"
            except Exception as failure:
                times[str(launch)] = f"{type(failure).__name__}: {failure}"[:200]
        timed = {launch: ms for launch, ms in times.items() if isinstance(ms, float)}
        if timed:
            best = min(timed, key=timed.__getitem__)
            frozen_ms = times.get(str(frozen))
            found[name] = {"times": times, "best": best, "frozen_ms": frozen_ms}
    return found


def table(found: dict[str, Any]) -> str:
    """Lines for `LAUNCHES`."""
    rows = []
    for name, row in found.items():
        key = ", ".join(f'"{part}"' for part in name.split(" "))
        rows.append(f"    ({key}): {row['best']},  # {row['times'][row['best']]:.3f} ms")
    return "\n".join(["LAUNCHES = {", *rows, "}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="KEY", help="keys that contain this")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--nodes", type=int, default=1152)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--samples", type=int, default=99)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("sweep_tiles.py: no GPU here, nothing to time; the frozen table stays as it is")
    segments = features(options.trials, options.samples, options.nodes)
    found = sweep(segments, options.seconds, options.only)
    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(table(found))


if __name__ == "__main__":
    main()
