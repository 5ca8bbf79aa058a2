"""numba kernel of top-k: all but the k largest entries of each sample to zero, many samples at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from amortgap._kernels.jit import ZERO, fused

TINY = np.finfo(np.float32).tiny


@fused
def keep_largest(s: Any, k: int, top: Any, count: Any) -> None:
    """s (N, n) >= 0, samples last: keep the k largest of each column, in place; of equals, those of lowest index.

    top (>= k + 1, >= n) float32 and count (>= n,) int32 are scratch. Insertion into k sorted rows, one row of s at
    a time for all samples: at most N k pairs of minimum and maximum a sample, no branches.
    """
    N, n = s.shape
    moving = top[k, :n]
    for i in range(N):
        row = s[i]
        for j in range(n):
            moving[j] = row[j]
        for r in range(min(i, k)):
            t = top[r, :n]
            for j in range(n):
                a, b = t[j], moving[j]
                t[j] = max(a, b)
                moving[j] = min(a, b)
        if i < k:
            t = top[i, :n]
            for j in range(n):
                t[j] = moving[j]
    least, kept = top[k - 1, :n], count[:n]
    for j in range(n):
        least[j] = max(least[j], TINY)  # zeros are no ties
        kept[j] = 0
    for i in range(N):
        row = s[i]
        for j in range(n):
            kept[j] += np.int32(row[j] >= least[j])
    most = np.int32(0)
    for j in range(n):
        most = max(most, kept[j])
    if most > k:
        _break_ties(s, k, least, kept)
    for i in range(N):
        row = s[i]
        for j in range(n):
            row[j] = row[j] if row[j] >= least[j] else ZERO


@fused
def _break_ties(s: Any, k: int, least: Any, kept: Any) -> None:
    """Where more than k entries are at `least` or above, drop those that equal it from the last row on."""
    for i in range(len(s) - 1, -1, -1):
        row = s[i]
        for j in range(len(row)):
            if kept[j] > k and row[j] == least[j]:
                row[j] = ZERO
                kept[j] -= 1
