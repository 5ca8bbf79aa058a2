"""Basis pursuit: the sparsest explanation by length,  min ||s||_1  subject to  D s = x  (s >= 0).

It is the end, at lam = 0, of the path that homotopy follows (Donoho & Tsaig, IEEE Trans. Inf. Theory 54 (2008)).
There y = D_A (D_A'D_A)^-1 sign(s_A) solves the dual  max x.y  subject to  D'y <= 1  (|D'y| <= 1), which proves it:

    gap = (||s||_1 - x.y) / ||s||_1  +  ||x - D s|| / ||s||_1

Samples that this does not prove, infeasible ones among them, go to a linear program (HiGHS).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_problem
from amortgap.solvers._solution import Solution
from amortgap.solvers.homotopy import MEMORY, follow_path
from amortgap.solvers.reference import basis_pursuit_lp


@torch.no_grad()
def basis_pursuit(D: Any, x: Any, *, nonnegative: bool = True, tol: float = 1e-6) -> Solution:
    """D (M, N), x (n, M) -> codes (n, N).  objective is ||s||_1, the gap counts the equality's violation too.

    Raises ValueError for a sample that no (nonnegative) code reproduces, NaN, inf and shapes that do not fit.
    """
    D, x = check_problem(D, x)
    M, N = D.shape
    if x.device.type != "cpu" or 8 * N * N > MEMORY:
        return basis_pursuit_lp(D, x, nonnegative=nonnegative, tol=tol)
    codes, z, steps, flops = follow_path(D, x, 0.0, nonnegative, 20 * min(M, N) + 200, multipliers=True)
    D64, x64 = D.double(), x.double()
    gap = _gap(D64, x64, codes, z @ D64.T, nonnegative)
    objective = codes.abs().sum(1)
    todo = (~(gap <= tol)).nonzero().squeeze(1)
    if len(todo):
        rest = basis_pursuit_lp(D, x[todo], nonnegative=nonnegative, tol=tol, names=todo.tolist())
        codes[todo], gap[todo] = rest.codes.double(), rest.duality_gap
        objective[todo] = rest.objective
        steps[todo] += rest.n_steps
    flops += len(x) * 6 * M * N
    return Solution(codes.to(x.dtype), objective, gap, steps, gap <= tol, flops, "basis_pursuit")


def _gap(D: Tensor, x: Tensor, codes: Tensor, y: Tensor, nonnegative: bool) -> Tensor:
    """The relative gap of codes (n, N) proved by y (n, M), scaled to be feasible.  Zero for zero codes and x."""
    slope = y @ D
    largest = slope.amax(1) if nonnegative else slope.abs().amax(1)
    dual = (y * x).sum(1) / largest.clamp_min(1)
    length = codes.abs().sum(1)
    miss = torch.linalg.vector_norm(x - codes @ D.T, dim=1)
    gap = ((length - dual).clamp_min(0) + miss) / length
    return torch.where((length == 0) & (miss == 0), 0, gap)
