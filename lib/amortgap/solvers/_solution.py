"""What a solver returns, and how it certifies itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from amortgap.objectives import dual_point, objective, relative_gap


@dataclass(frozen=True, eq=False)
class Solution:
    """Codes with their certificate, sample by sample.

    codes (n, N): in the dtype and on the device of x.
    objective (n,): P(codes), float64; 1/2 ||x - D s||^2 for pursuits, ||s||_1 for basis pursuit.
    duality_gap (n,): relative gap, float64, an upper bound on (P - P*) / P. inf where the method has no
        certificate (OMP), 0 where all candidates were enumerated.
    n_steps (n,): iterations each sample took.
    converged (n,): duality_gap <= tol. Never "ran n steps".
    flops: floating-point operations of the matrix products, all samples together (see amortgap.flops), the
        certificate's 6MN a sample included. 0 for the cvxpy references, whose work is not counted.
    method: the registry name that was used.
    """

    codes: Tensor
    objective: Tensor
    duality_gap: Tensor
    n_steps: Tensor
    converged: Tensor
    flops: int
    method: str


def certify(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float,
    *,
    nonnegative: bool,
    tol: float,
    n_steps: Tensor,
    flops: int,
    method: str,
) -> Solution:
    """A Solution whose gap holds for the codes as returned, rounding to x's dtype included.

    The dual point is built from the codes before rounding, in float64: any feasible dual point certifies any
    primal point, and float32 rounding of the codes costs the primal only the square of the rounding error.
    """
    D64, x64 = D.double(), x.double()
    rounded = codes.to(x.dtype)
    primal = objective(D64, x64, rounded.double(), alpha)
    y = dual_point(D64, x64, codes.double(), alpha, nonnegative)
    gap = relative_gap(primal, x64, y)
    if nonnegative:
        gap = torch.where((rounded < 0).any(-1), torch.inf, gap)
    return Solution(rounded, primal, gap, n_steps, gap <= tol, int(flops), method)


def uncertified(
    D: Tensor, x: Tensor, codes: Tensor, *, n_steps: int | Tensor, flops: int, method: str
) -> Solution:
    """A Solution of a greedy method: objective 1/2 ||x - D s||^2, gap inf, never called converged."""
    n = len(x)
    residual = (x - codes @ D.T).double()
    return Solution(
        codes,
        objective=0.5 * residual.square().sum(1),
        duality_gap=torch.full((n,), torch.inf, dtype=torch.float64, device=x.device),
        n_steps=torch.as_tensor(n_steps, device=x.device).expand(n),
        converged=torch.zeros(n, dtype=torch.bool, device=x.device),
        flops=int(flops),
        method=method,
    )
