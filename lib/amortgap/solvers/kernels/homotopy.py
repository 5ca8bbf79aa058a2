"""homotopy: one sample at a time, from lam = max D'x down to alpha, event by event, in float64.

Letters as in `kernels`; a (N,) = -dc / d(-lam) and d = ds / d(-lam) are the slopes of the path.
Atom i is charged lam weight_i |s_i|.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import jit
from amortgap.solvers.kernels.rows import add_rows, drop, grow, times

SINGULAR = 1e-11  # Schur complements below this, in units of the column's squared length, are rounding
END = 1e-9  # when lam falls to this share of its start, what is left of the path is taken for straight


class Path(NamedTuple):
    """What all samples share: G (N, N), weight (N,), the end alpha >= 0, signed codes or not, most events."""

    G: Any
    weight: Any
    alpha: float
    signed: bool
    limit: int


class Found(NamedTuple):
    """Results: codes (n, N); z (n, N) with dual point D z for alpha = 0, or (0, N); counts events, flops (n,)."""

    codes: Any
    z: Any
    events: Any
    flops: Any


@jit
def follow(c0: Any, path: Any, found: Any) -> None:
    """Fill `found` for the samples with correlations c0 = D'x (n, N); codes and z hold zeros."""
    G, weight, alpha, signed, limit = path
    codes, multiplier, events, flops = found
    n, N = c0.shape
    size = min(N, limit)
    A, g = np.empty(size, np.int64), np.empty(size)
    s, d, u, w, H = np.empty(size), np.empty(size), np.empty(size), np.empty(size), np.empty((size, size))
    c, a, barred = np.empty(N), np.empty(N), np.zeros(N, np.bool_)
    for row in range(n):
        c[:] = c0[row]
        lam, enter = 0.0, -1
        for i in range(N):
            size_i = (abs(c[i]) if signed else c[i]) / weight[i]
            if size_i > lam:
                lam, enter = size_i, i
        if lam <= alpha:
            continue
        start, k, left, steps, work = lam, 0, -1, 0, 0
        while steps < limit:
            steps += 1
            if enter >= 0:
                sign = 1.0 if c[enter] > 0 else -1.0
                for p in range(k):
                    w[p] = g[p] * sign * G[enter, A[p]]
                times(u, H, w, k)
                work += 2 * k * (k + 1)
                schur = G[enter, enter]
                for p in range(k):
                    schur -= w[p] * u[p]
                if schur <= SINGULAR * G[enter, enter] or k == size:
                    barred[enter] = True  # depends on the active atoms: let it be until one of them leaves
                else:
                    grow(H, u, schur, k)
                    work += 2 * k * k
                    A[k], g[k], s[k] = enter, sign, 0
                    k += 1
            for p in range(k):
                w[p] = weight[A[p]]
            times(d, H, w, k)  # ds / d(-lam)
            a[:] = 0
            for p in range(k):
                w[p] = g[p] * d[p]
            add_rows(a, w, G, A, k)  # -dc / d(-lam)
            work += 2 * (k + 1) * N + 2 * k * (k + 1)
            for p in range(k):
                a[A[p]], c[A[p]] = 0, 0  # so that no active atom can enter
            t, enter, leave = lam - alpha, -1, -1
            for i in range(N):
                ahead, speed = lam * weight[i] - c[i], weight[i] - a[i]
                if ahead < t * speed and not barred[i] and i != left:
                    t, enter = max(ahead, 0.0) / speed, i
            if signed:
                for i in range(N):
                    ahead, speed = lam * weight[i] + c[i], weight[i] + a[i]
                    if ahead < t * speed and not barred[i] and i != left:
                        t, enter = max(ahead, 0.0) / speed, i
            for p in range(k):
                if d[p] < 0 and s[p] < -t * d[p]:
                    t, leave, enter = -s[p] / d[p], p, -1
            if lam - t <= END * start:  # atoms with s = O(lam) must stay: the dual point needs them
                t, enter, leave = lam - alpha, -1, -1
            lam -= t
            for i in range(N):
                c[i] -= t * a[i]
            for p in range(k):
                s[p] += t * d[p]
                c[A[p]] = g[p] * lam * weight[A[p]]
            left = -1
            if leave >= 0:
                left = A[leave]
                drop(H, leave, k)
                work += 2 * k * k
                k -= 1
                A[leave], g[leave], s[leave] = A[k], g[k], s[k]
                barred[:] = False
            elif enter < 0:
                break
        barred[:] = False
        for _ in range(2):  # refinement: all weights one, and rounding undone
            for p in range(k):
                u[p] = g[p] * c0[row, A[p]] - alpha
                for q in range(k):
                    u[p] -= g[p] * g[q] * G[A[p], A[q]] * s[q]
            times(d, H, u, k)
            for p in range(k):
                s[p] += d[p]
        if multiplier.shape[0] > 0:
            w[:k] = 1
            times(d, H, w, k)
        for p in range(k):
            codes[row, A[p]] = g[p] * max(s[p], 0.0)
            if multiplier.shape[0] > 0:
                multiplier[row, A[p]] = g[p] * d[p]
        events[row], flops[row] = steps, work + (8 if multiplier.shape[0] == 0 else 10) * k * k
