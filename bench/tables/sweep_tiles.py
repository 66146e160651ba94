"""Time every tile of the Triton kernels on the GPU at hand, and print the table ready to paste.

    python -m bench.tables.sweep_tiles [--only "float64 series few"] [--seconds 600] [--nodes 1152]

The first lines go in place of `LAUNCHES` in `kernels/triton_backend/configurations.py`, those of
other kernels in place of the constants that they name. Each candidate is compared with the first
before it may win. Needs a GPU; without one it says so.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas.discrete import Bits
from synkern.kernels.formulas.estimators import ESTIMATORS
from synkern.kernels.formulas.unit_vectors import UnitVectors, unit_vectors
from synkern.kernels.lattice import ATOMS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMES = {"few": ("rtr", "sts"), "many": ATOMS}


@dataclass(frozen=True)
class Kernel:
    """One to sweep.

    Attributes:
        name: in the output, and what `--only` looks for.
        line: of code to paste, with the best configuration in place of {}.
        frozen: configuration.
        others: candidates.
        run: its sums, by configuration.
        tolerance: largest difference between two configurations.
    """

    name: str
    line: str
    frozen: Any
    others: list[Any]
    run: Callable[[Any], torch.Tensor]
    tolerance: float


def features(trials: int, samples: int, nodes: int) -> UnitVectors:
    """Random walks around shared ones, on the GPU."""
    generator = torch.Generator(DEVICE).manual_seed(0)
    options: dict[str, Any] = {"generator": generator, "device": DEVICE, "dtype": torch.float64}
    own = torch.randn(trials, samples + 1, nodes, **options)
    shared = torch.randn(trials, samples + 1, 8, **options) @ torch.randn(8, nodes, **options)
    return unit_vectors(torch, 0.3 * own.cumsum(1) + own + 0.3 * shared, 1)


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


def kernels(vectors: UnitVectors) -> Iterator[Kernel]:
    """All that have tiles of pairs."""
    yield from _mmi(vectors)
    yield from _adding(vectors)


def _listed(part: UnitVectors, fill: Callable[..., torch.Tensor], **options: Any) -> torch.Tensor:
    """The sums of a kernel that lists marked pairs."""
    marked = torch.zeros(1 << 16, dtype=torch.int64, device=DEVICE)
    return fill(*part, marked, marked.new_zeros(1), **options)


def _mmi(vectors: UnitVectors) -> Iterator[Kernel]:
    # Imported here: whether triton compiles or interprets is decided by who imports it first.
    from synkern.kernels.triton_backend import configurations, mmi, plan  # noqa: PLC0415
    from synkern.kernels.triton_backend import node_means as nodes  # noqa: PLC0415

    # Trials apart are as many outputs: a few show the same.
    some = UnitVectors(*(v[:8] for v in vectors))
    trials = len(vectors.past)

    def node_sums(names: Any, dtype: str, per_trial: bool, configuration: Any) -> torch.Tensor:
        request = request_for(
            names, per_trial=per_trial, dtype=dtype, estimator=ESTIMATORS["gaussian", "MMI"]
        )
        part = some if per_trial else vectors
        shape = (len(names) + 3, len(part.past) if per_trial else 1, part.past.shape[1])
        sums = part.past.new_zeros(shape)
        for _ in nodes.bands(sums, part, request, configuration):
            pass
        return sums

    for (dtype, path, size, output), frozen in configurations.LAUNCHES.items():
        apart, names = output == "apart", NAMES[size]

        def run(
            configuration: Any,
            dtype: str = dtype,
            path: Any = path,
            apart: bool = apart,
            names: Any = names,
        ) -> torch.Tensor:
            if path == "nodes":
                return node_sums(names, dtype, apart, configuration)
            return _listed(
                some if apart else vectors,
                lambda *arguments, **options: mmi.fill(path, *arguments, **options),
                plan=plan.plan(names),
                per_trial=apart,
                dtype=dtype,
                launch=configuration,
            )

        yield Kernel(
            " ".join((dtype, path, size, output)),
            f'    ("{dtype}", "{path}", "{size}", "{output}"): {{}},',
            frozen,
            candidates(path, frozen),
            run,
            (1e-5 if dtype == "float32" else 1e-9)
            * (len(some.past) if apart else trials)
            # Sums over the pairs of a node.
            * (vectors.past.shape[1] if path == "nodes" else 1),
        )


def _adding(vectors: UnitVectors) -> Iterator[Kernel]:
    """Kernels that add up atoms themselves."""
    from synkern.kernels.triton_backend import ccs, discrete  # noqa: PLC0415

    trials = len(vectors.past)
    options: dict[str, Any] = {"names": NAMES["few"], "per_trial": False, "dtype": "float64"}
    yield Kernel(
        "float64 ccs few summed",
        "LAUNCH = {}  # ccs.py",
        ccs.LAUNCH,
        candidates("moments", ccs.LAUNCH),
        lambda configuration: _listed(vectors, ccs.fill, launch=configuration, **options),
        1e-9 * trials,
    )
    past, future = ((v > 0).to(torch.float32) for v in vectors[:2])
    bits = Bits(past, future, past * future, vectors.constant)
    for redundancy, frozen in discrete.LAUNCHES.items():
        yield Kernel(
            f"float64 discrete {redundancy} few summed",
            f'    "{redundancy}": {{}},  # discrete.py',
            frozen,
            candidates("moments", frozen),
            lambda configuration, redundancy=redundancy: discrete.fill(
                bits, redundancy, launch=configuration, **options
            ),
            1e-9 * trials,
        )


def candidates(path: str, frozen: Any) -> list[Any]:
    """Configurations beside the frozen one."""
    depths = (16, 32) if path in ("series", "nodes") else (16,)
    stages = (2, 3) if path in ("series", "nodes") else (2,)
    return [
        other
        for block, warps, depth, stage in itertools.product(
            (32, 16, 64), (8, 4, 16), depths, stages
        )
        if 1 <= block * block // (32 * warps) <= 16
        and (other := type(frozen)(block, warps, depth, stage)) != frozen
    ]


def sweep(vectors: UnitVectors, seconds: float, only: str = "") -> dict[str, Any]:
    """Times by kernel and candidate, and the best of each kernel.

    Returns:
        {name: {"times": {candidate: ms}, "best": line to paste, "best_ms": ms, "frozen_ms": ms}};
        kernels for which time did not suffice are missing.
    """
    end = time.monotonic() + seconds
    found: dict[str, Any] = {}
    for kernel in kernels(vectors):
        if only not in kernel.name:
            continue
        expected, times = None, {}
        for launch in [kernel.frozen, *kernel.others]:
            if time.monotonic() > end:
                break
            try:
                out = kernel.run(launch).double()
                expected = out if expected is None else expected
                error = (out - expected).abs().max().item()
                times[str(launch)] = (
                    device_ms(lambda kernel=kernel, launch=launch: kernel.run(launch))
                    if error <= kernel.tolerance
                    else f"wrong by {error:.1e}"
                )
            except Exception as failure:
                times[str(launch)] = f"{type(failure).__name__}: {failure}"[:200]
        timed = {launch: ms for launch, ms in times.items() if isinstance(ms, float)}
        if timed:
            best = min(timed, key=timed.__getitem__)
            found[kernel.name] = {
                "times": times,
                "best": kernel.line.format(best),
                "best_ms": timed[best],
                "frozen_ms": times.get(str(kernel.frozen)),
            }
    return found


def table(found: dict[str, Any]) -> str:
    """Lines to paste, with their times."""
    return "\n".join(f"{row['best']}  # {row['best_ms']:.3f} ms" for row in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="KEY", help="keys that contain this")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--nodes", type=int, default=1152)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--samples", type=int, default=99)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("bench.tables.sweep_tiles: no GPU here, nothing to time; the table stays as it is")
    vectors = features(options.trials, options.samples, options.nodes)
    found = sweep(vectors, options.seconds, options.only)
    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(table(found))


if __name__ == "__main__":
    main()
