"""The LASSO over many alphas: a warm-started path, the alpha for a wanted sparsity or fit, safe screening.

Efron, Hastie, Johnstone & Tibshirani, Ann. Stat. 32 (2004) describe the path; Fercoq, Gramfort & Salmon,
Mind the duality gap, ICML 2015, the screening.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_alpha, check_signals, check_tol, same_kind
from amortgap.solvers import policy
from amortgap.solvers._solution import Solution
from amortgap.solvers.as_given import solve_as_given
from amortgap.solvers.prepared import prepare, prepare_for
from amortgap.solvers.working_set import expect
from amortgap.solvers.working_set import refusal as no_working_set

CALLS = 6  # solutions that a search for alpha takes, about
COLUMNS = 2048  # of a dictionary that are in float64 at a time


@same_kind
def alpha_max(D: Any, x: Any, nonnegative: bool = True) -> Tensor:
    """The smallest alpha at which each sample's solution is zero, (n,):  max_i d_i.x  (max_i |d_i.x| if signed)."""
    given, x = prepare_for(D, x)
    match = x @ given.D
    return match.amax(1).clamp_min(0) if nonnegative else match.abs().amax(1)


@torch.no_grad()
@same_kind
def path(
    D: Any, x: Any, alphas: Sequence[float], *, nonnegative: bool = True, tol: float = 1e-6
) -> list[Solution]:
    """Solutions at each of `alphas`, in the order given, each started from the one before.

    Decreasing alphas make good starts. Methods are those of `policy` for warm starts. Raises ValueError as `solve`.
    """
    given = prepare(D)
    x, tol = check_signals(given.D, x), check_tol(tol)
    if isinstance(alphas, str) or not hasattr(alphas, "__len__") or getattr(alphas, "ndim", 1) != 1:
        raise ValueError(f"alphas must be a sequence of numbers, not {alphas!r}")
    found: list[Solution] = []
    for alpha in [check_alpha(a) for a in alphas]:
        start = found[-1].codes if found else None
        options: dict[str, Any] = {"nonnegative": nonnegative, "tol": tol, "init": start, "warm": True}
        found.append(solve_as_given(policy.lasso, given, x, alpha, **options))
    return found


@torch.no_grad()
def alpha_for(
    D: Any,
    x: Tensor,
    *,
    l0: float | None = None,
    fvu: float | None = None,
    nonnegative: bool = True,
    tol: float = 1e-4,
    accuracy: float = 0.01,
) -> float:
    """The alpha at which the solutions of x (n, M) on D (M, N) have this mean L0, or leave this share of
    sum ||x||^2 unexplained.

    Halving from the largest alpha_max, then regula falsi on log alpha and the log of what was found, with a
    bisection after each step that did not halve the interval, until the target is met within `accuracy` (relative)
    or alpha no longer moves: mean L0 is a step function. Raises ValueError unless exactly one target is given and
    it can be met: 0 < l0 <= min(M, N), 0 < fvu < 1, within alpha_max and 1e-6 of it.
    """
    given, x = prepare_for(D, x)
    if (l0 is None) == (fvu is None):
        raise ValueError("give one target, l0 or fvu")
    tol, accuracy = check_tol(tol), as_number(accuracy, "accuracy")
    if not 0 < accuracy < 1:
        raise ValueError(f"accuracy is a share between 0 and 1, not {accuracy}")
    if l0 is not None and not 0 < as_number(l0, "l0") <= min(given.shape):
        raise ValueError(f"a LASSO solution has between 0 and {min(given.shape)} active latents, not {l0}")
    if fvu is not None and not 0 < as_number(fvu, "fvu") < 1:
        raise ValueError(f"the unexplained share lies between 0 and 1, not {fvu}")
    high = float(alpha_max(given, x, nonnegative).max()) if len(x) else 0.0
    if high <= 0:
        raise ValueError("no atom fits any sample: the solution is zero for all alpha")
    low = least = 1e-6 * high
    if l0 is not None and no_working_set(x) is None:
        expect(given, CALLS * len(x), l0)
    ends: dict[float, float] = {}  # what was found at an alpha
    codes, share = None, 0.5
    while high / low > 1.001:
        # downwards from above until the target is crossed: dense solutions are slow
        alpha = max(least, high / 2) if low == least else high * (low / high) ** share
        codes = policy.lasso(given, x, alpha, nonnegative=nonnegative, tol=tol, init=codes, warm=True).codes
        if l0 is not None:
            target, found = l0, float((codes != 0).sum(1).double().mean())
            too_large = found < l0
        else:
            assert fvu is not None
            target, found = fvu, float((x - codes @ given.D.T).square().sum() / x.square().sum())
            too_large = found > fvu
        if abs(found - target) <= accuracy * target:
            return alpha
        ends[alpha], width = found, high / low
        low, high = (low, alpha) if too_large else (alpha, high)
        halved = (high / low) ** 2 <= width * 1.0001
        share = _crossing(ends.get(high, 0.0), ends.get(low, 0.0), target) if halved else 0.5
    if low == least:
        raise ValueError(f"the target is out of reach: still {found:.4g} at alpha = {alpha:.1e}")
    return (low * high) ** 0.5


def _crossing(first: float, last: float, target: float) -> float:
    """The share of the way from first to last at which the log of a straight course meets target, .1 to .9."""
    if first <= 0 or last <= 0 or first == last:
        return 0.5
    return min(0.9, max(0.1, math.log(target / first) / math.log(last / first)))


@torch.no_grad()
@same_kind
def screened(D: Any, x: Any, codes: Any, alpha: float, *, nonnegative: bool = True) -> Tensor:
    """bool (n, N): latents that are zero in every optimum, by the gap-safe sphere around codes' dual point.

    d_i.y + ||d_i|| sqrt(2 (P - Q)) < alpha (|d_i.y| if signed): the dual is 1-strongly concave, so its optimum
    lies within sqrt(2 (P - Q)) of y = c r, r = x - D s, where P - Q = 1/2 ||r - y||^2 + alpha ||s||_1 - s.D'y. The
    smaller the gap, the more is ruled out. All of it in float64, of D some columns at a time.
    nonnegative=True takes for granted, and does not look, that no code is below zero. One that is has no objective
    there: the gap comes out too small, and latents may be ruled out that an optimum uses. Clamp such codes first.
    """
    given, alpha = prepare(D), check_alpha(alpha)
    x, s = check_signals(given.D, x), as_tensor(codes, "codes").double()
    if s.shape != (len(x), given.shape[1]):
        raise ValueError(f"codes must have shape {(len(x), given.shape[1])}, not {tuple(s.shape)}")
    s, x = s.to(x.device), x.double()
    blocks, r = given.D.split(COLUMNS, dim=1), x.clone()
    for d, part in zip(blocks, s.split(COLUMNS, dim=1), strict=True):
        r -= part @ d.to(r).T
    match = torch.cat([r @ d.to(r) for d in blocks], 1)
    largest = match.amax(1) if nonnegative else match.abs().amax(1)
    tiny = torch.finfo(x.dtype).tiny
    top = (r * x).sum(1) / r.square().sum(1).clamp_min(tiny)
    c = torch.minimum(top.clamp_min(0), alpha / largest.clamp_min(tiny))[:, None]
    match *= c
    gap = 0.5 * ((1 - c) * r).square().sum(1) + (alpha * s.abs() - s * match).sum(1)
    radius = (2 * gap.clamp_min(0)).sqrt()[:, None] * given.lengths.to(x.device)
    return (match if nonnegative else match.abs()) + radius < alpha
