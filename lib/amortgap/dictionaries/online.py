"""Online dictionary learning: the dictionary moves after every mini-batch, not after every pass over the data.

    A <- A + S_new' S_new - S_old' S_old,   B <- B + X' (S_new - S_old),   then one sweep over the columns

Mairal, Bach, Ponce & Sapiro, JMLR 11 (2010), algorithms 1-2, in the form of section 3.4 for finite data sets:
what a sample contributed in the last pass is taken back when it comes again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap.dictionaries._alternate import alternate, correlations, sweep
from amortgap.dictionaries._learned import Learned
from amortgap.solvers import solve

BATCH = 256


def online(
    x: Tensor, D: Tensor, alpha: float, *, solver: str = "auto", seed: int = 0, **options: Any
) -> Learned:
    """Passes over x (n, M) in random batches of at most 256, from D (M, N); options as `alternate`.

    Each pass begins with all codes solved, which measures the objective and frees A and B of rounding.
    """
    g = torch.Generator().manual_seed(seed)

    def update(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool) -> tuple[Tensor, int]:
        (n, M), N = x.shape, D.shape[1]
        A, B = correlations(x, codes)
        flops = 2 * n * N * (N + M)
        for rows in torch.randperm(n, generator=g).to(x.device).split(BATCH):
            part = solve(D, x[rows], alpha, solver, nonnegative=nonnegative)
            (A_new, B_new), (A_old, B_old) = (correlations(x[rows], c) for c in (part.codes, codes[rows]))
            A, B = A + A_new - A_old, B + B_new - B_old
            D = sweep(D, A, B)
            flops += part.flops + 4 * len(rows) * N * (N + M) + 2 * M * N * N
        return D, flops

    return alternate(x, D, alpha, update, solver=solver, **options)
