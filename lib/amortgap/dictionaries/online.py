"""Online dictionary learning: the dictionary moves after every mini-batch, not after every pass over the data.

    A <- A + S_new' S_new - S_old' S_old,   B <- B + X' (S_new - S_old),   then one sweep over the columns

Mairal, Bach, Ponce & Sapiro, JMLR 11 (2010), algorithms 1-2, in the form of section 3.4 for finite data sets:
what a sample contributed in the last pass is taken back when it comes again.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor
from tqdm import tqdm

from amortgap.dictionaries._alternate import correlations, has_stopped, sweep
from amortgap.dictionaries._learned import Learned, replace_dead
from amortgap.solvers import solve

BATCH = 256


def online(
    x: Tensor,
    D: Tensor,
    alpha: float,
    *,
    rounds: int,
    tol: float,
    nonnegative: bool,
    solver: str = "auto",
    seed: int = 0,
) -> Learned:
    """`rounds` passes over x (n, M) in random batches of at most 256, from D (M, N).

    Each pass begins with all codes solved, which measures the objective and frees A and B of rounding.
    """
    g = torch.Generator().manual_seed(seed)
    (n, M), N = x.shape, D.shape[1]
    objective: list[float] = []
    best, flops = D, 0
    with tqdm(total=rounds, desc="dictionary", file=sys.stderr, delay=2, mininterval=1) as bar:
        for _ in range(rounds):
            solution = solve(D, x, alpha, solver, nonnegative=nonnegative)
            objective.append(float(solution.objective.mean()))
            flops += solution.flops + 2 * n * N * (N + M)
            if objective[-1] == min(objective):
                best = D
            if has_stopped(objective, tol):
                break
            D = replace_dead(D, x, solution.codes, solution.objective)
            codes = solution.codes
            A, B = correlations(x, codes)
            for rows in torch.randperm(n, generator=g).to(x.device).split(BATCH):
                part = solve(D, x[rows], alpha, solver, nonnegative=nonnegative)
                (A_new, B_new), (A_old, B_old) = (correlations(x[rows], c) for c in (part.codes, codes[rows]))
                A, B = A + A_new - A_old, B + B_new - B_old
                D = sweep(D, A, B)
                flops += part.flops + 4 * len(rows) * N * (N + M) + 2 * M * N * N
            bar.update()
    return Learned(best, objective, has_stopped(objective, tol), flops)
