"""working_set without D'D: what is done for each sample between two screenings of all atoms by one product.

A sample has slots: its active atoms, then its candidates. `choose` fills them from the screened correlations,
`prove` takes the correlations of the slots in float64 and closes the proof, `advance` solves the LASSO on the slots
with their own small Gram matrix. Letters as in `kernels`, but A and the candidates count slots.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import jit
from amortgap.solvers.kernels.active_set import WIDTH, rebuild, restricted
from amortgap.solvers.kernels.rows import subtract_rows
from amortgap.solvers.kernels.working_set import SEEN, SHRINK, _above

MORE = 64  # candidates, beside as many as there are active atoms
CHANCES = 10  # proofs in turn that may fail to halve the gap


class Setting(NamedTuple):
    """What all samples share, in units: M, N, alpha, tol, signed, the longest column; unit multiplies the codes."""

    M: int
    N: int
    alpha: float
    tol: float
    signed: bool
    longest: float
    unit: float


class Slots(NamedTuple):
    """n samples: atom, sign, s, c (n, T), the first count active and the first total in use; lam, and outside, a
    bound on the correlations of atoms without a slot; objective, gap; pivots left, chances left, operations."""

    atom: Any
    sign: Any
    s: Any
    c: Any
    count: Any
    total: Any
    lam: Any
    outside: Any
    objective: Any
    gap: Any
    pivots: Any
    chances: Any
    flops: Any


@jit
def choose(bits: Any, shift: int, error: Any, live: Any, real: Any, setting: Any, slots: Any) -> None:
    """Lower lam and pick candidates for the samples `live` (m,).

    bits (m, N): their correlations as integers, which are ordered as positive floats are: the upper half of a
    float32's for bfloat16 (shift 16), all of them otherwise. error (m,): how far they may be off.  real: memory for
    one number, seen as a float and as an integer of its size.
    """
    M, N, alpha, signed = setting.M, setting.N, setting.alpha, setting.signed
    atom, count, total, lams, outside = slots.atom, slots.count, slots.total, slots.lam, slots.outside
    floating, word = real
    found, size = np.empty(N, np.int64), np.empty(N, bits.dtype)
    zero, grain = bits.dtype.type(0), 2.0**-8 if shift else 0.0
    most = np.iinfo(bits.dtype).max
    for i in range(len(live)):
        row, b = live[i], bits[i]
        k = count[row]
        if signed:
            for j in range(N):
                b[j] &= most
        for p in range(k):
            b[atom[row, p]] = 0
        highest = b[0]
        for j in range(N):
            highest = max(highest, b[j])
        word[0] = np.int64(max(highest, zero)) << shift
        top = np.float64(floating[0])
        lam = max(alpha, min(lams[row], SHRINK * top))
        lams[row] = lam = alpha if lam < 1.2 * alpha else lam
        # at alpha, all atoms that could be above it
        least = max(SEEN * top, lam) if lam > alpha else (alpha - error[i]) / (1 + grain)
        floating[0] = max(least, 0.0)
        threshold = bits.dtype.type((word[0] >> shift) if least >= 0 else -1)
        nc, room = _above(b, threshold, found), min(MORE + k, WIDTH)
        if nc > room:
            for q in range(nc):
                size[q] = b[found[q]]
            threshold = np.partition(size[:nc], nc - room)[nc - room]
            kept = 0
            for q in range(nc):
                if b[found[q]] >= threshold and kept < room:
                    found[kept] = found[q]
                    kept += 1
            nc = kept
        for q in range(nc):
            atom[row, k + q] = found[q]
        total[row] = k + nc
        word[0] = np.int64(max(threshold, zero)) << shift
        outside[row] = np.float64(floating[0]) * (1 + grain) + error[i]
        slots.flops[row] += 2 * M * N


@jit
def prove(columns: Any, x: Any, live: Any, kind: Any, setting: Any, slots: Any) -> None:
    """c of the slots, and at alpha objective and gap, of the samples `live` (m,) with columns (m, T, M), x (m, M).

    kind (0,): any, of the codes' precision.
    """
    M, alpha, signed, longest = setting.M, setting.alpha, setting.signed, setting.longest
    r, w, rows = np.zeros(M), np.zeros(columns.shape[1]), np.arange(columns.shape[1])
    for i in range(len(live)):
        row, own = live[i], columns[i]
        k, total = slots.count[row], slots.total[row]
        sign, s, c = slots.sign[row], slots.s[row], slots.c[row]
        for m in range(M):
            r[m] = x[i, m]
        for p in range(k):
            w[p] = sign[p] * s[p]
        subtract_rows(r, M, w, own, rows, k)
        rr, rx = 0.0, 0.0
        for m in range(M):
            rr += r[m] * r[m]
            rx += r[m] * x[i, m]
        largest, length, moved, first = alpha, 0.0, 0.0, 0.0
        for p in range(total):
            dot = 0.0
            for m in range(M):
                dot += r[m] * own[p, m]
            if p >= k:
                sign[p] = -1 if signed and dot < 0 else 1
            c[p] = sign[p] * dot
            largest = max(largest, abs(dot) if p < k else c[p])
            if p < k:
                length += s[p]
                rounding = np.float64(kind.dtype.type(s[p])) - s[p]
                moved += abs(rounding)
                first += (alpha - c[p]) * rounding
        slots.flops[row] += 2 * k * M + 2 * total * M + 4 * M
        if slots.lam[row] > alpha:
            continue
        if slots.outside[row] > alpha:
            largest = max(largest, slots.outside[row])
        primal = 0.5 * rr + alpha * length + first + 0.5 * (longest * moved) ** 2
        shrunk = min(max(rx / max(rr, 1e-300), 0.0), alpha / largest)
        excess = primal - shrunk * rx + 0.5 * shrunk * shrunk * rr
        gap = excess / primal if excess > 0 or excess != excess else 0.0  # NaN stays NaN
        slots.chances[row] = CHANCES if gap <= 0.5 * slots.gap[row] else slots.chances[row] - 1
        slots.objective[row], slots.gap[row] = primal, gap


@jit
def advance(columns: Any, x: Any, G: Any, live: Any, setting: Any, slots: Any, r: Any) -> None:
    """The LASSO at lam on the slots, whose Gram matrices are G (m, T, T); r (m, M) becomes x - D s.

    For the samples that `prove` left open.
    """
    M, tol, limit = setting.M, setting.tol, min(setting.M, setting.N)
    T, one = G.shape[1], G.dtype.type(1)
    eps = 0.5 * np.finfo(G.dtype).eps
    singular = 1e3 * eps**0.9
    pad = T + 1 + 15 & -16
    pad += 16 * (pad % 32 == 0)  # rows an odd number of cache lines apart: no two columns share a cache set
    H, Gc = np.zeros((T + 1, pad), G.dtype), np.zeros((T + 1, WIDTH), G.dtype)
    A, slot, rows = np.zeros(T + 1, np.int64), np.zeros(T + 1, np.int64), np.arange(T + 1)
    s, g, v = np.zeros(T + 1), np.zeros(T + 1, G.dtype), np.zeros(T + 1, G.dtype)
    u, w, ws = np.zeros(T + 1, G.dtype), np.zeros(T + 1, G.dtype), np.zeros(T + 1)
    cand, gc, vc = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, G.dtype), np.zeros(WIDTH, G.dtype)
    used, where, unused = np.zeros(WIDTH, np.int64), np.full(T + 1, -1), np.zeros(T + 1, G.dtype)
    flops, left, atoms = np.zeros(1, np.int64), np.zeros(M), np.zeros(T + 1, np.int64)
    for i in range(len(live)):
        row, gram = live[i], G[i]
        k, total, lam = slots.count[row], slots.total[row], slots.lam[row]
        sign, c = slots.sign[row], slots.c[row]
        slack, flops[0] = lam * max(0.25 * tol, 4 * eps), 0
        for p in range(k):
            A[p], g[p], s[p] = p, sign[p], slots.s[row, p]
        nc = 0
        for p in range(k, total):
            if c[p] > lam + slack and nc < WIDTH:
                cand[nc], gc[nc], vc[nc] = p, sign[p], c[p] - lam
                nc += 1
        k = rebuild(k, A, g, s, H, gram, one, where, singular, u, w, rows, flops)
        for p in range(k):
            v[p] = c[A[p]] - lam
        allowance = min(slots.pivots[row], 4 * (k + nc) + 20)
        k, rest = restricted(
            k, A, g, s, v, slot, H, nc, cand, gc, vc, used, Gc, gram, one, where, unused,
            slack, limit, singular, u, w, rows, allowance, flops,
        )  # fmt: skip
        slots.pivots[row] -= allowance - rest
        for p in range(k):
            atoms[p] = slots.atom[row, A[p]]
            ws[p] = g[p] * s[p]
        for m in range(M):
            left[m] = x[i, m]
        subtract_rows(left, M, ws, columns[i], A, k)
        for m in range(M):
            r[i, m] = left[m]
        for p in range(k):
            where[A[p]] = -1
            slots.atom[row, p], slots.sign[row, p], slots.s[row, p] = atoms[p], g[p], s[p]
        slots.count[row] = k
        slots.flops[row] += flops[0] + 2 * k * M


@jit
def write(slots: Any, unit: float, codes: Any) -> None:
    """codes (n, N), zeros, become the codes."""
    for row in range(len(codes)):
        for p in range(slots.count[row]):
            codes[row, slots.atom[row, p]] = unit * slots.sign[row, p] * slots.s[row, p]
