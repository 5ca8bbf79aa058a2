"""numba kernels of training: forward, hand-written gradients and Adam of one small model, many steps a call.

All arrays are float32. Samples are the contiguous axis: data come in blocks of BLOCK samples, one block (width, k)
after the other in one flat array (see `blocks`), so that a block and its codes stay in the cache. Sums over samples
run in a fixed order: the same numbers come out whatever the number of threads, models being the unit of work.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from amortgap._topk_kernel import keep_largest

_jit: Any = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)

BLOCK = 256  # samples worked on at once
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8  # torch.optim.Adam's
NOTHING = np.empty(0, np.float32)
ONE, ZERO = np.float32(1), np.float32(0)


def blocks(a: Tensor) -> np.ndarray:
    """a (..., n, width) -> (..., n width): block after block, samples last in each."""
    parts = [part.mT.flatten(-2) for part in a.split(BLOCK, dim=-2)]
    return torch.cat(parts, -1).contiguous().numpy()


def unblocks(flat: np.ndarray, width: int) -> Tensor:
    """The inverse of `blocks`: (..., n width) -> (..., n, width)."""
    parts = torch.from_numpy(flat).split(BLOCK * width, dim=-1)
    return torch.cat([p.unflatten(-1, (width, -1)).mT for p in parts], -2)


def suits(*tensors: Tensor) -> bool:
    """Whether all are float32 on the CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)


def each(kernel: Any, jobs: list[tuple[Any, ...]]) -> None:
    """kernel(*job) for every job, a thread a job, as many at once as torch may use."""
    threads = min(len(jobs), torch.get_num_threads())
    if threads == 1:
        for job in jobs:
            kernel(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *job) for job in jobs]:
            done.result()


@_jit
def _product(A: Any, B: Any, out: Any) -> None:
    """out = A B; two rows of out and eight of B at a time: each number loaded then serves two multiplications."""
    p, q = A.shape
    for first in range(0, p, 2):
        i = max(min(first, p - 2), 0)  # an odd row is done with the one before it, once more
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


@_jit
def _add_cross(A: Any, B: Any, out: Any) -> None:
    """out += A B', two rows of A and four of B at a time."""
    p, q = out.shape
    for i in range(0, p, 2):
        e = min(i + 1, p - 1)  # an odd row is multiplied twice and added once
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


@_jit
def _adam(p: Any, g: Any, m: Any, v: Any, lr: float, t: int) -> None:
    """Step number t of Adam, its epsilon outside the root as torch has it (Kingma & Ba 2015, algorithm 1)."""
    rate = np.float32(lr / (1 - BETA1**t))
    root = np.float32(1 / math.sqrt(1 - BETA2**t))
    b1, b2, eps = np.float32(1 - BETA1), np.float32(1 - BETA2), np.float32(EPS)
    for j in range(len(p)):
        a = g[j]
        c, d = m[j] + b1 * (a - m[j]), v[j] + b2 * (a * a - v[j])
        m[j], v[j] = c, d
        p[j] -= rate * c / (np.sqrt(d) * root + eps)


@_jit
def _normalise(D: Any) -> None:
    """Columns back onto the unit sphere."""
    for i in range(D.shape[1]):
        t = ZERO
        for k in range(D.shape[0]):
            t += D[k, i] * D[k, i]
        t = ONE / np.sqrt(t)
        for k in range(D.shape[0]):
            D[k, i] *= t


@_jit
def _activate(s: Any, b: Any, relu: bool) -> None:
    """s + b, then relu if asked."""
    for i in range(len(s)):
        row, c = s[i], b[i]
        if relu:
            for j in range(len(row)):
                row[j] = max(row[j] + c, ZERO)
        else:
            for j in range(len(row)):
                row[j] += c


@_jit
def _gate(g: Any, s: Any) -> None:
    """The gradient through relu: g where s > 0, otherwise 0."""
    for i in range(len(s)):
        a, b = g[i], s[i]
        for j in range(len(a)):
            a[j] = a[j] if b[j] > ZERO else ZERO


@_jit
def _add_sums(g: Any, out: Any) -> None:
    for i in range(len(g)):
        t, row = ZERO, g[i]
        for j in range(len(row)):
            t += row[j]
        out[i] += t


@_jit
def train_encoder(
    theta: Any, m: Any, v: Any, x: Any, codes: Any, n: int, M: int, N: int, H: int, bias: bool, relu: bool,
    learned: bool, keep: int, l1_weight: float, rates: Any, first: int,
) -> None:  # fmt: skip
    """len(rates) steps of Adam on one encoder, in place; rates: the learning rate of each.

    theta: W1 (H, M), b1 (H,), W2 (N, H), b2 (N,), D (M, N) in one vector, H = 0 for W2 (N, M), b2, D alone; m and v
    are Adam's moments, `first` the steps made before. x (n M), codes (n N) or empty, as `blocks` lays them out: one
    batch of n samples for all steps, or one for each step, one after the other.
    Without codes the loss is mean (x - D s)^2 + lambda mean |s|; with codes, minus the mean cosine over latents,
    and D rests. keep > 0: of each code the `keep` largest entries stay (with relu).
    """
    Q, batches = H if H else M, len(x) // (n * M)
    supervised = len(codes) > 0
    at = np.cumsum(np.array([0, H * M, H, N * Q, N, M * N]))
    grad = np.zeros_like(theta)
    W1, gW1 = theta[: at[1]].reshape(H, M), grad[: at[1]].reshape(H, M)
    b1, gb1 = theta[at[1] : at[2]], grad[at[1] : at[2]]
    W2, gW2 = theta[at[2] : at[3]].reshape(N, Q), grad[at[2] : at[3]].reshape(N, Q)
    b2, gb2 = theta[at[3] : at[4]], grad[at[3] : at[4]]
    D, gD = theta[at[4] :].reshape(M, N), grad[at[4] :].reshape(M, N)
    W2T, DT = np.empty((Q, N), np.float32), np.empty((N, M), np.float32)
    kept = n if supervised else min(n, BLOCK)  # the cosine needs all codes before its first gradient
    hidden, found = np.empty(kept * H, np.float32), np.empty(kept * N, np.float32)
    store_g = np.empty(min(n, BLOCK) * N, np.float32)
    store_h, store_r = np.empty(min(n, BLOCK) * H, np.float32), np.empty(min(n, BLOCK) * M, np.float32)
    dots, squares, norms = np.zeros(N, np.float32), np.zeros(N, np.float32), np.zeros(N, np.float32)
    top, spare = np.empty((keep + 1, BLOCK), np.float32), np.empty(BLOCK, np.int32)
    scale, push = np.float32(2 / (n * M)), np.float32(l1_weight / (n * N))
    for number in range(len(rates)):
        batch = number % batches * n
        if supervised and (number == 0 or batches > 1):
            norms[:] = ZERO
            for start in range(batch, batch + n, BLOCK):
                c = codes[start * N : min(batch + n, start + BLOCK) * N].reshape(N, -1)
                for i in range(N):
                    norms[i] += np.sum(c[i] * c[i])
            norms[:] = np.sqrt(norms)
        grad[:] = ZERO
        W2T[:], DT[:] = W2.T, D.T
        dots[:], squares[:] = ZERO, ZERO
        for backwards in range(2 if supervised else 1):
            for start in range(0, n, BLOCK):
                end = min(n, start + BLOCK)
                k, o = end - start, start if supervised else 0
                X = x[(batch + start) * M : (batch + end) * M].reshape(M, k)
                h = hidden[o * H : (o + k) * H].reshape(H, k)
                u = h if H else X
                s = found[o * N : (o + k) * N].reshape(N, k)
                g = store_g[: k * N].reshape(N, k)
                if backwards == 0:
                    if H:
                        _product(W1, X, h)
                        _activate(h, b1, True)
                    _product(W2, u, s)
                    _activate(s, b2, relu)
                    if keep:
                        keep_largest(s, keep, top, spare)
                if supervised:
                    c = codes[(batch + start) * N : (batch + end) * N].reshape(N, k)
                    if backwards == 0:
                        for i in range(N):
                            si, ci = s[i], c[i]
                            t, q = ZERO, ZERO
                            for j in range(k):
                                t += si[j] * ci[j]
                                q += si[j] * si[j]
                            dots[i] += t
                            squares[i] += q
                        continue
                    for i in range(N):
                        si, ci, gi = s[i], c[i], g[i]
                        size, other = (
                            max(np.sqrt(squares[i]), np.float32(1e-8)),
                            max(norms[i], np.float32(1e-8)),
                        )
                        towards = ONE / (size * other * np.float32(N))
                        away = towards * dots[i] / (size * size)
                        for j in range(k):
                            gi[j] = away * si[j] - towards * ci[j]
                else:
                    r = store_r[: k * M].reshape(M, k)
                    _product(D, s, r)
                    for i in range(M):
                        ri, xi = r[i], X[i]
                        for j in range(k):
                            ri[j] = scale * (ri[j] - xi[j])
                    if learned:
                        _add_cross(r, s, gD)
                    _product(DT, r, g)
                    for i in range(N):
                        gi, si = g[i], s[i]
                        for j in range(k):
                            gi[j] += push if si[j] > ZERO else (-push if si[j] < ZERO else ZERO)
                if relu:
                    _gate(g, s)
                _add_cross(g, u, gW2)
                if bias:
                    _add_sums(g, gb2)
                if H:
                    back = store_h[: k * H].reshape(H, k)
                    _product(W2T, g, back)
                    _gate(back, h)
                    _add_cross(back, X, gW1)
                    if bias:
                        _add_sums(back, gb1)
        count = len(theta) if learned and not supervised else at[4]
        _adam(theta[:count], grad, m, v, rates[number], first + number + 1)
        if learned and not supervised:
            _normalise(D)


@_jit
def _exp(z: Any, out: Any, power: Any) -> None:
    """out = exp(z) to 2 ulp: 2^k p(r) with z = k log 2 + r (Cephes, expf); loops that become vector code."""
    two = power.view(np.float32)
    for j in range(len(z)):
        y = min(max(z[j], np.float32(-87)), np.float32(88))
        k = np.int32(y * np.float32(1.44269504) + np.float32(1000.5)) - np.int32(1000)
        f = np.float32(k)
        r = (y - f * np.float32(0.693359375)) + f * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        out[j] = (p * r * r + r) + ONE
        power[j] = np.int32(k + np.int32(127)) << np.int32(23)
    for j in range(len(z)):
        out[j] *= two[j]


@_jit
def train_codes(
    D: Any, mD: Any, vD: Any, logs: Any, m: Any, v: Any, x: Any, learned: bool, keep: int, push: float,
    scale: float, lr: float, first: int, steps: int,
) -> None:  # fmt: skip
    """`steps` steps of Adam on log-codes (n N), and on D (M, N) if learned, in place.

    Gradients: r = scale (D s - x);  r s' for D;  s (D'r + push) for the logarithms of s. keep > 0: s is exp of the
    `keep` largest log-codes of each sample and zero elsewhere.
    """
    M, N = D.shape
    n = len(x) // M
    gD, DT = np.zeros((M, N), np.float32), np.empty((N, M), np.float32)
    size = min(n, BLOCK)
    store_s, store_g = np.empty(size * N, np.float32), np.empty(size * N, np.float32)
    store_r, power = np.empty(size * M, np.float32), np.empty(size * N, np.int32)
    top, spare = np.empty((keep + 1, BLOCK), np.float32), np.empty(BLOCK, np.int32)
    scale32, push32 = np.float32(scale), np.float32(push)
    for step in range(first + 1, first + steps + 1):
        gD[:], DT[:] = ZERO, D.T
        for start in range(0, n, BLOCK):
            end = min(n, start + BLOCK)
            k = end - start
            here = slice(start * N, end * N)
            s, g, r = store_s[: k * N], store_g[: k * N], store_r[: k * M].reshape(M, k)
            S, X = s.reshape(N, k), x[start * M : end * M].reshape(M, k)
            _exp(logs[here], s, power)
            if keep:
                keep_largest(S, keep, top, spare)
            _product(D, S, r)
            for i in range(M):
                ri, xi = r[i], X[i]
                for j in range(k):
                    ri[j] = scale32 * (ri[j] - xi[j])
            if learned:
                _add_cross(r, S, gD)
            _product(DT, r, g.reshape(N, k))
            for j in range(k * N):
                g[j] = s[j] * (g[j] + push32)
            _adam(logs[here], g, m[here], v[here], lr, step)
        if learned:
            _adam(D.reshape(-1), gD.reshape(-1), mD.reshape(-1), vD.reshape(-1), lr, step)
            _normalise(D)
