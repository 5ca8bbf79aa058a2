"""What a solver returns, how it certifies itself, and how a second method finishes what a first one left."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import best_dual, objective, relative_gap
from amortgap.solvers.prepared import Prepared, in_units, prepare

F = TypeVar("F", bound=Callable[..., "Solution"])

REACHED = "gap reached"
LIMIT = "step limit"
ROUNDING = "limited by rounding"


@dataclass(frozen=True, eq=False)
class Solution:
    """Codes with their certificate, sample by sample.

    codes (n, N): in the dtype and on the device of x.
    objective (n,): P(codes), float64; 1/2 ||x - D s||^2 for pursuits, ||s||_1 for basis pursuit.
    duality_gap (n,): relative gap, float64, an upper bound on (P - P*) / P. inf where the method has no
        certificate (OMP), 0 where all candidates were enumerated.
    n_steps (n,): iterations each sample took, in the unit its method names; of all methods that worked on it.
    converged (n,): duality_gap <= tol. Never "ran n steps".
    flops: operations done for all samples together, by the convention of amortgap.flops.
    method (n,): array of names, the method that made each sample's code.
    stop (n,): array of words, why that method stopped: "gap reached", "step limit", or "limited by rounding" where
        steps were left but the arithmetic could prove no smaller gap. Methods without a certificate name their own
        end.
    """

    codes: Tensor
    objective: Tensor
    duality_gap: Tensor
    n_steps: Tensor
    converged: Tensor
    flops: int
    method: np.ndarray
    stop: np.ndarray


def each(word: str, n: int) -> np.ndarray:
    """The same word for n samples; an array of objects, as words differ in length."""
    words = np.empty(n, dtype=object)
    words.fill(word)  # 15 times faster than np.full
    return words


def stop_words(converged: Tensor, at_limit: Tensor) -> np.ndarray:
    """Why each sample stopped, (n,): its gap was reached, its steps were used up, or rounding is in the way."""
    words, done = each(REACHED, len(converged)), converged.numpy(force=True)
    if not done.all():
        words[~done] = ROUNDING
        words[~done & at_limit.numpy(force=True)] = LIMIT
    return words


def finish(found: Solution, method: Callable[[Tensor], Solution]) -> Solution:
    """`found` with the samples that are not converged as `method` solves them, given their indices.

    Steps and FLOPs are the sums of both.
    """
    rows = (~found.converged).nonzero().squeeze(1)
    if len(rows) == 0:
        return found
    return merge(found, rows, method(rows))


def merge(found: Solution, rows: Tensor, rest: Solution) -> Solution:
    """`found` with `rest` in these rows.  Steps and FLOPs are the sums of both."""
    for name in ("codes", "objective", "duality_gap", "converged"):
        old, new = getattr(found, name), getattr(rest, name)
        old[rows] = new.to(old.dtype)
    at = rows.numpy(force=True)
    found.method[at], found.stop[at] = rest.method, rest.stop
    found.n_steps[rows] += rest.n_steps
    return dataclasses.replace(found, flops=found.flops + rest.flops)


def unit_free(method: F) -> F:
    """`method(D, x, alpha, init=None, ...)`, given all of these in units, with its answer in those of x.

    A code that over- or underflows in the dtype of x is not the code that was proved, and is proved again.
    """

    @functools.wraps(method)
    def wrapped(
        D: Tensor | Prepared, x: Tensor, alpha: float, *, init: Tensor | None = None, **options: Any
    ) -> Solution:
        given = prepare(D)
        signals, level, unit, size = in_units(given, x, alpha)
        start = None if init is None else init / unit
        found = method(given.in_units(), signals, level, init=start, **options)
        codes, value, gap = found.codes * unit, found.objective * size * size, found.duality_gap
        lost = (~(codes / unit == found.codes).all(1)).nonzero().squeeze(1)
        converged, stop = found.converged, found.stop
        if len(lost):
            value[lost], gap[lost] = proof(D, x[lost], codes[lost], alpha, options["nonnegative"])
            converged[lost] = gap[lost] <= options["tol"]
            stop[lost[~converged[lost]].numpy(force=True)] = ROUNDING
        return dataclasses.replace(
            found, codes=codes, objective=value, duality_gap=gap, converged=converged, stop=stop
        )

    return cast(F, wrapped)


def joined(first: Solution, then: Solution) -> Solution:
    """The solutions of two groups of samples, one group after the other."""
    parts: dict[str, Any] = {}
    for name, part in vars(first).items():
        other = getattr(then, name)
        if isinstance(part, Tensor):
            parts[name] = torch.cat([part, other])
        else:
            parts[name] = part + other if isinstance(part, int) else np.concatenate([part, other])
    return Solution(**parts)


def certify(
    D: Tensor | Prepared,
    x: Tensor,
    codes: Tensor,
    alpha: float,
    *,
    nonnegative: bool,
    tol: float,
    n_steps: Tensor,
    at_limit: Tensor,
    flops: int,
    method: str,
) -> Solution:
    """A Solution with the `proof` of its codes.  at_limit (n,): whose steps were used up.

    Codes that are not finite are replaced by zeros.
    """
    codes = torch.where(codes.isfinite().all(1, keepdim=True), codes, 0)
    value, gap = proof(D, x, codes, alpha, nonnegative)
    converged = gap <= tol
    stop = stop_words(converged, at_limit)
    return Solution(codes.to(x.dtype), value, gap, n_steps, converged, int(flops), each(method, len(x)), stop)


def proof(
    D: Tensor | Prepared,
    x: Tensor,
    codes: Tensor,
    alpha: float | Tensor,
    nonnegative: bool,
    weights: Tensor | None = None,
    l2: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """P of the codes as returned, which are `codes` rounded to x's dtype, and their relative gap: (n,), float64.

    The dual point is built from the codes before rounding: any feasible dual point certifies any primal point, and
    rounding of the codes costs the primal only the square of the rounding error. All is computed in float64, in
    units in which D and alpha are about one, and what its rounding can amount to is added to the gap:
    |fl(a.b) - a.b| <= (M + 1) eps ||a|| ||b||  (Higham, Accuracy and Stability of Numerical Algorithms, eq. 3.5).
    """
    given = prepare(D)
    highest = float(torch.as_tensor(alpha, dtype=torch.float64).max()) if len(x) else 1.0
    x64, _, unit, size = in_units(given, x.double(), highest)
    D64, longest = given.D.double() / given.length, given.longest
    level, ridge = alpha / given.length / size, l2 / given.length / given.length
    exact, rounded = codes.double() / unit, codes.to(x.dtype).double() / unit
    weights = None if weights is None else weights.double()
    residual = x64 - exact @ D64.T
    eps = torch.finfo(torch.float64).eps
    terms = len(D64) + 4 + (exact != 0).sum(1)
    norm = torch.linalg.vector_norm(residual, dim=1)
    lightest = 1.0 if weights is None else weights.min()
    y, lost = best_dual(
        D64, x64, residual, exact, level, nonnegative, weights, ridge, terms * eps * norm * longest / lightest
    )
    reach = torch.linalg.vector_norm(x64, dim=1) + longest * rounded.abs().sum(1)
    primal = objective(D64, x64, rounded, level, weights=weights, l2=ridge)
    gap = relative_gap(primal, x64, y, lost + terms * eps * norm * reach)
    if nonnegative:
        gap = torch.where((rounded < 0).any(1), torch.inf, gap)
    return primal * size * size, gap


def as_returned(given: Prepared, x: Tensor, alpha: float, found: Solution, tol: float) -> Solution:
    """What a kernel found, with exact objectives where its own, of first order in the codes' rounding, may be off.

    That is where 1/2 ||D d||^2, |d_i| <= eps |s_i|, can exceed 1e-10 P or the rounding of the proof tol / 100:
    with  ||s||_1 <= P / alpha  and  ||r||^2 <= 2 P,  only where P ||d_i||^2 / alpha^2 is large, so for tiny alpha.
    There the kernel's dual value is kept, less its rounding.
    """
    M, eps = given.shape[0], torch.finfo(torch.float64).eps
    _, level, unit, size = in_units(given, x[:0], alpha)
    spread = found.objective / size / size * (given.longest / level) ** 2
    large = 2e-10 / torch.finfo(x.dtype).eps ** 2, 0.5 * (0.01 * tol / (eps * (M + 8))) ** 2
    rows = (~(spread <= min(large))).nonzero().squeeze(1)
    if len(rows) == 0:
        return found
    signals = x[rows].double() / size
    D, codes = given.D.double() / given.length, found.codes[rows].double() / unit
    residual = signals - codes @ D.T
    primal = objective(D, signals, codes, level)
    dual = found.objective[rows] / size / size * (1 - found.duality_gap[rows])
    norm = torch.linalg.vector_norm(residual, dim=1)
    reach = torch.linalg.vector_norm(signals, dim=1) + given.longest * codes.abs().sum(1)
    # of Q and P, and of the largest correlation, whose relative error Q has too
    rounding = (M + 8) * eps * norm * (reach + 2 * primal * given.longest / level)
    gap = ((primal - dual).clamp_min(0) + rounding) / primal
    gap = torch.where(gap.isfinite(), gap, torch.inf)
    found.objective[rows], found.duality_gap[rows] = primal * size * size, gap
    found.converged[rows] = gap <= tol
    found.stop[rows[gap > tol].numpy(force=True)] = ROUNDING
    return found


def uncertified(
    D: Tensor, x: Tensor, codes: Tensor, *, n_steps: Tensor, stop: np.ndarray, flops: int, method: str
) -> Solution:
    """A Solution of a greedy method: objective 1/2 ||x - D s||^2, gap inf, never called converged.

    flops: without those of the objective.
    """
    n = len(x)
    residual = (x - codes @ D.T).double()
    return Solution(
        codes,
        objective=0.5 * residual.square().sum(1),
        duality_gap=torch.full((n,), torch.inf, dtype=torch.float64, device=x.device),
        n_steps=n_steps,
        converged=torch.zeros(n, dtype=torch.bool, device=x.device),
        flops=int(flops) + 2 * n * D.numel(),
        method=each(method, n),
        stop=stop,
    )
