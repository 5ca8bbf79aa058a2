"""The (nonnegative) LASSO, its dual, and what certifies a solution.

    P(s) = 1/2 ||x - D s||^2 + alpha ||s||_1,   s >= 0 in the nonnegative case            (primal)
    Q(y) = y.x - 1/2 ||y||^2,   |D'y| <= alpha  (D'y <= alpha in the nonnegative case)    (dual)

Every function works sample by sample: D (M, N), x (n, M), codes (n, N) -> (n,).
Tibshirani, J. R. Stat. Soc. B 58 (1996); the gap as a stopping rule: Kim et al., IEEE JSTSP 1 (2007), eq. 11.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def objective(D: Tensor, x: Tensor, codes: Tensor, alpha: float) -> Tensor:
    """P(s) = 1/2 ||x - D s||^2 + alpha ||s||_1 per sample, (n,)."""
    residual = x - codes @ D.T
    return 0.5 * (residual * residual).sum(-1) + alpha * codes.abs().sum(-1)


def dual_point(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool = True) -> Tensor:
    """The feasible y = c (x - D s), (n, M), with the c >= 0 that makes Q(y) largest.

    Q(c r) is a parabola in c with its top at r.x / ||r||^2; feasibility bounds c by alpha / max(D'r)
    (by alpha / max|D'r| from both sides in the signed case).
    """
    return _feasible(D, x, x - codes @ D.T, alpha, nonnegative)


def _feasible(D: Tensor, x: Tensor, residual: Tensor, alpha: float, nonnegative: bool) -> Tensor:
    correlation = residual @ D
    tiny = torch.finfo(x.dtype).tiny  # and not 0: alpha / -0.0 is -inf
    square = (residual * residual).sum(-1)
    # the residual itself where its square underflows
    top = torch.where(square < tiny, 1, (residual * x).sum(-1) / square)
    largest = correlation.amax(-1) if nonnegative else correlation.abs().amax(-1)
    bound = alpha / largest.clamp_min(
        tiny
    )  # huge where nothing binds: then the top of the parabola is feasible
    # a negative multiple is feasible only where -D'r <= alpha / |c|; c >= 0 always is, and loses nothing at
    # the optimum, where c = 1
    return torch.minimum(top.clamp_min(0), bound).unsqueeze(-1) * residual


def duality_gap(D: Any, x: Any, codes: Any, alpha: float, nonnegative: bool = True) -> Any:
    """Relative duality gap (P(s) - Q(y)) / P(s) per sample, (n,): an upper bound on (P(s) - P*) / P(s).

    alpha > 0. Zero for zero codes of x = 0; inf where P(s) underflows, unless zero codes are seen to be optimal
    without it. A code with a negative entry is infeasible in the nonnegative case: gap inf.
    """
    if isinstance(x, np.ndarray):
        D, x, codes = (torch.from_numpy(np.asarray(a)) for a in (D, x, codes))
        return duality_gap(D, x, codes, alpha, nonnegative).numpy()
    residual = x - codes @ D.T  # once: this runs inside every solver's loop
    primal = 0.5 * residual.square().sum(-1) + alpha * codes.abs().sum(-1)
    gap = relative_gap(primal, x, _feasible(D, x, residual, alpha, nonnegative))
    return torch.where((codes < 0).any(-1), torch.inf, gap) if nonnegative else gap


def relative_gap(primal: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(P - Q(y)) / P for primal values P (n,) and any feasible dual points y (n, M).

    Where P is below the smallest normal number: 0 if y = x, as for zero codes that are optimal, and else inf.
    inf too where P or Q(y) is not a finite number: nothing is proved of NaN, an overflow or an underflow.
    """
    tiny = torch.finfo(x.dtype).tiny
    dual = (y * x).sum(-1) - 0.5 * (y * y).sum(-1)
    none = torch.where((y == x).all(-1), 0.0, torch.inf)
    gap = torch.where(primal < tiny, none, (primal - dual) / primal)
    # rounding can push an exact zero below
    return torch.where(primal.isfinite() & dual.isfinite(), gap.clamp_min(0), torch.inf)


def kkt_residual(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool = True) -> Tensor:
    """Largest violation of the optimality conditions per sample, (n,), in units of alpha.

    With c = D'(x - D s):  c_i = alpha sign(s_i) where s_i != 0;  c_i <= alpha (|c_i| <= alpha) where s_i = 0.
    """
    correlation = (x - codes @ D.T) @ D
    active = (correlation - alpha * codes.sign()).abs()
    inactive = ((correlation if nonnegative else correlation.abs()) - alpha).clamp_min(0)
    violation = torch.where(codes != 0, active, inactive).amax(-1) / alpha
    if nonnegative:
        violation = torch.where((codes < 0).any(-1), torch.inf, violation)
    return violation


def alpha_from_mean_loss(l1_weight: float, M: int, N: int) -> float:
    """alpha = lambda M / (2 N) turns the paper's loss into P.

    At this alpha,  mean (x - D s)^2 + lambda mean |s|  (means over all entries)  =  2/M times the mean P(s).
    """
    return l1_weight * M / (2 * N)


def mean_loss(D: Tensor, x: Tensor, codes: Tensor, l1_weight: float) -> Tensor:
    """The paper's loss: mean squared error + lambda mean |s|, one number for each leading index of codes."""
    residual = x - codes @ D.mT
    return residual.square().mean((-2, -1)) + l1_weight * codes.abs().mean((-2, -1))
