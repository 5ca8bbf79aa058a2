"""Iterative hard thresholding: a gradient step, then all but the K largest codes are set to zero.

    s <- H_K(s + D'(x - D s) / L),   L the largest eigenvalue of D'D,   H_K keeps the K largest (positive) codes

Blumensath & Davies, J. Fourier Anal. Appl. 14 (2008), eq. 11: every step lowers ||x - D s||. It ends in a local
optimum over supports, which more steps do not leave. No certificate: duality_gap is inf and converged False.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._limits import limits
from amortgap.solvers._solution import LIMIT, Solution, uncertified
from amortgap.solvers.nnls import fit_support
from amortgap.solvers.prepared import Prepared, prepare


def iht(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
    n_steps: int = 200,
) -> Solution:
    """Codes (n, N) with at most K non-zeros: at most n_steps from zero, then least squares on the support.

    n_steps of the result counts the steps that changed the code. Raises ValueError for a residual: K atoms are kept
    from the first step on.
    """
    if residual is not None:
        raise ValueError("iht keeps K latents from its first step on and cannot end at a residual; use omp")
    given, end = prepare(D), limits(x, K, residual)
    D = given.D
    n, (M, N) = len(x), D.shape
    eta = 1 / given.eigenvalue.to(x.dtype)
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device)
    rank = torch.arange(end.most, device=x.device)
    steps, rounds = torch.zeros(n, dtype=torch.long, device=x.device), 0
    for _ in range(n_steps):
        rounds += 1
        moved = codes + eta * ((x - codes @ D.T) @ D)
        size = moved if nonnegative else moved.abs()
        kept = size.topk(end.most, dim=1)
        values = moved.gather(1, kept.indices) * (rank < end.K[:, None])
        values = values.clamp_min(0) if nonnegative else values
        before, codes = codes, torch.zeros_like(codes).scatter_(1, kept.indices, values)
        moves = (codes != before).any(1)
        steps += moves
        if not moves.any():  # a fixed point: more steps are the same step
            break
    codes, fit = fit_support(given, x, codes != 0, nonnegative=nonnegative)
    stop = np.where(steps.numpy(force=True) < n_steps, "fixed point", LIMIT).astype(object)
    flops = rounds * n * 4 * M * N + fit
    return uncertified(D, x, codes, n_steps=steps, stop=stop, flops=flops, method="iht")
