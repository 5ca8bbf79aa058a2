"""Matrix products, one step of Adam, and unit columns, for matrices that fit in the cache."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.jit import ONE, ZERO, fused

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # torch.optim.Adam's


class Learned(NamedTuple):
    """What Adam moves, and its moments."""

    values: Any
    m: Any
    v: Any


@fused
def product(A: Any, B: Any, out: Any) -> None:
    """out = A B; two rows of out and eight of B at a time: each number loaded then serves two multiplications."""
    p, q = A.shape
    for first in range(0, p, 2):
        # an odd row is done with the one before it, once more
        i = max(min(first, p - 2), 0)
        e = min(i + 1, p - 1)
        o, u = out[i], out[e]
        k = q % 8
        if k:
            o[:], u[:] = ZERO, ZERO
        for r in range(k):
            a, c, b = A[i, r], A[e, r], B[r]
            for j in range(len(o)):
                t, w = o[j] + a * b[j], u[j] + c * b[j]
                o[j], u[j] = t, w
        while k < q:
            a0, a1, a2, a3 = A[i, k], A[i, k + 1], A[i, k + 2], A[i, k + 3]
            a4, a5, a6, a7 = A[i, k + 4], A[i, k + 5], A[i, k + 6], A[i, k + 7]
            c0, c1, c2, c3 = A[e, k], A[e, k + 1], A[e, k + 2], A[e, k + 3]
            c4, c5, c6, c7 = A[e, k + 4], A[e, k + 5], A[e, k + 6], A[e, k + 7]
            b0, b1, b2, b3, b4, b5, b6, b7 = (
                B[k], B[k + 1], B[k + 2], B[k + 3], B[k + 4], B[k + 5], B[k + 6], B[k + 7]
            )  # fmt: skip
            for j in range(len(o)):
                t, w = (o[j] if k else ZERO) + a0 * b0[j], (u[j] if k else ZERO) + c0 * b0[j]
                t, w = t + a1 * b1[j], w + c1 * b1[j]
                t, w = t + a2 * b2[j], w + c2 * b2[j]
                t, w = t + a3 * b3[j], w + c3 * b3[j]
                t, w = t + a4 * b4[j], w + c4 * b4[j]
                t, w = t + a5 * b5[j], w + c5 * b5[j]
                t, w = t + a6 * b6[j], w + c6 * b6[j]
                o[j], u[j] = t + a7 * b7[j], w + c7 * b7[j]
            k += 8


@fused
def add_cross(A: Any, B: Any, out: Any) -> None:
    """out += A B', two rows of A and four of B at a time."""
    p, q = out.shape
    for i in range(0, p, 2):
        # an odd row is multiplied twice and added once
        e = min(i + 1, p - 1)
        a, c = A[i], A[e]
        k = q % 4
        for r in range(k):
            b, t, w = B[r], ZERO, ZERO
            for j in range(len(a)):
                t += a[j] * b[j]
                w += c[j] * b[j]
            out[i, r] += t
            if e > i:
                out[e, r] += w
        while k < q:
            b0, b1, b2, b3 = B[k], B[k + 1], B[k + 2], B[k + 3]
            t0 = t1 = t2 = t3 = w0 = w1 = w2 = w3 = ZERO
            for j in range(len(a)):
                f, g = a[j], c[j]
                t0 += f * b0[j]
                t1 += f * b1[j]
                t2 += f * b2[j]
                t3 += f * b3[j]
                w0 += g * b0[j]
                w1 += g * b1[j]
                w2 += g * b2[j]
                w3 += g * b3[j]
            out[i, k] += t0
            out[i, k + 1] += t1
            out[i, k + 2] += t2
            out[i, k + 3] += t3
            if e > i:
                out[e, k] += w0
                out[e, k + 1] += w1
                out[e, k + 2] += w2
                out[e, k + 3] += w3
            k += 4


@fused
def adam(p: Any, g: Any, m: Any, v: Any, lr: float, t: int) -> None:
    """Step number t of Adam, its epsilon outside the root as torch has it (Kingma & Ba 2015, algorithm 1)."""
    rate = np.float32(lr / (1 - BETA1**t))
    root = np.float32(1 / math.sqrt(1 - BETA2**t))
    b1, b2, eps = np.float32(1 - BETA1), np.float32(1 - BETA2), np.float32(EPS)
    for j in range(len(p)):
        a = g[j]
        c, d = m[j] + b1 * (a - m[j]), v[j] + b2 * (a * a - v[j])
        m[j], v[j] = c, d
        p[j] -= rate * c / (np.sqrt(d) * root + eps)


@fused
def normalise(D: Any) -> None:
    """Columns back onto the unit sphere."""
    for i in range(D.shape[1]):
        t = ZERO
        for k in range(D.shape[0]):
            t += D[k, i] * D[k, i]
        t = ONE / np.sqrt(t)
        for k in range(D.shape[0]):
            D[k, i] *= t
