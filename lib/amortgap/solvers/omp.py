"""Orthogonal matching pursuit: K times, take the atom that best matches the residual, then refit all taken.

    i = argmax_i d_i.r  (argmax |d_i.r| in the signed case),   S <- S + i,   s_S = argmin ||x - D_S s||

Pati, Rezaiifar & Krishnaprasad (1993); nonnegative: Bruckstein, Elad & Zibulevsky, IEEE Trans. Inf. Theory
54 (2008), section III-C. Greedy: it carries no certificate, so duality_gap is inf and converged False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._solution import Solution, uncertified
from amortgap.solvers.nnls import refit


def omp(D: Tensor, x: Tensor, K: int, *, nonnegative: bool = True) -> Solution:
    """Codes (n, N) with at most K non-zeros.  Atoms are compared by d_i.r / ||d_i||.

    A sample stops early when no atom improves its fit, so an exact fit keeps fewer than K atoms.
    """
    n, (M, N) = len(x), D.shape
    unit = D / torch.linalg.vector_norm(D, dim=0)
    support = torch.zeros(n, N, dtype=torch.bool, device=x.device)
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device)
    # below this an inner product with the residual is rounding of x
    floor = 10 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=1)
    for _ in range(K):
        match = (x - codes @ D.T) @ unit
        match = torch.where(support, -torch.inf, match if nonnegative else match.abs())
        best = match.max(1)
        support[torch.arange(n, device=x.device), best.indices] |= best.values > floor
        codes = refit(D, x, support, nonnegative=nonnegative)
    flops = n * (4 * M * N * K + sum(2 * k**3 // 3 for k in range(1, K + 1)))
    return uncertified(D, x, codes, n_steps=support.sum(1), flops=flops, method="omp")
