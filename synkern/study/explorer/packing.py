"""Numbers as the text of a page: what a browser reads back bit by bit."""

from __future__ import annotations

import base64
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_TYPES = {"f": "<f8", "i": "<i4", "u": "<i4", "b": "<i4"}
_LEVEL = 6


class Triangle(NamedTuple):
    """A symmetric matrix as a page has it.

    Attributes:
        side: rows of the matrix.
        text: in base64, the zlib stream of four planes of bytes: the lowest byte of each float32 of
            the upper triangle, row by row with the diagonal, then the next bytes, to the highest.
            Bytes that are alike stand together so, and shrink.
    """

    side: int
    text: str


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON: `dtype` "f8" or "i4", and `data`, little-endian bytes in base64.

    Args:
        values: (any,), floats or whole numbers of 32 bits.
    """
    array = np.ascontiguousarray(values)
    kind = _TYPES[array.dtype.kind]
    data = base64.b64encode(array.astype(kind).tobytes()).decode("ascii")
    return {"dtype": kind[1:], "data": data}


def packed_triangle(matrix: NDArray[Any]) -> Triangle:
    """Return the upper triangle of a symmetric matrix (n, n), its diagonal included, as float32."""
    upper = np.asarray(matrix)[np.triu_indices(len(matrix))].astype("<f4")
    planes = np.ascontiguousarray(upper.view(np.uint8).reshape(-1, 4).T)
    text = base64.b64encode(zlib.compress(planes.tobytes(), _LEVEL)).decode("ascii")
    return Triangle(len(matrix), text)


def unpacked_triangle(triangle: Triangle) -> NDArray[np.float32]:
    """Return the matrix (n, n) float32 that `packed_triangle` packed, as the page reads it."""
    n = triangle.side
    planes = np.frombuffer(zlib.decompress(base64.b64decode(triangle.text)), np.uint8)
    upper = np.ascontiguousarray(planes.reshape(4, -1).T).view("<f4")[:, 0]
    matrix = np.empty((n, n), np.float32)
    rows, columns = np.triu_indices(n)
    matrix[rows, columns] = matrix[columns, rows] = upper
    return matrix
