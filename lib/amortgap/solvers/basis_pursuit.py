"""Basis pursuit: the sparsest explanation by length,  min ||s||_1  subject to  D s = x  (s >= 0).

It is the end, at lam = 0, of the path that homotopy follows (Donoho & Tsaig, IEEE Trans. Inf. Theory 54 (2008)).
There y = D_A (D_A'D_A)^-1 sign(s_A) solves the dual  max x.y  subject to  D'y <= 1  (|D'y| <= 1), which proves it:

    gap = (||s||_1 - x.y) / ||s||_1  +  ||x - D s|| / ||s||_1
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.solvers._solution import Solution, each, stop_words
from amortgap.solvers._suits import refuse
from amortgap.solvers.homotopy import follow_path, refusal, step_limit
from amortgap.solvers.prepared import Prepared, prepare


def path_to_zero(D: Tensor | Prepared, x: Tensor, *, nonnegative: bool = True, tol: float = 1e-6) -> Solution:
    """D (M, N), x (n, M) -> codes (n, N).  objective is ||s||_1, the gap counts the equality's violation too.

    A sample that no code reproduces is not converged. Raises ValueError as `homotopy`.
    """
    given = prepare(D)
    M, N = given.shape
    refuse(refusal(x, N))
    limit = step_limit(M, N)
    codes, z, steps, flops = follow_path(given, x, 0.0, nonnegative, limit, multipliers=True)
    D64, x64 = given.D.double(), x.double()
    gap = _gap(D64, x64, codes, z @ D64.T, nonnegative)
    objective, converged = codes.abs().sum(1), gap <= tol
    flops += len(x) * 6 * M * N
    method, stop = each("homotopy", len(x)), stop_words(converged, steps >= limit)
    return Solution(codes.to(x.dtype), objective, gap, steps, converged, flops, method, stop)


def _gap(D: Tensor, x: Tensor, codes: Tensor, y: Tensor, nonnegative: bool) -> Tensor:
    """The relative gap of codes (n, N) proved by y (n, M), scaled to be feasible.  Zero for zero codes and x."""
    slope = y @ D
    largest = slope.amax(1) if nonnegative else slope.abs().amax(1)
    dual = (y * x).sum(1) / largest.clamp_min(1)
    length = codes.abs().sum(1)
    miss = torch.linalg.vector_norm(x - codes @ D.T, dim=1)
    gap = ((length - dual).clamp_min(0) + miss) / length
    return torch.where((length == 0) & (miss == 0), 0, gap)
