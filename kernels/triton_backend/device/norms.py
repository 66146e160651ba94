"""L2 norms of attention heads of many steps, without joining the steps first.

`synkern.record` holds the input of an output projection step by step. Joining these by
`torch.stack` reads and writes all of them before the norm reads them again; this kernel takes their
addresses and reads each number once. A program has a few (trial, head) of a step, their values side
by side in registers.

Roofline, H200: 64 MB of bfloat16 (heads held before norms are taken), 0.5 MB of norms: 14 us, a
third of that of stack and norm. Not yet measured.
"""

import triton
import triton.language as tl


@triton.jit
def head_norms_kernel(
    addresses,  # (steps,) int64, each of (vectors, width) contiguous
    out,  # (steps, vectors) float32
    vectors,
    width,
    STORED: tl.constexpr,
    DTYPE: tl.constexpr,
    VECTORS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Fill `out`, summing squares in DTYPE."""
    blocks = tl.cdiv(vectors, VECTORS)
    step = tl.cast(tl.program_id(0) // blocks, tl.int64)
    inputs = tl.load(addresses + step).to(tl.pointer_type(STORED))
    vector = tl.program_id(0) % blocks * VECTORS + tl.arange(0, VECTORS)
    lanes = tl.arange(0, WIDTH)
    at = vector.to(tl.int64)[:, None] * width + lanes[None, :]
    exists = (vector[:, None] < vectors) & (lanes[None, :] < width)
    values = tl.load(inputs + at, mask=exists, other=0).to(DTYPE)
    norms = tl.sqrt(tl.sum(values * values, 1))
    tl.store(out + step * vectors + vector, norms.to(tl.float32), mask=vector < vectors)
