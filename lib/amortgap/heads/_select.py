"""numba kernel: the places of the T largest entries of each row, several times faster than sorting them."""

from __future__ import annotations

from typing import Any

import numpy as np

from amortgap.solvers.kernels import fused, jit

MEMBERS = 16  # entries in a group
HALVINGS = 8


@fused
def _bound(tops: Any, T: int) -> Any:
    """A number that at least T of the values reach, not much below the T-th largest."""
    low, high = tops[0], tops[0]
    for i in range(len(tops)):
        low, high = min(low, tops[i]), max(high, tops[i])
    for _ in range(HALVINGS):
        middle, count = low + (high - low) / 2, 0
        for i in range(len(tops)):
            count += tops[i] >= middle
        if count >= T:
            low = middle
        else:
            high = middle
    return low


@fused
def _split(values: Any, places: Any, count: int, k: int) -> None:
    """Reorder so that the k largest of values[:count] come first (quickselect); of equals, any."""
    low, high = 0, count - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                places[i], places[j] = places[j], places[i]
                i += 1
                j -= 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break


@jit
def select_rows(h: Any, T: int, width: Any, k: Any, indices: Any) -> None:
    """indices (n, T) = the places of the T largest of each row of h (n, N).

    Of a row's, the width (n,) largest come first, and of these the k (n,) largest.

    The row is cut into groups, entry i to group i mod B. The T-th largest of the groups' maxima is no larger than
    the T-th largest entry, so only groups whose maximum reaches it are looked through.
    """
    n, N = h.shape
    B = max(T, N // MEMBERS)
    found, values = np.empty(N, np.int64), np.empty(N, h.dtype)
    top = np.empty(B, h.dtype)
    for row in range(n):
        entries, count = h[row], 0
        for i in range(B):
            top[i] = entries[i]
        for start in range(B, N, B):
            part = entries[start : start + B]
            for i in range(len(part)):
                top[i] = max(top[i], part[i])
        threshold = _bound(top, T)
        for i in range(B):
            if top[i] >= threshold:
                for j in range(i, N, B):
                    if entries[j] >= threshold:
                        found[count], values[count] = j, entries[j]
                        count += 1
        _split(values, found, count, T)
        _split(values, found, T, width[row])
        _split(values, found, width[row], k[row])
        for i in range(T):
            indices[row, i] = found[i]
