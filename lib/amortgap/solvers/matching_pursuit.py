"""Matching pursuit: K times, take the atom that best matches the residual and subtract its projection.

    i = argmax_i d_i.r  (argmax |d_i.r| in the signed case),   s_i <- s_i + d_i.r,   r <- r - (d_i.r) d_i

Mallat & Zhang, IEEE Trans. Signal Process. 41 (1993), eq. 11. Nothing is refitted, so an atom may be taken
twice. Greedy: it carries no certificate, so duality_gap is inf and converged False.

With nonnegative codes, unit columns and x less the pre-bias this is the encoder of matching-pursuit SAEs (Costa et
al., From Flat to Hierarchical, 2025, algorithm 1): K steps as there, or until the residual is short enough, as in
SAELens, which also ends where an atom is taken a second time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._limits import limits, stop_words
from amortgap.solvers._solution import Solution, uncertified
from amortgap.solvers.prepared import Prepared, plain


def matching_pursuit(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
) -> Solution:
    """Codes (n, N) with at most K non-zeros after at most K steps, for any column lengths.

    n_steps counts the atoms taken, repeated ones each time. Samples that are done cost nothing more.
    """
    D, end = plain(D), limits(x, K, residual)
    n, (M, N) = len(x), D.shape
    length = torch.linalg.vector_norm(D, dim=0)
    unit = D / length
    rows = unit.T.contiguous()
    r, codes = x.clone(), torch.zeros(n, N, dtype=x.dtype, device=x.device)
    near = end.near(r)
    steps, products = torch.zeros(n, dtype=torch.long, device=x.device), 0
    todo = (~near & (end.K > 0)).nonzero().squeeze(1)
    for step in range(1, end.most + 1):
        match = r[todo] @ unit
        products += len(todo)
        best = (match if nonnegative else match.abs()).max(1)
        moves = best.values > 0
        todo, best = todo[moves], best.indices[moves]
        if len(todo) == 0:
            break
        amount = match[moves, best]
        codes[todo, best] += amount / length[best]
        r[todo] -= amount[:, None] * rows[best]
        steps[todo] += 1
        near = end.near(r)
        todo = todo[(~near & (step < end.K))[todo]]
    stop, flops = stop_words(steps, end, near), products * 2 * M * N
    return uncertified(D, x, codes, n_steps=steps, stop=stop, flops=flops, method="matching_pursuit")
