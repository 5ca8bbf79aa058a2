"""A block of a symmetric matrix, written to both of its places."""

from __future__ import annotations

from typing import Any

import numpy as np

from amortgap._kernels.jit import jit

TILE = 64


@jit
def place(part: Any, G: Any, first: int, short: bool) -> None:
    """G[first:, first:] = part in its first rows, mirrored in its first columns; short: rounded to whole numbers.

    In tiles that fit the caches: written row by row, the mirrored half would touch a page for each number.
    """
    m, n = part.shape
    kind = G.dtype.type
    for left in range(0, n, TILE):
        right = min(n, left + TILE)
        for top in range(0, m, TILE):
            bottom = min(m, top + TILE)
            for i in range(top, bottom):
                for j in range(left, right):
                    G[first + i, first + j] = kind(np.rint(part[i, j])) if short else kind(part[i, j])
            for j in range(left, right):
                for i in range(top, bottom):
                    G[first + j, first + i] = G[first + i, first + j]
