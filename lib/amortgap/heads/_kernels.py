"""numba kernels of the heads: one token at a time, on the few columns that the encoder proposes.

Letters as in `solvers.kernels`; here they count places among a token's m candidates, not latents:

    A (k,)      places of the active candidates
    s (k,)      their coefficients, s >= 0
    R (k, m)    their rows of the candidates' Gram matrix, gathered when a candidate enters
    H (k, k)    inverse of their Gram matrix
    b (m,)      inner products of the candidates with x
    c (m,)      inner products with the residual, b - R's
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap.solvers.kernels import fused, jit
from amortgap.solvers.kernels.rows import drop, grow, subtract_rows, times

FREE, ACTIVE, BARRED = 0, 1, 2  # what has become of a candidate; barred: it depends on the active ones


class Columns(NamedTuple):
    """The dictionary: D' (N, M), unit rows, and its Gram matrix scale G (N, N)."""

    rows: Any
    G: Any
    scale: Any


class Work(NamedTuple):
    """Scratch for one token: the letters of the module's head; e (k,), c of the active; d, u, w; A, order (k,);
    state (m,); low (1,): the smallest Schur complement of those that became active."""

    b: Any
    c: Any
    s: Any
    e: Any
    d: Any
    u: Any
    w: Any
    R: Any
    H: Any
    A: Any
    order: Any
    state: Any
    low: Any


class Task(NamedTuple):
    """For each token: how many of the first candidates are active at the start, how many may enter, how many are
    looked at, how many may become active, and how many may remain, (n,) each; and what is rounding in c / |x| and
    in a Schur complement."""

    start: Any
    reach: Any
    width: Any
    limit: Any
    count: Any
    floor: float
    singular: float


@fused
def _correlate(b: Any, x: Any, rows: Any, candidates: Any, m: int) -> None:
    """b[t] = rows[candidates[t]] . x, four rows at a time to save loads of x."""
    t = 0
    while t + 4 <= m:
        i, j, k, l = candidates[t], candidates[t + 1], candidates[t + 2], candidates[t + 3]  # noqa: E741
        p, q, r, u = b.dtype.type(0), b.dtype.type(0), b.dtype.type(0), b.dtype.type(0)
        for e in range(len(x)):
            p += rows[i, e] * x[e]
            q += rows[j, e] * x[e]
            r += rows[k, e] * x[e]
            u += rows[l, e] * x[e]
        b[t], b[t + 1], b[t + 2], b[t + 3] = p, q, r, u
        t += 4
    while t < m:
        p = b.dtype.type(0)
        for e in range(len(x)):
            p += rows[candidates[t], e] * x[e]
        b[t] = p
        t += 1


@fused
def _workspace(T: int, most: int, like: Any) -> Any:
    dtype = like.dtype
    b, c, s, e = np.empty(T, dtype), np.empty(T, dtype), np.empty(most, dtype), np.empty(most, dtype)
    d, u, w, R = (
        np.empty(most, dtype),
        np.empty(most, dtype),
        np.empty(most, dtype),
        np.empty((most, T), dtype),
    )
    H, A, order = np.empty((most, most), dtype), np.empty(most, np.int64), np.arange(most)
    return Work(b, c, s, e, d, u, w, R, H, A, order, np.zeros(T, np.int8), np.ones(1, dtype))


@fused
def _residual(k: int, m: int, work: Any) -> None:
    """c and e, from b and s."""
    for t in range(m):
        work.c[t] = work.b[t]
    subtract_rows(work.c, m, work.s, work.R, work.order, k)
    for p in range(k):
        work.e[p] = work.c[work.A[p]]


@fused
def _enter(j: int, k: int, m: int, here: Any, columns: Any, singular: float, work: Any) -> int:
    """Candidate j becomes active, with coefficient 0, unless it depends on the others. How many are active."""
    R, H, A, u, w = work.R, work.H, work.A, work.u, work.w
    G, scale, f, i = columns.G, columns.scale, R.dtype.type, here[j]
    for t in range(m):
        R[k, t] = scale * f(G[i, here[t]])
    work.state[j] = BARRED
    for p in range(k):
        w[p] = R[k, A[p]]
    times(u, H, w, k)
    schur = R[k, j]
    for p in range(k):
        schur -= w[p] * u[p]
    if schur <= singular:
        return k
    work.low[0] = min(work.low[0], schur)
    grow(H, u, schur, k)
    work.state[j] = ACTIVE
    A[k], work.s[k], work.e[k] = j, 0, work.c[j]
    return k + 1


@fused
def _leave(p: int, k: int, m: int, work: Any) -> int:
    """The active candidate number p leaves; the last one takes its place. How many are left."""
    A, s, e, R = work.A, work.s, work.e, work.R
    drop(work.H, p, k)
    work.state[A[p]] = FREE
    for t in range(m):
        if work.state[t] == BARRED:  # of fewer active ones it may be independent
            work.state[t] = FREE
    A[p], s[p], e[p] = A[k - 1], s[k - 1], e[k - 1]
    for t in range(m):
        R[p, t] = R[k - 1, t]
    return k - 1


@fused
def _fit(k: int, m: int, work: Any) -> int:
    """Lawson & Hanson: to the least squares on A; a candidate leaves where its coefficient meets zero."""
    s, e, d = work.s, work.e, work.d
    while k > 0:
        times(d, work.H, e, k)
        part, blocking = 1.0, -1
        for p in range(k):
            if d[p] < 0 and s[p] + part * d[p] <= 0:
                part, blocking = -s[p] / d[p], p
        for p in range(k):
            s[p] += part * d[p]
            e[p] *= 1 - part
        if blocking < 0:
            break
        k = _leave(blocking, k, m, work)
    return k


@fused
def _remove(k: int, m: int, work: Any) -> int:
    """The active candidate whose absence costs least, s_p^2 / H_pp, leaves, and the others are fitted."""
    s, H = work.s, work.H
    worst, least = 0, s[0] * s[0] / H[0, 0]
    for p in range(1, k):
        if s[p] * s[p] / H[p, p] < least:
            worst, least = p, s[p] * s[p] / H[p, p]
    k = _leave(worst, k, m, work)
    _residual(k, m, work)
    return _fit(k, m, work)


@jit
def code_rows(
    x: Any, candidates: Any, amplitude: Any, columns: Any, task: Any, values: Any, left: Any, low: Any
) -> None:
    """values (n, T): least squares with s >= 0 on supports found forwards, then backwards, among the candidates.

    The first `start` candidates are active with the encoder's amplitudes and are fitted. Then the candidate that
    matches the residual best enters and all are fitted anew, up to `limit` of them (orthogonal matching pursuit).
    Then the one whose absence costs least leaves, down to `count`.
    left (n,): the largest c^2 / |residual|^2 of a candidate that is not active, at the end.
    low (n,): the smallest Schur complement that was met; where it is small, float32 has lost the code.
    """
    n, T = candidates.shape
    work = _workspace(T, task.limit.max() + 1, x)
    b, c, s, d, A, state = work.b, work.c, work.s, work.d, work.A, work.state
    for row in range(n):
        m, here, k, xx = task.width[row], candidates[row], 0, 0.0
        _correlate(b, x[row], columns.rows, here, m)
        for i in range(x.shape[1]):
            xx += x[row, i] * x[row, i]
        floor = task.floor * np.sqrt(xx)
        work.low[0] = 1
        for t in range(m):
            state[t], c[t] = FREE, 0
        for j in range(task.start[row]):
            before, k = k, _enter(j, k, m, here, columns, task.singular, work)
            if k > before:
                s[before] = amplitude[row, j]
        _residual(k, m, work)
        if k > 0:
            k = _fit(k, m, work)
            _residual(k, m, work)
        for _ in range(
            4 * task.limit[row] + m
        ):  # more than limit only where candidates leave or are dependent
            if k >= task.limit[row]:
                break
            j, top = -1, floor
            for t in range(task.reach[row]):
                if state[t] == FREE and c[t] > top:
                    j, top = t, c[t]
            if j < 0:
                break
            before, k = k, _enter(j, k, m, here, columns, task.singular, work)
            if k > before:
                k = _fit(k, m, work)
                _residual(k, m, work)
        while k > task.count[row]:
            k = _remove(k, m, work)
        _residual(k, m, work)
        times(d, work.H, work.e, k)  # refinement
        for p in range(k):
            s[p] = max(s[p] + d[p], 0)
            values[row, A[p]] = s[p]
            xx -= s[p] * b[A[p]]
        top = 0.0
        for t in range(m):
            if state[t] != ACTIVE and c[t] > top:
                top = c[t]
        left[row] = min(top * top / xx, 1.0) if xx > 0 else 0.0
        low[row] = work.low[0]
