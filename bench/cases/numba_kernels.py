"""The closed form in numba, a row of pairs at a time: a peer, see `bench.cases.peers`."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from synkern.kernels.lattice import moebius_matrix

_INVERSE = np.ascontiguousarray(moebius_matrix(), np.float64)


@numba.njit(inline="always")
def _lambdas(xy: float, ab: float, xa: float, xb: float, ya: float, yb: float) -> Any:
    past, future = 1 - xy * xy, 1 - ab * ab
    u, w = ya - xy * xa, yb - xy * xb
    s, t = xb - ab * xa, yb - ab * ya
    x_a, x_b, y_a, y_b = 1 - xa * xa, 1 - xb * xb, 1 - ya * ya, 1 - yb * yb
    xy_a, xy_b = x_a - u * u / past, x_b - w * w / past
    both = ab - xa * xb - u * w / past
    joint = (xy_a * xy_b - both * both) / future
    x_ab, y_ab = x_a - s * s / future, y_a - t * t / future
    return x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint


@numba.njit(parallel=True)
def add_two(A: Any, B: Any, C: Any, own: Any, total: Any) -> None:
    """Add rtr and sts of a trial to total (2, nodes, nodes), above the diagonal."""
    nodes = len(own)
    for i in numba.prange(nodes):
        for j in range(i + 1, nodes):
            x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = _lambdas(
                A[i, j], B[i, j], own[i], C[i, j], C[j, i], own[j]
            )
            total[0, i, j] -= 0.5 * math.log(max(x_a, x_b, y_a, y_b))
            single = min(x_a, x_b) * min(y_a, y_b)
            shared = min(max(x_a, y_a), max(x_b, y_b))
            total[1, i, j] -= 0.5 * math.log(
                joint * single / (min(xy_a, xy_b) * min(x_ab, y_ab) * shared)
            )


@numba.njit(parallel=True)
def add_all(A: Any, B: Any, C: Any, own: Any, total: Any) -> None:
    """Add the 16 atoms of a trial to total (16, nodes, nodes), above the diagonal."""
    nodes = len(own)
    for i in numba.prange(nodes):
        points = np.empty(16)
        for j in range(i + 1, nodes):
            x_a, x_b, y_a, y_b, xy_a, xy_b, x_ab, y_ab, joint = _lambdas(
                A[i, j], B[i, j], own[i], C[i, j], C[j, i], own[j]
            )
            points[5], points[6] = -0.5 * math.log(x_a), -0.5 * math.log(x_b)
            points[9], points[10] = -0.5 * math.log(y_a), -0.5 * math.log(y_b)
            points[13], points[14] = -0.5 * math.log(xy_a), -0.5 * math.log(xy_b)
            points[7], points[11] = -0.5 * math.log(x_ab), -0.5 * math.log(y_ab)
            points[15] = -0.5 * math.log(joint)
            points[1], points[2] = min(points[5], points[9]), min(points[6], points[10])
            points[0] = min(points[1], points[2])
            points[3] = min(points[7], points[11])
            points[4], points[8] = min(points[5], points[6]), min(points[9], points[10])
            points[12] = min(points[13], points[14])
            for n in range(16):
                value = 0.0
                for m in range(16):
                    value += _INVERSE[n, m] * points[m]
                total[n, i, j] += value
