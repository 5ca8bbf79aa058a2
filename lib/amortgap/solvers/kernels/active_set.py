"""The LASSO on an active set and some candidates, exactly: the inner problem of working_set's kernel.

A is the active set with signs g and coefficients s, H the inverse Gram of the signed active columns. Every move
goes along H v, where v says how far the correlations are from what they ought to be, and stops where a coefficient
reaches zero, which drops that atom (Lawson & Hanson, Solving Least Squares Problems, 1974, ch. 23).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from amortgap._kernels.jit import fused
from amortgap.solvers.kernels.rows import grow, subtract_rows

WIDTH = 256  # candidates held at once


@fused
def rebuild(
    k: int,
    A: Any,
    g: Any,
    s: Any,
    H: Any,
    G: Any,
    scale: Any,
    where: Any,
    singular: float,
    u: Any,
    w: Any,
    rows: Any,
    flops: Any,
) -> int:
    """H afresh, when updates have eaten its accuracy; atoms dependent on earlier ones leave.  The new |A|."""
    size, k = k, 0
    for p in range(size):
        j = A[p]
        for i in range(k):
            w[i] = -g[p] * g[i] * scale * G[A[i], j]
            u[i] = 0
        subtract_rows(u, k, w, H, rows, k)
        flops[0] += 2 * k * (k + 1)
        full = scale * G[j, j]
        schur = full
        for i in range(k):
            schur += w[i] * u[i]
        where[j] = -1
        if schur > singular * full:
            grow(H, u, schur, k)
            flops[0] += 2 * k * k
            A[k], g[k], s[k], where[j] = j, g[p], s[p], k
            k += 1
    return k


@fused
def _drop(
    p: int,
    k: int,
    A: Any,
    g: Any,
    s: Any,
    v: Any,
    slot: Any,
    H: Any,
    Gc: Any,
    nc: int,
    used: Any,
    where: Any,
    c: Any,
) -> int:
    """Take position p out of the active set; the last atom moves to p.  Returns the new size."""
    if slot[p] >= 0:
        used[slot[p]] = 0
    where[A[p]] = -1
    c[A[p]] = np.inf  # what an earlier screening said about it no longer counts
    f = 1 / H[p, p]
    for i in range(k):
        if i != p:
            w = f * H[p, i]
            for j in range(k):
                H[i, j] -= w * H[p, j]
    last = k - 1
    if p != last:
        A[p], g[p], s[p], v[p], slot[p] = A[last], g[last], s[last], v[last], slot[last]
        where[A[p]] = p
        for j in range(k):
            H[p, j] = H[last, j]
        for i in range(k):
            H[i, p] = H[i, last]
        H[p, p] = H[last, last]
        for j in range(nc):
            Gc[p, j] = Gc[last, j]
    return last


@fused
def _step(k: int, s: Any, d: Any, w: Any, rows: Any, Gc: Any, nc: int, vc: Any) -> tuple[float, int]:
    """s += t d with the largest t <= 1 that keeps s >= 0; vc follows.  Returns t and the atom at zero or -1."""
    t, blocking = 1.0, -1
    bad = 0
    for p in range(k):
        bad += s[p] + d[p] <= 0
    if bad > 0:
        for p in range(k):
            if d[p] < 0 and s[p] + t * d[p] <= 0:
                t, blocking = -s[p] / d[p], p
    for p in range(k):
        w[p] = t * d[p]
        s[p] += w[p]
    if blocking >= 0:
        s[blocking] = 0
    subtract_rows(vc, nc, w, Gc, rows, k)
    return t, blocking


@fused
def restricted(
    k: int,
    A: Any,
    g: Any,
    s: Any,
    v: Any,
    slot: Any,
    H: Any,
    nc: int,
    cand: Any,
    gc: Any,
    vc: Any,
    used: Any,
    Gc: Any,
    G: Any,
    scale: Any,
    where: Any,
    c: Any,
    slack: float,
    limit: int,
    singular: float,
    u: Any,
    w: Any,
    rows: Any,
    pivots: int,
    flops: Any,
) -> tuple[int, int]:
    """Solve on A and the candidates at the lam hidden in v (k,) and vc (nc,).  Returns |A| and pivots left."""
    for p in range(k):
        slot[p] = -1
        for q in range(nc):
            Gc[p, q] = g[p] * gc[q] * scale * G[A[p], cand[q]]
    for q in range(nc):
        used[q] = 0
    while k > 0:  # first meet the conditions on A itself
        for i in range(k):
            u[i] = 0
            w[i] = -v[i]
        subtract_rows(u, k, w, H, rows, k)
        t, blocking = _step(k, s, u, w, rows, Gc, nc, vc)
        flops[0] += 2 * k * (k + nc)
        if blocking < 0:
            break
        for i in range(k):
            v[i] *= 1 - t
        flops[0] += 2 * k * k
        k = _drop(blocking, k, A, g, s, v, slot, H, Gc, nc, used, where, c)
        pivots -= 1
    while pivots > 0:
        best, q = slack, -1
        for i in range(nc):
            if vc[i] > best and used[i] == 0:
                best, q = vc[i], i
        if q < 0:
            break
        pivots -= 1
        j, sign, start = cand[q], gc[q], 0.0
        size = scale * G[j, j]
        used[q] = 1
        while True:
            for i in range(k):
                w[i] = -Gc[i, q]
                u[i] = 0
            subtract_rows(u, k, w, H, rows, k)
            flops[0] += 2 * k * (k + 1)
            schur = size
            for i in range(k):
                schur += w[i] * u[i]
            if schur > singular * size and k < limit:
                break
            # d_j = D_A u: along (1, -u) the residual stays and the l1 norm falls; swap j against the first zero
            t, p = np.inf, -1
            for i in range(k):
                if u[i] > 0 and s[i] < t * u[i]:
                    t, p = s[i] / u[i], i
            if p < 0 or pivots <= 0:
                break
            for i in range(k):
                s[i] -= t * u[i]
            start += t
            flops[0] += 2 * k * k
            k = _drop(p, k, A, g, s, v, slot, H, Gc, nc, used, where, c)
            pivots -= 1
        if not (schur > singular * size and k < limit):
            used[q] = 2  # numerically dependent with nothing to swap: left to the next round
            continue
        grow(H, u, schur, k)
        flops[0] += 2 * k * k
        A[k], g[k], s[k], v[k], slot[k], where[j] = j, sign, start, 0, q, k
        for i in range(nc):
            Gc[k, i] = sign * gc[i] * scale * G[j, cand[i]]
        k += 1
        excess = vc[q]
        while True:
            at = where[j]
            for i in range(k):
                u[i] = excess * H[at, i]
            t, blocking = _step(k, s, u, w, rows, Gc, nc, vc)
            flops[0] += 2 * k * nc
            if blocking < 0 or blocking == at:
                break
            excess *= 1 - t
            flops[0] += 2 * k * k
            k = _drop(blocking, k, A, g, s, v, slot, H, Gc, nc, used, where, c)
            pivots -= 1
    return k, pivots
