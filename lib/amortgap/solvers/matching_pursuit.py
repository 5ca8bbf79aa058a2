"""Matching pursuit: K times, take the atom that best matches the residual and subtract its projection.

    i = argmax_i d_i.r  (argmax |d_i.r| in the signed case),   s_i <- s_i + d_i.r,   r <- r - (d_i.r) d_i

Mallat & Zhang, IEEE Trans. Signal Process. 41 (1993), eq. 11. Nothing is refitted, so an atom may be taken
twice. Greedy: it carries no certificate, so duality_gap is inf and converged False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._solution import LIMIT, Solution, each, uncertified


def matching_pursuit(D: Tensor, x: Tensor, K: int, *, nonnegative: bool = True) -> Solution:
    """Codes (n, N) with at most K non-zeros after K steps, for any column lengths."""
    n, (M, N) = len(x), D.shape
    length = torch.linalg.vector_norm(D, dim=0)
    unit, rows = D / length, torch.arange(n, device=x.device)
    residual, codes = x.clone(), torch.zeros(n, N, dtype=x.dtype, device=x.device)
    for _ in range(K):
        match = residual @ unit
        best = (match if nonnegative else match.abs()).argmax(1)
        amount = match[rows, best]
        if nonnegative:
            amount = amount.clamp_min(0)
        codes[rows, best] += amount / length[best]
        residual -= amount[:, None] * unit.T[best]
    steps = torch.full((n,), K, device=x.device)
    return uncertified(
        D, x, codes, n_steps=steps, stop=each(LIMIT, n), flops=2 * n * M * N * K, method="matching_pursuit"
    )
