"""The kernel of training: forward, hand-written gradients and Adam of one small encoder, many steps a call."""

from __future__ import annotations

from typing import Any

import numpy as np

from amortgap._kernels.blocks import BLOCK
from amortgap._kernels.jit import ONE, ZERO, jit
from amortgap._kernels.largest import keep_largest
from amortgap._kernels.products import adam, add_cross, normalise, product


@jit
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


@jit
def _gate(g: Any, s: Any) -> None:
    """The gradient through relu: g where s > 0, otherwise 0."""
    for i in range(len(s)):
        a, b = g[i], s[i]
        for j in range(len(a)):
            a[j] = a[j] if b[j] > ZERO else ZERO


@jit
def _add_sums(g: Any, out: Any) -> None:
    for i in range(len(g)):
        t, row = ZERO, g[i]
        for j in range(len(row)):
            t += row[j]
        out[i] += t


@jit
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
                        product(W1, X, h)
                        _activate(h, b1, True)
                    product(W2, u, s)
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
                    product(D, s, r)
                    for i in range(M):
                        ri, xi = r[i], X[i]
                        for j in range(k):
                            ri[j] = scale * (ri[j] - xi[j])
                    if learned:
                        add_cross(r, s, gD)
                    product(DT, r, g)
                    for i in range(N):
                        gi, si = g[i], s[i]
                        for j in range(k):
                            gi[j] += push if si[j] > ZERO else (-push if si[j] < ZERO else ZERO)
                if relu:
                    _gate(g, s)
                add_cross(g, u, gW2)
                if bias:
                    _add_sums(g, gb2)
                if H:
                    back = store_h[: k * H].reshape(H, k)
                    product(W2T, g, back)
                    _gate(back, h)
                    add_cross(back, X, gW1)
                    if bias:
                        _add_sums(back, gb1)
        count = len(theta) if learned and not supervised else at[4]
        adam(theta[:count], grad, m, v, rates[number], first + number + 1)
        if learned and not supervised:
            normalise(D)
