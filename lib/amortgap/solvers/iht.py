"""Iterative hard thresholding: a gradient step, then all but the K largest codes are set to zero.

    s <- H_K(s + D'(x - D s) / L),   L the largest eigenvalue of D'D,   H_K keeps the K largest (positive) codes

Blumensath & Davies, J. Fourier Anal. Appl. 14 (2008), eq. 11: every step lowers ||x - D s||. It ends in a local
optimum over supports, which more steps do not leave. No certificate: duality_gap is inf and converged False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._solution import LIMIT, Solution, each, uncertified
from amortgap.solvers.nnls import refit


def iht(D: Tensor, x: Tensor, K: int, *, nonnegative: bool = True, n_steps: int = 200) -> Solution:
    """Codes (n, N) with at most K non-zeros: n_steps from zero, then least squares on the support found."""
    n, (M, N) = len(x), D.shape
    eta = 1 / torch.linalg.matrix_norm(D.double(), ord=2).square().to(x.dtype)
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device)
    for _ in range(n_steps):
        codes = codes + eta * ((x - codes @ D.T) @ D)
        size = codes if nonnegative else codes.abs()
        kept = size.topk(K, dim=1)
        values = codes.gather(1, kept.indices)
        values = values.clamp_min(0) if nonnegative else values
        codes = torch.zeros_like(codes).scatter_(1, kept.indices, values)
    codes = refit(D, x, codes != 0, nonnegative=nonnegative)
    steps = torch.full((n,), n_steps, device=x.device)
    return uncertified(
        D, x, codes, n_steps=steps, stop=each(LIMIT, n), flops=4 * n * M * N * n_steps, method="iht"
    )
