"""The stage `micro` of `bench.gpu.check`: rates of the units that the kernels live on.

Float64 on tensor cores by the 8-row and by the 16-row instruction, vector multiply-adds alone and
beside the latter (whether they share a unit), reads from the level-2 cache, and the library's
products of the study's shape. What the kernels are modelled by; the kernels here compute nothing.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gpu.check_edges import ready
from bench.gpu.journal import NotRunError
from bench.gpu.stage import Items
from bench.gpu.truth import DEVICE, GPU, NODES, TIME, TRIALS
from bench.tables import sweep_tiles

SOURCE = r"""
template <int FMAS>
__device__ void vector(double (&sums)[16], double x) {
    #pragma unroll
    for (int k = 0; k < FMAS; ++k) sums[k] = __fma_rn(sums[k], x, 1e-9);
}

template <int ROWS>
__device__ void product(double (&c)[4], double a, double b) {
    if constexpr (ROWS == 8)
        asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 "
                     "{%0, %1}, {%2}, {%3}, {%0, %1};"
                     : "+d"(c[0]), "+d"(c[1]) : "d"(a), "d"(b));
    if constexpr (ROWS == 16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, "
                     "{%4, %4, %4, %4, %4, %4, %4, %4}, {%5, %5, %5, %5}, {%0, %1, %2, %3};"
                     : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3]) : "d"(a), "d"(b));
}

template <int ROWS, int PRODUCTS, int FMAS>
__global__ void rate(double* out, long long count, double x) {
    double c[PRODUCTS > 0 ? PRODUCTS : 1][4] = {}, sums[16] = {};
    for (long long k = 0; k < count; ++k) {
        #pragma unroll
        for (int p = 0; p < PRODUCTS; ++p) product<ROWS>(c[p], x, x);
        vector<FMAS>(sums, x);
    }
    double total = 0;
    for (int p = 0; p < PRODUCTS; ++p) total += c[p][0] + c[p][1] + c[p][2] + c[p][3];
    for (int k = 0; k < 16; ++k) total += sums[k];
    if (total == 12345) out[threadIdx.x] = total;
}

__global__ void reads(double* out, const double2* from, long long size, long long count) {
    double total = 0;
    for (long long k = 0; k < count; ++k)
        for (long long i = blockIdx.x * 256 + threadIdx.x; i < size; i += gridDim.x * 256LL) {
            double2 value = __ldcg(from + i);
            total += value.x + value.y;
        }
    if (total == 12345) out[threadIdx.x] = total;
}
"""
"""Ten products or sixteen multiply-adds that do not wait for one another, many times."""

RATES: dict[str, tuple[int, int, int]] = {
    "8-row product": (8, 10, 0),
    "16-row product": (16, 10, 0),
    "multiply-add": (0, 0, 16),
    "16-row product beside multiply-adds": (16, 2, 16),
}
"""Rows of the product, products and multiply-adds of a round."""

_ROUNDS, _WARPS, _BLOCKS = 2000, 8, 4
"""Of a thread; of a block; of a multiprocessor."""

_BYTES = 1 << 24
"""Read from the level-2 cache, which holds more on GPUs with tensor cores for float64."""


def items(_: Path) -> Items:
    for name, shape in RATES.items():
        yield name, functools.partial(_rate, name, *shape)
    yield "level-2 cache", _reads
    yield "library's products", _products


def expression(rows: int, products: int, fmas: int) -> str:
    """Name expression of a kernel."""
    return f"rate<{rows}, {products}, {fmas}>"


def _flop(rows: int, products: int, fmas: int) -> tuple[int, int]:
    """Of a round of a warp: by tensor cores, by vector units."""
    return products * {0: 0, 8: 2 * 8 * 8 * 4, 16: 2 * 16 * 8 * 16}[rows], 2 * 32 * fmas


def _launched_ms(name: str, arguments: tuple[Any, ...]) -> tuple[int, float]:
    """Blocks and milliseconds of a kernel, on the default stream, of which torch's events are."""
    cupy = importlib.import_module("cupy")
    # A module for each: not every GPU has the 16-row product.
    module = cupy.RawModule(code=SOURCE, options=("--std=c++17",), name_expressions=(name,))
    kernel, out = module.get_function(name), cupy.empty(32 * _WARPS)
    blocks = _BLOCKS * torch.cuda.get_device_properties(0).multi_processor_count

    def call() -> None:
        kernel((blocks,), (32 * _WARPS,), (out, *arguments))

    return blocks, sweep_tiles.device_ms(call)


def _on_a_gpu() -> None:
    if not GPU:
        raise NotRunError("no GPU")
    ready("cupy")


def _rate(name: str, rows: int, products: int, fmas: int) -> dict[str, Any]:
    _on_a_gpu()
    blocks, ms = _launched_ms(expression(rows, products, fmas), (np.int64(_ROUNDS), 1.0))
    rounds = _ROUNDS * blocks * _WARPS
    tensor, vector = (rounds * flop / ms / 1e9 for flop in _flop(rows, products, fmas))
    return {"TFLOP/s": {name: {"tensor cores": tensor, "vector units": vector}}}


def _reads() -> dict[str, Any]:
    _on_a_gpu()
    given, count = importlib.import_module("cupy").ones(_BYTES // 8), 20
    _, ms = _launched_ms("reads", (given, np.int64(_BYTES // 16), np.int64(count)))
    return {"level-2 reads TB/s": _BYTES * count / ms / 1e9}


def _products() -> dict[str, Any]:
    """Lagged products of all pairs of the study, by the vendor's library."""
    if not GPU:
        raise NotRunError("no GPU")
    past = torch.randn(TRIALS, NODES, TIME - 1, dtype=torch.float64, device=DEVICE)
    ms = sweep_tiles.devicesweep_tiles.device_ms(lambda: past @ past.mT)
    flop = 2 * TRIALS * NODES * NODES * (TIME - 1)
    return {"library's products TFLOP/s": flop / ms / 1e9}
