"""The kernel of the paper's sparse coding: Adam on log-codes and, if it is learned, on the dictionary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from amortgap._kernels.blocks import BLOCK
from amortgap._kernels.jit import ONE, ZERO, fused, jit
from amortgap._kernels.largest import keep_largest
from amortgap._kernels.products import Learned, adam, add_cross, normalise, product


@fused
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


class Problem(NamedTuple):
    """Samples, and what is asked for."""

    x: Any  # (n M), as `blocks` lays them out
    learned: bool  # D is
    keep: int  # s is exp of the `keep` largest log-codes of each sample and zero elsewhere; 0: of all
    push: float  # the gradient of the penalty with respect to s
    scale: float  # of the gradient of the error


@jit
def train_codes(dictionary: Learned, logs: Learned, problem: Problem, rates: Any, first: int) -> None:
    """len(rates) steps of Adam on log-codes (n N), and on D (M, N) if learned, in place.

    rates: of each step, first: steps made before.  Gradients: r = scale (D s - x);  r s' for D;  s (D'r + push) for
    the logarithms of s.
    """
    D, x = dictionary.values, problem.x
    M, N = D.shape
    n = len(x) // M
    gD, DT = np.zeros((M, N), np.float32), np.empty((N, M), np.float32)
    size = min(n, BLOCK)
    store_s, store_g = np.empty(size * N, np.float32), np.empty(size * N, np.float32)
    store_r, power = np.empty(size * M, np.float32), np.empty(size * N, np.int32)
    top, spare = np.empty((problem.keep + 1, BLOCK), np.float32), np.empty(BLOCK, np.int32)
    scale, push = np.float32(problem.scale), np.float32(problem.push)
    for number in range(len(rates)):
        lr, step = rates[number], first + number + 1
        gD[:], DT[:] = ZERO, D.T
        for start in range(0, n, BLOCK):
            end = min(n, start + BLOCK)
            k = end - start
            here = slice(start * N, end * N)
            s, g, r = store_s[: k * N], store_g[: k * N], store_r[: k * M].reshape(M, k)
            S, X = s.reshape(N, k), x[start * M : end * M].reshape(M, k)
            _exp(logs.values[here], s, power)
            if problem.keep:
                keep_largest(S, problem.keep, top, spare)
            product(D, S, r)
            for i in range(M):
                ri, xi = r[i], X[i]
                for j in range(k):
                    ri[j] = scale * (ri[j] - xi[j])
            if problem.learned:
                add_cross(r, S, gD)
            product(DT, r, g.reshape(N, k))
            for j in range(k * N):
                g[j] = s[j] * (g[j] + push)
            adam(logs.values[here], g, logs.m[here], logs.v[here], lr, step)
        if problem.learned:
            flat = dictionary.m.reshape(-1), dictionary.v.reshape(-1)
            adam(D.reshape(-1), gD.reshape(-1), flat[0], flat[1], lr, step)
            normalise(D)
