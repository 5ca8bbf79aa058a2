"""Gradient pursuit: like OMP, but one gradient step on the support instead of a least-squares fit.

    S <- S + argmax_i d_i.r,   g = D_S'r,   s_S <- s_S + a g,   a = r.D_S g / ||D_S g||^2

Blumensath & Davies, IEEE Trans. Signal Process. 56 (2008), section III-A. In the nonnegative case the step is
shortened where a code would turn negative. Greedy: duality_gap is inf and converged False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._limits import limits, stop_words
from amortgap.solvers._solution import Solution, uncertified
from amortgap.solvers.prepared import Prepared, plain


def gradient_pursuit(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
) -> Solution:
    """Codes (n, N) with at most K non-zeros after at most K steps.  Atoms are compared by d_i.r / ||d_i||.

    n_steps counts the steps along a gradient that was not zero.
    """
    D, end = plain(D), limits(x, K, residual)
    n, (M, N) = len(x), D.shape
    length = torch.linalg.vector_norm(D, dim=0)
    unit, rows = D / length, torch.arange(n, device=x.device)
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device)  # of the unit columns
    support = torch.zeros(n, N, dtype=torch.bool, device=x.device)
    tiny = torch.finfo(x.dtype).tiny
    steps, products = torch.zeros(n, dtype=torch.long, device=x.device), 0
    near = end.near(x)
    for step in range(end.most):
        r = x - codes @ unit.T
        near = end.near(r)
        todo = ~near & (step < end.K)
        match = r @ unit
        products += 2
        candidates = torch.where(support, -torch.inf, match if nonnegative else match.abs())
        best = candidates.max(1)
        support[rows, best.indices] |= best.values > 0
        gradient = match * support * todo[:, None]
        if nonnegative:  # a code at zero cannot go down
            gradient = torch.where((codes > 0) | (gradient > 0), gradient, 0)
        moves = (gradient != 0).any(1)
        steps += moves
        if not moves.any():
            break
        image = gradient @ unit.T
        products += 1
        size = (r * image).sum(1) / image.square().sum(1).clamp_min(tiny)
        if nonnegative:
            room = torch.where(gradient < 0, -codes / gradient.clamp_max(-tiny), torch.inf)
            size = torch.minimum(size, room.amin(1))
        codes = codes + size[:, None] * gradient
        codes = codes.clamp_min(0) if nonnegative else codes  # rounding of the shortened step
    if residual is not None:
        near, products = end.near(x - codes @ unit.T), products + 1
    stop, flops = stop_words(steps, end, near), products * n * 2 * M * N
    return uncertified(D, x, codes / length, n_steps=steps, stop=stop, flops=flops, method="gradient_pursuit")
