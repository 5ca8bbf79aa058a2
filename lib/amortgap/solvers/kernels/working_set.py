"""working_set: each sample by itself, from its correlations to a certified code.

Letters as in `kernels`. At weight lam a code is optimal when g c = lam on A and |c| <= lam elsewhere. Every move
goes along H v, with v = g c - lam or the excess of one violated atom. Only the differences v enter the float32
work, so with v taken in float64 it converges to float64 accuracy: iterative refinement.

A sample's turns are of two kinds. A *screening* takes c of all atoms from D'D in the working precision, lowers lam
and picks candidates. A *proof*, at lam = alpha, takes c in float64 on A and on every atom that the screening's
rounding leaves in doubt; the violated ones are the candidates of the next refinement.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import fused, jit
from amortgap.solvers.kernels.active_set import WIDTH, rebuild, restricted
from amortgap.solvers.kernels.rows import subtract_rows

SEEN = 0.4  # candidates, in units of the largest inactive correlation
SHRINK = 0.25  # lam of the next round: lower, so that the next screening sees a residual with less bias
NEAR = 0.1  # residuals this close, in units of alpha, share a screening
ROUNDS = 300  # restricted problems a sample may take


class Problem(NamedTuple):
    """What all samples share, in units: Dt = D' (N, M) in x's precision; D'D = scale G to +-fuzz an entry; alpha.

    longest: the longest column's length; unit, a power of two, multiplies the codes.
    """

    Dt: Any
    G: Any
    scale: Any
    fuzz: float
    alpha: float
    tol: float
    signed: bool
    longest: float
    unit: float
    max_pivots: int


class Signals(NamedTuple):
    """x (n, M); C0 = x D (n, N) in the working precision, with errors up to lacking (n,) beyond its rounding; init
    (n, N), codes to start from, or no rows: then they are zero."""

    x: Any
    C0: Any
    lacking: Any
    init: Any


class Found(NamedTuple):
    """Results: codes (n, N), which hold zeros; objective, gap, pivots and operations (n,)."""

    codes: Any
    objective: Any
    gap: Any
    steps: Any
    flops: Any


@fused
def _above(bits: Any, threshold: Any, found: Any) -> int:
    """found[:count] = the indices of positive floats above a float >= 0, all given as their bits.

    Positive floats are ordered as their bits are, and only integer maxima are vectorised.
    """
    count = 0
    for start in range(0, len(bits), 64):
        part = bits[start : start + 64]
        highest = part[0]
        for i in range(len(part)):
            highest = max(highest, part[i])
        if highest > threshold:
            for i in range(len(part)):
                if part[i] > threshold:
                    found[count] = start + i
                    count += 1
    return count


@jit
def solve_rows(given: Any, problem: Any, integer: Any, found: Any) -> None:
    """Fill `found` for every sample.  integer (1,): any, of the working precision's size."""
    x, C0, lacking, init = given
    Dt, G, scale, fuzz, alpha, tol, signed, dmax, unit, max_pivots = problem
    codes, objective, gap, steps, flops = found
    (n, N), M = C0.shape, Dt.shape[1]
    limit = min(M, N)
    eps = 0.5 * np.finfo(C0.dtype).eps
    singular = max(1e3 * eps**0.9, 100 * fuzz / dmax**2)
    pad = limit + 1 + 15 & -16
    pad += 16 * (pad % 32 == 0)  # rows an odd number of cache lines apart: no two columns share a cache set
    H, Gc = np.zeros((limit + 1, pad), C0.dtype), np.zeros((limit + 1, WIDTH), C0.dtype)
    A, slot, rows = np.zeros(limit + 1, np.int64), np.zeros(limit + 1, np.int64), np.arange(limit + 1)
    s, g, v = np.zeros(limit + 1), np.zeros(limit + 1, C0.dtype), np.zeros(limit + 1, C0.dtype)
    u, w = np.zeros(limit + 1, C0.dtype), np.zeros(limit + 1, C0.dtype)
    cand, gc, vc = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, C0.dtype), np.zeros(WIDTH, C0.dtype)
    used, where = np.zeros(WIDTH, np.int64), np.full(N, -1)
    r, r0, ws = np.zeros(M), np.zeros(M), np.zeros(limit + 1)
    c, sc, found = np.zeros(N, C0.dtype), np.zeros(N, C0.dtype), np.zeros(N, np.int64)
    count = np.zeros(1, np.int64)
    bits, floating = c.view(integer.dtype), integer.view(C0.dtype)
    for row in range(n):
        k, lam, pivots, count[0] = 0, np.inf, max_pivots, 2 * M
        xx = 0.0
        for i in range(M):
            xx += np.float64(x[row, i]) ** 2
        gap[row] = before = np.inf
        screened = False
        if len(init) > 0:
            for i in range(N):
                if init[row, i] != 0 and k < limit:
                    A[k], g[k], s[k] = i, np.sign(init[row, i]), abs(np.float64(init[row, i])) / unit
                    k += 1
            k = rebuild(k, A, g, s, H, G, scale, where, singular, u, w, rows, count)
        for turn in range(ROUNDS):
            proving = True
            if not screened:
                length = 0.0
                for p in range(k):
                    w[p] = scale * g[p] * s[p]
                    length += s[p]
                for i in range(N):
                    c[i] = C0[row, i]
                subtract_rows(c, N, w, G, A, k)
                count[0] += 2 * k * N
                if signed:
                    for i in range(N):
                        sc[i] = c[i]
                        c[i] = abs(c[i])
                for p in range(k):
                    v[p] = g[p] * sc[A[p]] if signed else c[A[p]]
                    c[A[p]] = 0
                highest = bits[0]
                for i in range(N):
                    highest = max(highest, bits[i])
                integer[0] = max(highest, 0)
                top = floating[0]
                solved = lam == alpha
                new = max(alpha, min(lam, SHRINK * top))
                lam = alpha if new < 1.2 * alpha else new
                slack = lam * max(0.25 * tol, 4 * eps)
                proving = solved or not top > lam + slack  # only at lam = alpha
                if not proving:
                    floating[0] = max(SEEN * top, lam + slack)
                    nc = min(_above(bits, integer[0], found), WIDTH)
                    for q in range(nc):
                        i = found[q]
                        cand[q] = i
                        gc[q] = -1 if signed and sc[i] < 0 else 1
                        vc[q] = c[i] - lam
                    for p in range(k):
                        v[p] -= lam
            if proving:
                # float64: conditions on A and on every atom that the screening's rounding error leaves in doubt
                for i in range(M):
                    r[i] = x[row, i]
                for p in range(k):
                    ws[p] = g[p] * s[p]
                subtract_rows(r, M, ws, Dt, A, k)
                rr, rx, shift = 0.0, 0.0, 0.0
                if not screened:
                    for i in range(M):
                        r0[i] = r[i]
                for i in range(M):
                    rr += r[i] * r[i]
                    rx += r[i] * x[row, i]
                    shift += (r[i] - r0[i]) ** 2
                shift = dmax * math.sqrt(shift)
                count[0] += 2 * k * M + 6 * M
                if shift > NEAR * alpha:  # the screening is of another residual and would leave many in doubt
                    screened = False
                    continue
                length, largest, moved, first = 0.0, alpha, 0.0, 0.0
                for p in range(k):
                    dot = 0.0
                    for i in range(M):
                        dot += r[i] * Dt[A[p], i]
                    dot *= g[p]
                    v[p] = dot - alpha
                    largest = max(largest, abs(dot))
                    length += s[p]
                    rounding = np.float64(codes.dtype.type(s[p])) - s[p]
                    moved += abs(rounding)
                    first += (alpha - dot) * rounding
                doubt = 1.05 * ((M + k + 8) * eps * dmax * (math.sqrt(xx) + dmax * length) + fuzz * length)
                doubt += lacking[row]
                nc = 0
                floating[0] = alpha - doubt - shift
                if not floating[0] >= 0:  # which rules nothing out
                    integer[0] = np.iinfo(integer.dtype).min
                for q in range(_above(bits, integer[0], found)):
                    i = found[q]
                    if where[i] < 0:
                        dot = 0.0
                        for m in range(M):
                            dot += r[m] * Dt[i, m]
                        sign = -1.0 if signed and dot < 0 else 1.0
                        dot *= sign
                        largest = max(largest, dot)
                        count[0] += 2 * M
                        if dot > alpha * (1 + 0.25 * tol) and nc < WIDTH:
                            cand[nc], gc[nc], vc[nc] = i, sign, dot - alpha
                            nc += 1
                count[0] += 2 * k * M
                primal = 0.5 * rr + alpha * length + first + 0.5 * (dmax * moved) ** 2
                shrunk = min(max(rx / max(rr, 1e-300), 0.0), alpha / largest)
                objective[row] = primal
                excess = primal - shrunk * rx + 0.5 * shrunk * shrunk * rr
                gap[row] = excess / primal if excess > 0 or excess != excess else 0.0  # NaN stays NaN
                if gap[row] <= 0.99 * tol:
                    break
                if gap[row] > 0.5 * before:  # refinement with a good H gains digits every time
                    k = rebuild(k, A, g, s, H, G, scale, where, singular, u, w, rows, count)
                    gap[row] = before = np.inf
                    screened = False
                    continue
                before = gap[row]
                slack = 0.25 * tol * alpha
            allowance = min(pivots, 4 * (k + nc) + 20)
            k, left = restricted(
                k,
                A,
                g,
                s,
                v,
                slot,
                H,
                nc,
                cand,
                gc,
                vc,
                used,
                Gc,
                G,
                scale,
                where,
                c,
                slack,
                limit,
                singular,
                u,
                w,
                rows,
                allowance,
                count,
            )
            pivots -= allowance - left
            gap[row] = np.inf  # s has moved
            if pivots <= 0:
                break
            screened = proving
            if left <= 0 or turn % 16 == 15:  # going round in circles
                k = rebuild(k, A, g, s, H, G, scale, where, singular, u, w, rows, count)
                screened = False
        for p in range(k):
            codes[row, A[p]] = unit * g[p] * s[p]
            where[A[p]] = -1
        steps[row] = max_pivots - pivots
        flops[row] = count[0]
