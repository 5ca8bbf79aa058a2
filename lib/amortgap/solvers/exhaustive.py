"""The best K-sparse code by looking at every support.

    min_s ||x - D s||^2,   at most K non-zeros (s >= 0 in the nonnegative case)

The nonnegative optimum on a support is an ordinary least-squares fit on the part of it that stays positive.
So every support of size 1..K is fitted by its pseudo-inverse, fits with a negative entry are thrown away, and
the best of the rest is the global optimum: no pivoting needed.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from amortgap._check import check_sparsity
from amortgap.solvers._limits import limits
from amortgap.solvers._solution import Solution, each
from amortgap.solvers.prepared import Prepared, plain

MAX_SUPPORTS = 200_000
CHUNK = 2**24  # numbers held at once


def exhaustive(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
) -> Solution:
    """Globally optimal K-sparse codes (n, N), or, given a residual, the best of the fewest latents that reach it.

    Raises ValueError beyond 200 000 supports or for K > M.

    n_steps counts the supports tried.
    """
    D, end = plain(D), limits(x, K, residual)
    n, (M, N) = len(x), D.shape
    most = check_sparsity(end.most, N, M)
    count = sum(math.comb(N, k) for k in range(1, most + 1))
    if count > MAX_SUPPORTS:
        raise ValueError(
            f"N = {N}, K = {most} has {count} supports, more than {MAX_SUPPORTS}; use omp or solve"
        )
    D64, x64 = D.double(), x.double()
    codes = torch.zeros(n, N, dtype=torch.float64, device=x.device)
    # where no atom points to x, zero is the best code and nothing is tried
    match = x64 @ D64
    todo = ((match if nonnegative else match.abs()).amax(1) > 0).nonzero().squeeze(1)
    x_, found = x64[todo], codes[todo]
    best = x_.square().sum(1)  # the empty support
    flops = 4 * n * M * N  # these products and the objective's
    goal, atoms = end.residual[todo].double() ** 2, end.K[todo]
    steps = torch.zeros(n, dtype=torch.long, device=x.device)
    for k in range(1, most + 1):
        open_ = ((atoms >= k) & (best > goal)).nonzero().squeeze(1)
        if len(open_) == 0:
            break
        supports = torch.tensor(list(itertools.combinations(range(N), k)), device=x.device)
        steps[todo[open_]] += len(supports)
        for part in supports.split(max(1, CHUNK // (len(open_) * (M + k)))):
            columns = D64[:, part].permute(1, 0, 2)  # (supports, M, k)
            fits = torch.einsum("skm,nm->snk", torch.linalg.pinv(columns), x_[open_])
            error = (x_[open_] - fits @ columns.mT).square().sum(2)
            if nonnegative:
                error = torch.where((fits < 0).any(2), torch.inf, error)
            flops += 4 * len(part) * len(open_) * M * k
            lowest = error.min(0)
            better = (lowest.values < best[open_]).nonzero().squeeze(1)
            choice, rows = lowest.indices[better], open_[better]
            found[rows] = 0
            found[rows[:, None], part[choice]] = fits[choice, better]
            best[rows] = lowest.values[better]
    codes[todo] = found
    codes = codes.to(x.dtype)
    zeros = torch.zeros(n, dtype=torch.float64, device=x.device)
    return Solution(
        codes,
        objective=0.5 * (x64 - codes.double() @ D64.T).square().sum(1),
        duality_gap=zeros,
        n_steps=steps,
        converged=zeros == 0,
        flops=flops,
        method=each("exhaustive", n),
        stop=each("all supports tried", n),
    )
