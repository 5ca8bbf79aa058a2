"""What the kernels share: sums of rows, and the inverse H of a Gram matrix that gains or loses an atom."""

from __future__ import annotations

from typing import Any

from amortgap._kernels.jit import fused


@fused
def add_rows(out: Any, w: Any, rows: Any, index: Any, k: int) -> None:
    """out += sum_p w[p] rows[index[p]], four rows at a time to save loads of out."""
    n, p = len(out), 0
    while p + 4 <= k:
        a, b, c, d = w[p], w[p + 1], w[p + 2], w[p + 3]
        i0, i1, i2, i3 = index[p], index[p + 1], index[p + 2], index[p + 3]
        for j in range(n):
            out[j] += (a * rows[i0, j] + b * rows[i1, j]) + (c * rows[i2, j] + d * rows[i3, j])
        p += 4
    while p < k:
        a, i0 = w[p], index[p]
        for j in range(n):
            out[j] += a * rows[i0, j]
        p += 1


@fused
def times(out: Any, H: Any, v: Any, k: int) -> None:
    """out[:k] = H[:k, :k] v[:k] for symmetric H."""
    for i in range(k):
        total = H[i, 0] * v[0]
        for j in range(1, k):
            total += H[i, j] * v[j]
        out[i] = total


@fused
def grow(H: Any, u: Any, schur: float, k: int) -> None:
    """H gains a row and a column, for an atom with u = H G[A, j] and schur = G[j, j] - G[j, A] u."""
    f = 1 / schur
    for i in range(k):
        a = f * u[i]
        for j in range(k):
            H[i, j] += a * u[j]
        H[i, k] = -a
        H[k, i] = -a
    H[k, k] = f


@fused
def drop(H: Any, p: int, k: int) -> None:
    """H[:k-1, :k-1] becomes the inverse Gram without position p, which the last one takes."""
    f = 1 / H[p, p]
    for i in range(k):
        if i != p:
            w = f * H[i, p]
            for j in range(k):
                H[i, j] -= w * H[p, j]
    for j in range(k):
        H[p, j] = H[k - 1, j]
    for i in range(k):
        H[i, p] = H[i, k - 1]
    H[p, p] = H[k - 1, k - 1]


@fused
def subtract_rows(out: Any, n: int, w: Any, rows: Any, index: Any, k: int) -> None:
    """out[:n] -= sum_p w[p] rows[index[p], :n], in out's precision."""
    f = out.dtype.type
    p = 0
    while p + 4 <= k:
        a, b, c, d = w[p], w[p + 1], w[p + 2], w[p + 3]
        i0, i1, i2, i3 = index[p], index[p + 1], index[p + 2], index[p + 3]
        for j in range(n):
            out[j] -= (a * f(rows[i0, j]) + b * f(rows[i1, j])) + (c * f(rows[i2, j]) + d * f(rows[i3, j]))
        p += 4
    while p < k:
        a, i0 = w[p], index[p]
        for j in range(n):
            out[j] -= a * f(rows[i0, j])
        p += 1
