"""The (nonnegative) LASSO, its dual, and what certifies a solution.

    P(s) = 1/2 ||x - D s||^2 + alpha sum_i w_i |s_i| + l2/2 ||s||^2,   s >= 0 in the nonnegative case      (primal)
    Q(y) = y.x - 1/2 ||y||^2,   |d_i.y| <= alpha w_i  (d_i.y <= alpha w_i in the nonnegative case)         (dual)

w = 1 and l2 = 0 is the LASSO. With l2 > 0 (the elastic net) no y is infeasible:  Q(y) loses
sum_i max(0, |d_i.y| - alpha w_i)^2 / (2 l2)  instead, because the same problem on [D; sqrt(l2) I] and [x; 0] is a
LASSO, whose second block of dual variables is best chosen so.

Every function works sample by sample: D (M, N), x (n, M), codes (n, N) -> (n,), with alpha a number or (n,),
weights (N,) > 0 or None for ones, l2 >= 0. Tensors or numpy arrays go in, the same kind comes out.
Tibshirani, J. R. Stat. Soc. B 58 (1996); the gap as a stopping rule: Kim et al., IEEE JSTSP 1 (2007), eq. 11;
Zou & Hastie, J. R. Stat. Soc. B 67 (2005), lemma 1, for l2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap._check import (
    as_number,
    check_alpha,
    check_count,
    same_kind,
)


@same_kind
def objective(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    *,
    weights: Tensor | None = None,
    l2: float = 0.0,
) -> Tensor:
    """P(s) per sample, (n,)."""
    return _primal(x - codes @ D.T, codes, alpha, weights, l2)


def _primal(
    residual: Tensor, codes: Tensor, alpha: float | Tensor, weights: Tensor | None, l2: float
) -> Tensor:
    sizes = codes.abs()
    length = sizes.sum(-1) if weights is None else sizes @ weights
    value = 0.5 * residual.square().sum(-1) + alpha * length
    return value + 0.5 * l2 * codes.square().sum(-1) if l2 else value


@same_kind
def dual_point(
    D: Tensor, x: Tensor, codes: Tensor, alpha: float | Tensor, nonnegative: bool = True
) -> Tensor:
    """The LASSO's feasible y = c (x - D s), (n, M), with the c >= 0 that makes Q(y) largest.

    Q(c r) is a parabola in c with its top at r.x / ||r||^2; feasibility bounds c by alpha / max(D'r)
    (by alpha / max|D'r| from both sides in the signed case).
    """
    return best_dual(D, x, x - codes @ D.T, codes, alpha, nonnegative)[0]


def best_dual(
    D: Tensor,
    x: Tensor,
    residual: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    nonnegative: bool = True,
    weights: Tensor | None = None,
    l2: float = 0.0,
    guard: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor | float]:
    """y = c residual (n, M) that makes Q largest, and what Q(y) loses to l2, (n,) or 0.

    guard, (n,): added to the largest |d_i.r| / w_i, as a bound on its rounding error.
    """
    correlation = residual @ D
    tiny = torch.finfo(x.dtype).tiny  # and not 0: alpha / -0.0 is -inf
    square, match = residual.square().sum(-1), (residual * x).sum(-1)
    # of [D; sqrt(l2) I]: -sqrt(l2) s is the residual's second block
    both = square + l2 * codes.square().sum(-1) if l2 else square
    steep = correlation - l2 * codes if l2 else correlation
    steep = steep if weights is None else steep / weights
    # the residual itself where its square underflows
    top = torch.where(both < tiny, 1, match / both)
    largest = (steep.amax(-1) if nonnegative else steep.abs().amax(-1)) + guard
    # huge where nothing binds: then the top of the parabola is feasible
    bound = alpha / largest.clamp_min(tiny)
    # a negative multiple is feasible only where -D'r <= alpha / |c|; c >= 0 always is, and loses nothing at
    # the optimum, where c = 1
    scale = torch.minimum(top.clamp_min(0), bound)
    if not l2:
        return scale.unsqueeze(-1) * residual, 0.0
    lost = 0.5 * scale.square() * (both - square)
    level = torch.as_tensor(alpha, dtype=x.dtype, device=x.device).unsqueeze(-1)
    excess = (correlation if nonnegative else correlation.abs()) - (
        level if weights is None else level * weights
    )
    other = excess.clamp_min(0).square().sum(-1) / (2 * l2)
    better = match - 0.5 * square - other > scale * match - 0.5 * scale.square() * square - lost
    return torch.where(better, 1, scale).unsqueeze(-1) * residual, torch.where(better, other, lost)


@same_kind
def duality_gap(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    nonnegative: bool = True,
    *,
    weights: Tensor | None = None,
    l2: float = 0.0,
) -> Tensor:
    """Relative duality gap (P(s) - Q(y)) / P(s) per sample, (n,): an upper bound on (P(s) - P*) / P(s).

    alpha > 0. Zero for zero codes of x = 0; inf where P(s) underflows, unless zero codes are seen to be optimal
    without it. A code with a negative entry is infeasible in the nonnegative case: gap inf.
    Raises ValueError for what is not a tensor or an array of numbers, and for shapes that do not fit.
    """
    for value, name in ((D, "D"), (x, "x"), (codes, "codes")):
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != 2 or 0 in D.shape:
            raise ValueError(f"{name} must be a matrix of floating-point numbers")
    if codes.shape != (len(x), D.shape[1]) or x.shape[1] != D.shape[0]:
        raise ValueError(f"D {tuple(D.shape)}, x {tuple(x.shape)} and codes {tuple(codes.shape)} do not fit")
    if not isinstance(alpha, Tensor):
        alpha = check_alpha(alpha)
    elif alpha.ndim and alpha.shape != (len(x),):
        raise ValueError(f"alpha must be one number or have shape ({len(x)},), not {tuple(alpha.shape)}")
    if weights is not None and (not isinstance(weights, Tensor) or weights.shape != D.shape[1:]):
        raise ValueError(f"weights must be an array of shape ({D.shape[1]},)")
    return measure(D, x, codes, alpha, nonnegative, weights, as_number(l2, "l2"))[1]


def measure(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    nonnegative: bool,
    weights: Tensor | None = None,
    l2: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """`objective` and `duality_gap` from one residual, as solvers want them in their loops."""
    residual = x - codes @ D.T
    primal = _primal(residual, codes, alpha, weights, l2)
    y, lost = best_dual(D, x, residual, codes, alpha, nonnegative, weights, l2)
    gap = relative_gap(primal, x, y, lost)
    return primal, torch.where((codes < 0).any(-1), torch.inf, gap) if nonnegative else gap


def relative_gap(primal: Tensor, x: Tensor, y: Tensor, lost: Tensor | float = 0.0) -> Tensor:
    """(P - Q(y)) / P for primal values P (n,) and dual points y (n, M), of which Q loses `lost` (n,).

    Where P is below the smallest normal number: 0 if y = x, as for zero codes that are optimal, and else inf.
    inf too where P or Q(y) is not a finite number: nothing is proved of NaN, an overflow or an underflow.
    """
    tiny = torch.finfo(x.dtype).tiny
    dual = (y * x).sum(-1) - 0.5 * (y * y).sum(-1) - lost
    none = torch.where((y == x).all(-1), 0.0, torch.inf)
    gap = torch.where(primal < tiny, none, (primal - dual) / primal)
    # rounding can push an exact zero below
    return torch.where(primal.isfinite() & dual.isfinite(), gap.clamp_min(0), torch.inf)


@same_kind
def kkt_residual(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    nonnegative: bool = True,
    *,
    weights: Tensor | None = None,
    l2: float = 0.0,
) -> Tensor:
    """Largest violation of the optimality conditions per sample, (n,), in units of alpha w_i.

    With c = D'(x - D s) - l2 s:  c_i = alpha w_i sign(s_i) where s_i != 0;  c_i <= alpha w_i (|c_i| <= alpha w_i)
    where s_i = 0.
    """
    correlation = (x - codes @ D.T) @ D - l2 * codes
    correlation = correlation if weights is None else correlation / weights
    level = torch.as_tensor(alpha, dtype=x.dtype, device=x.device).unsqueeze(-1)
    active = (correlation - level * codes.sign()).abs()
    inactive = ((correlation if nonnegative else correlation.abs()) - level).clamp_min(0)
    violation = (torch.where(codes != 0, active, inactive) / level).amax(-1)
    if nonnegative:
        violation = torch.where((codes < 0).any(-1), torch.inf, violation)
    return violation


def alpha_from_mean_loss(l1_weight: float, M: int, N: int) -> float:
    """alpha = lambda M / (2 N) turns the paper's loss into P.

    At this alpha,  mean (x - D s)^2 + lambda mean |s|  (means over all entries)  =  2/M times the mean P(s).
    """
    return as_number(l1_weight, "l1_weight") * check_count(M, "M") / (2 * check_count(N, "N"))


def mean_loss(D: Tensor, x: Tensor, codes: Tensor, l1_weight: float) -> Tensor:
    """The paper's loss: mean squared error + lambda mean |s|, one number for each leading index of codes."""
    residual = x - codes @ D.mT
    return residual.square().mean((-2, -1)) + l1_weight * codes.abs().mean((-2, -1))
