"""pivoting: many samples side by side in every loop, each in its lane, so that tiny problems fill vector units.

Letters as in `kernels`, with a last index for the lane. T (N, N + 1) is the tableau: swept from [G, D'x - alpha],
its entries within the active set are those of -H, its last column holds s on the active set and the excess
c - alpha of the others. The number of lanes is an argument because the compiler vectorises loops of unknown length
best.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import fused, jit

REFINEMENTS = 4
SEEN = 8  # units of rounding of the largest excess that a violated condition must pass
DEPENDENT = 100  # units of rounding that a column's squared length must keep beside the active ones


class Problem(NamedTuple):
    """D (M, N) in x's precision, G in that of the tableau, alpha, tol, unit of the codes, most exchanges, lanes."""

    D: Any
    G: Any
    alpha: float
    tol: float
    unit: float
    limit: int
    lanes: int


class Found(NamedTuple):
    """Results: codes (n, N), nonnegative; objective, gap, exchanges and operations (n,).

    gap is that of the last refinement: above tol where pivoting failed.
    """

    codes: Any
    objective: Any
    gap: Any
    steps: Any
    flops: Any


@fused
def _pivot_all(T: Any, active: Any, slack: Any, exchanges: Any, limit: int, lanes: int) -> None:
    """Sweep the worst violated index of each lane in and out of T (N, N + 1, lanes) until none is left.

    Sweeping p with d = T[p, p] is  T[i, j] -= T[i, p] T[p, j] / d  outside row and column p, which become
    +-T[p, j] / d, and T[p, p] = -1 / d. It is done as one rank-one update, with a[p] and r[p] chosen to fit.
    """
    N, kind = len(T), T.dtype.type
    dependent = kind(DEPENDENT * np.finfo(T.dtype).eps)
    r, a = np.zeros((N + 1, lanes), T.dtype), np.zeros((N + 1, lanes), T.dtype)
    worst, index = np.zeros(lanes, T.dtype), np.zeros(lanes, np.int32)
    waiting = np.full(lanes, -1, np.int32)
    for turn in range(limit):
        # after so many exchanges the worst may be going in circles; the last violated index cannot (Murty)
        greedy = kind(turn < limit // 2)
        for lane in range(lanes):
            worst[lane] = slack[lane]
            index[lane] = -1
        for i in range(N):
            for lane in range(lanes):
                v = T[i, N, lane] * (1 - 2 * active[i, lane])  # excess outside, minus the code inside
                index[lane] = i if v > worst[lane] else index[lane]
                worst[lane] = v * greedy if v * greedy > worst[lane] else worst[lane]
        busy = 0
        for lane in range(lanes):
            p = index[lane] = waiting[lane] if waiting[lane] >= 0 else index[lane]
            waiting[lane] = -1
            d = T[p, p, lane] if p >= 0 else kind(0)
            if p >= 0 and abs(d) < dependent:
                # d_p = D_A u: s_A falls along u as p grows, until one of them is zero: it leaves, then p enters
                p, shortest = -1, kind(np.inf)
                for i in range(N):
                    u = active[i, lane] * T[i, index[lane], lane]
                    if u > dependent and T[i, N, lane] < shortest * u:
                        p, shortest = i, T[i, N, lane] / u
                if p >= 0:
                    d, waiting[lane] = T[p, p, lane], index[lane]
            if p < 0 or abs(d) < dependent:
                for j in range(N + 1):
                    r[j, lane] = a[j, lane] = 0
                if index[lane] >= 0:
                    slack[lane] = np.inf  # numerically dependent columns: this lane is given up
                continue
            busy += 1
            exchanges[lane] += 1
            inverse = 1 / d
            sign = 1 - 2 * active[p, lane]
            for j in range(N + 1):
                r[j, lane] = T[p, j, lane]
                a[j, lane] = r[j, lane] * inverse
            a[p, lane] = 1 - sign * inverse
            r[p, lane] = d - sign
            T[p, p, lane] -= 2 * sign
            active[p, lane] = 1 - active[p, lane]
        if busy == 0:
            return
        for i in range(N):
            for j in range(N + 1):
                for lane in range(lanes):
                    T[i, j, lane] -= a[i, lane] * r[j, lane]


@fused
def _descend(T: Any, active: Any, slack: float, limit: int) -> int:
    """One lane, T (N, N + 1), with s >= 0 kept, so that P falls: no circles but for ties.  Returns the exchanges.

    s_p grows along (1, -T[A, p]) until its excess is zero and p enters, or until a code is and that index leaves
    (Dantzig & Cottle, Positive (semi-)definite programming, 1967; principal pivoting for linear complementarity).
    """
    N, dependent = len(T), DEPENDENT * np.finfo(T.dtype).eps
    r, a = np.zeros(N + 1, T.dtype), np.zeros(N + 1, T.dtype)
    p, held = -1, 0.0
    for turn in range(limit):
        if p < 0:
            held, worst = 0.0, slack
            for i in range(N):
                if active[i] == 0 and T[i, N] > worst:
                    p, worst = i, T[i, N]
            if p < 0:
                return turn
        q, t = p, T[p, N] / T[p, p] if T[p, p] > dependent else np.inf
        for i in range(N):
            if active[i] == 1 and T[i, p] > 0 and T[i, N] < t * T[i, p]:
                q, t = i, T[i, N] / T[i, p]
        if t == np.inf:
            return turn
        if q != p:
            for i in range(N):
                T[i, N] -= t * T[i, p]
            T[q, N] = 0
            held += t
        sign, inverse = 1 - 2 * active[q], 1 / T[q, q]
        for j in range(N + 1):
            r[j], a[j] = T[q, j], T[q, j] * inverse
        a[q], r[q] = 1 - sign * inverse, T[q, q] - sign
        T[q, q] -= 2 * sign
        for i in range(N):
            for j in range(N + 1):
                T[i, j] -= a[i] * r[j]
        active[q] = 1 - active[q]
        if q == p:
            T[p, N] += held
            p = -1
    return limit


@jit
def solve_lanes(x: Any, problem: Any, found: Any) -> None:
    """Fill `found` for the samples x (n, M)."""
    D, G, alpha, tol, unit, limit, lanes = problem
    codes, objective, gap, steps, flops = found
    (n, M), N = x.shape, len(G)
    T, active = np.zeros((N, N + 1, lanes), G.dtype), np.zeros((N, lanes), G.dtype)
    seen = G.dtype.type(SEEN * np.finfo(G.dtype).eps)
    y, r = np.zeros((M, lanes)), np.zeros((M, lanes))
    s, c, slack = np.zeros((N, lanes)), np.zeros((N, lanes)), np.zeros(lanes, G.dtype)
    first, todo = np.zeros(lanes), np.ones(lanes)
    exchanges, looks = np.zeros(lanes, np.int64), np.zeros(lanes)
    rr, rx, length, largest = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    for start in range(0, n, lanes):
        width = min(lanes, n - start)
        for m in range(M):
            for lane in range(lanes):
                y[m, lane] = x[start + min(lane, width - 1), m]
        slack[:] = 0
        for i in range(N):
            for lane in range(lanes):
                c[i, lane] = -alpha
            for m in range(M):
                d = np.float64(D[m, i])
                for lane in range(lanes):
                    c[i, lane] += d * y[m, lane]
            for lane in range(lanes):
                T[i, N, lane] = c[i, lane]
                active[i, lane] = 0
                slack[lane] = max(slack[lane], seen * abs(T[i, N, lane]))
            for j in range(N):
                for lane in range(lanes):
                    T[i, j, lane] = G[i, j]
        exchanges[:] = 0
        looks[:] = 0
        todo[:] = 1
        if G.itemsize == 8:
            for lane in range(width):
                exchanges[lane] = _descend(T[:, :, lane], active[:, lane], slack[lane], limit)
        else:
            _pivot_all(T, active, slack, exchanges, limit, lanes)
        for i in range(N):
            for lane in range(lanes):
                s[i, lane] = max(0.0, np.float64(active[i, lane] * T[i, N, lane]))
        for step in range(REFINEMENTS):
            rr[:] = 0
            rx[:] = 0
            length[:] = 0
            first[:] = 0
            largest[:] = alpha
            for m in range(M):
                for lane in range(lanes):
                    r[m, lane] = y[m, lane]
                for i in range(N):
                    d = np.float64(D[m, i])
                    for lane in range(lanes):
                        r[m, lane] -= d * s[i, lane]
                for lane in range(lanes):
                    rr[lane] += r[m, lane] * r[m, lane]
                    rx[lane] += r[m, lane] * y[m, lane]
            for i in range(N):
                for lane in range(lanes):
                    c[i, lane] = 0
                for m in range(M):
                    d = np.float64(D[m, i])
                    for lane in range(lanes):
                        c[i, lane] += d * r[m, lane]
                for lane in range(lanes):
                    largest[lane] = c[i, lane] if c[i, lane] > largest[lane] else largest[lane]
                    length[lane] += s[i, lane]
                    c[i, lane] = (c[i, lane] - alpha) * active[i, lane]
                    # P of the rounded codes, to first order: the second is below float64
                    first[lane] -= c[i, lane] * (np.float64(codes.dtype.type(s[i, lane])) - s[i, lane])
            done = True
            for lane in range(width):
                primal = 0.5 * rr[lane] + alpha * length[lane] + first[lane]
                scale = min(max(rx[lane] / max(rr[lane], 1e-300), 0.0), alpha / largest[lane])
                dual = scale * rx[lane] - 0.5 * scale * scale * rr[lane]
                objective[start + lane] = primal
                excess = (primal - dual) / primal if primal != 0 else 0.0
                gap[start + lane] = 0.0 if excess < 0 else excess  # NaN stays NaN
                looks[lane] += todo[lane]
                todo[lane] = not gap[start + lane] <= 0.9 * tol
                done &= not todo[lane]
            if done or step == REFINEMENTS - 1:
                break
            # s += H (c - alpha) on the active set, where -T is the inverse Gram H; nothing where a lane is done,
            # whose code would else depend on its neighbours
            for i in range(N):
                for lane in range(lanes):
                    c[i, lane] *= todo[lane]
            for i in range(N):
                for j in range(N):
                    for lane in range(lanes):
                        s[i, lane] -= active[i, lane] * np.float64(T[i, j, lane]) * c[j, lane]
                for lane in range(lanes):
                    s[i, lane] = max(0.0, s[i, lane])
        for lane in range(width):
            steps[start + lane] = exchanges[lane]
            flops[start + lane] = (
                2 * M * N
                + exchanges[lane] * 2 * N * (N + 1)
                + looks[lane] * 4 * M * (N + 1)
                + (looks[lane] - 1) * 2 * N * N
            )
            for i in range(N):
                codes[start + lane, i] = unit * s[i, lane]
