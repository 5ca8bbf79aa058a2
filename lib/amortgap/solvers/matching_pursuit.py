"""Matching pursuit: K times, take the atom that best matches the residual and subtract its projection.

    i = argmax_i d_i.r  (argmax |d_i.r| in the signed case),   s_i <- s_i + d_i.r,   r <- r - (d_i.r) d_i

Mallat & Zhang, IEEE Trans. Signal Process. 41 (1993), eq. 11. Nothing is refitted, so an atom may be taken
twice. Greedy: it carries no certificate, so duality_gap is inf and converged False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._solution import Solution, uncertified
from amortgap.solvers.omp import stop_words
from amortgap.solvers.prepared import Prepared, plain


def matching_pursuit(D: Tensor | Prepared, x: Tensor, K: int, *, nonnegative: bool = True) -> Solution:
    """Codes (n, N) with at most K non-zeros after at most K steps, for any column lengths.

    n_steps counts the atoms taken, repeated ones each time.
    """
    D = plain(D)
    n, (M, N) = len(x), D.shape
    length = torch.linalg.vector_norm(D, dim=0)
    unit, rows = D / length, torch.arange(n, device=x.device)
    residual, codes = x.clone(), torch.zeros(n, N, dtype=x.dtype, device=x.device)
    steps, rounds = torch.zeros(n, dtype=torch.long, device=x.device), 0
    for _ in range(K):
        rounds += 1
        match = residual @ unit
        best = (match if nonnegative else match.abs()).argmax(1)
        amount = match[rows, best]
        if nonnegative:
            amount = amount.clamp_min(0)
        steps += amount != 0
        if not (amount != 0).any():
            break
        codes[rows, best] += amount / length[best]
        residual -= amount[:, None] * unit.T[best]
    stop, flops = stop_words(steps, K), rounds * n * 2 * M * N
    return uncertified(D, x, codes, n_steps=steps, stop=stop, flops=flops, method="matching_pursuit")
