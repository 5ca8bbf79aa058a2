"""One door for every method: the problem as it was asked, made a plain LASSO in one dtype, and certified as asked.

    P(s) = 1/2 ||x - D s||^2 + alpha sum_i w_i |s_i| + l2/2 ||s||^2   is, with  t = w s / a,  a = alpha / max alpha,

    a^2 ( 1/2 ||x~ - D~ t||^2 + (max alpha) ||t||_1 ),    D~ = [D; sqrt(l2) I] / w,   x~ = [x; 0] / a

for each sample, so that all methods solve it. Zou & Hastie, J. R. Stat. Soc. B 67 (2005), lemma 1, for l2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_alpha
from amortgap.solvers._solution import REACHED, ROUNDING, Solution, proof
from amortgap.solvers.prepared import Prepared, prepare

MEMORY = 4 * 2**30  # bytes that D~ may take
#: Of tol, what a method is asked to reach, so that rounding on the way back does not spoil it.
SHARE = 0.9


def solve_as_given(
    solver: Callable[..., Solution],
    given: Prepared,
    x: Tensor,
    alpha: float | Tensor,
    *,
    weights: Tensor | None = None,
    l2: float = 0.0,
    nonnegative: bool,
    tol: float,
    init: Tensor | None,
    **options: Any,
) -> Solution:
    """`solver`'s codes in the dtype of x with objective and gap of the given D, x, alpha (number or (n,)), weights
    (N,) and l2. The method works in the longest dtype of D and x, in float32 at least, and in float64 with options.

    Raises ValueError where codes or P are beyond the range of their dtypes, or D~ takes more than 4 GiB.
    """
    options |= {"nonnegative": nonnegative, "tol": tol}
    asked = isinstance(alpha, Tensor) or weights is not None or l2 > 0
    work = torch.float64 if asked else torch.promote_types(given.D.dtype, x.dtype)
    work = torch.promote_types(work, torch.float32)
    if not asked and x.dtype == work:
        found = solver(given.to(work), x, alpha, init=init, **options)
        return _in_range(found)
    scale = torch.ones((), dtype=work, device=x.device)
    problem, signals, level = given.to(work), x.to(work), alpha
    if isinstance(alpha, Tensor):
        level = float(alpha.max()) if len(alpha) else 1.0
        scale = (alpha / level).unsqueeze(1)
        signals = signals / scale
    if weights is not None or l2:
        problem, signals = _rows_below(problem.D, signals, weights, l2)
        scale = scale if weights is None else scale / weights
    start = None if init is None else init.to(work) / scale
    options["tol"] = SHARE * tol
    found = solver(problem, signals, level, init=start, **options)
    codes = found.codes.to(torch.float64) * scale
    value, gap = proof(given, x, codes, alpha, nonnegative, weights, l2)
    reached = gap <= tol
    stop = found.stop.copy()
    stop[(found.converged & ~reached).numpy(force=True)] = ROUNDING
    stop[reached.numpy(force=True)] = REACHED
    return _in_range(
        dataclasses.replace(
            found,
            codes=codes.to(x.dtype),
            objective=value,
            duality_gap=gap,
            converged=reached,
            stop=stop,
            flops=found.flops + 6 * len(x) * given.D.numel(),
        )
    )


def _rows_below(D: Tensor, x: Tensor, weights: Tensor | None, l2: float) -> tuple[Prepared, Tensor]:
    """D~ and [x; 0]."""
    M, N = D.shape
    if l2:
        if (M + N) * N * D.itemsize > MEMORY:
            raise ValueError(f"l2 adds N = {N} rows to D, which takes more than {MEMORY >> 30} GiB")
        D = torch.cat([D, math.sqrt(l2) * torch.eye(N, dtype=D.dtype, device=D.device)])
        x = torch.nn.functional.pad(x, (0, N))
    return prepare(D if weights is None else D / weights), x


def _in_range(found: Solution) -> Solution:
    codes = found.codes
    if not math.isfinite(float(codes.sum())) and not codes.isfinite().all():
        raise ValueError(
            f"the codes are beyond the range of {codes.dtype}; multiply D, or divide x and alpha, by a power of ten"
        )
    if not found.objective.isfinite().all():
        raise ValueError("P is beyond the range of float64; divide x and alpha by a power of ten")
    return found


def check_alphas(alpha: Any, n: int) -> float | Tensor:
    """alpha, one number or an array (n,) of them, all finite and positive, or ValueError."""
    if getattr(alpha, "ndim", 0) == 0:
        return check_alpha(alpha)
    alphas = as_tensor(alpha, "alpha").detach().double()
    if alphas.shape != (n,):
        raise ValueError(f"alpha must be one number or have shape ({n},), not {tuple(alphas.shape)}")
    if not (alphas > 0).all():
        raise ValueError("every alpha must be > 0")
    return alphas


def check_weights(weights: Any, N: int) -> Tensor | None:
    """weights (N,), finite and positive, in float64, or None, or ValueError."""
    if weights is None:
        return None
    weights = as_tensor(weights, "weights").detach().double()
    if weights.shape != (N,):
        raise ValueError(f"weights must have shape ({N},), not {tuple(weights.shape)}")
    if not (weights > 0).all():
        raise ValueError("every weight must be > 0: nothing certifies the code of an atom without penalty")
    return weights


def check_l2(l2: Any) -> float:
    """l2 as a float, finite and >= 0, or ValueError."""
    number = as_number(l2, "l2")
    if not 0 <= number < math.inf:
        raise ValueError(f"l2 must be a finite number >= 0, not {number}")
    return number
