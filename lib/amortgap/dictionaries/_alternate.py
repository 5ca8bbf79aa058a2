"""Alternation: codes solved to a duality gap, then the dictionary for these codes, and again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from amortgap._progress import progress
from amortgap.dictionaries._learned import Learned, merge_twins, replace_dead
from amortgap.solvers import solve

WAIT = 10  # rounds over which the objective must fall by the share tol

Update = Callable[[Tensor, Tensor, Tensor, float, bool], tuple[Tensor, int]]


def alternate(
    x: Tensor,
    D: Tensor,
    alpha: float,
    update: Update,
    *,
    rounds: int,
    tol: float,
    nonnegative: bool,
    solver: str = "auto",
) -> Learned:
    """update(D, x, codes, alpha, nonnegative) -> (new D, its FLOPs), between exact solutions for the codes.

    Columns that no sample uses, or that repeat another one, are replaced by badly explained samples before each
    update.
    """
    objective: list[float] = []
    best, flops = D, 0
    with progress(total=rounds, desc="dictionary") as bar:
        for _ in range(rounds):
            solution = solve(D, x, alpha, solver, nonnegative=nonnegative)
            objective.append(float(solution.objective.mean()))
            flops += solution.flops
            if objective[-1] == min(objective):
                best = D
            if has_stopped(objective, tol):
                break
            codes = merge_twins(D, solution.codes, not nonnegative)
            D = replace_dead(D, x, codes, solution.objective, not nonnegative)
            D, cost = update(D, x, codes, alpha, nonnegative)
            flops += cost
            bar.update()
    return Learned(best, objective, has_stopped(objective, tol), flops)


def has_stopped(objective: list[float], tol: float) -> bool:
    """Whether the last WAIT rounds lowered the best objective by less than the share tol."""
    return len(objective) > WAIT and min(objective[-WAIT:]) >= (1 - tol) * min(objective[:-WAIT])


def correlations(x: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """S'S (N, N) and X'S (M, N): all that the squared error of a dictionary needs."""
    return codes.T @ codes, x.T @ codes


def sweep(D: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """One round of block coordinate descent over columns: the unit d_j that minimises tr(D'D A)/2 - tr(D'B).

    d_j = u/||u||,  u = b_j - D a_j + d_j A_jj.  A column with A_jj = 0 or u = 0 stays.
    Mairal, Bach, Ponce & Sapiro, JMLR 11 (2010), algorithm 2, on the sphere instead of the ball.
    """
    D = D.clone()
    for j in range(D.shape[1]):
        u = B[:, j] - D @ A[:, j] + D[:, j] * A[j, j]
        length = torch.linalg.vector_norm(u)
        D[:, j] = torch.where((A[j, j] > 0) & (length > 0), u / length, D[:, j])
    return D
