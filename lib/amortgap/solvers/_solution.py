"""What a solver returns, how it certifies itself, and how a second method finishes what a first one left."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import dual_point, objective, relative_gap

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
    rest = method(rows)
    for name in ("codes", "objective", "duality_gap", "converged"):
        old, new = getattr(found, name), getattr(rest, name)
        old[rows] = new.to(old.dtype)
    at = rows.numpy(force=True)
    found.method[at], found.stop[at] = rest.method, rest.stop
    found.n_steps[rows] += rest.n_steps
    return dataclasses.replace(found, flops=found.flops + rest.flops)


def certify(
    D: Tensor,
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
    """A Solution whose gap holds for the codes as returned, rounding to x's dtype included.

    The dual point is built from the codes before rounding, in float64: any feasible dual point certifies any
    primal point, and float32 rounding of the codes costs the primal only the square of the rounding error.
    at_limit (n,): whose steps were used up.
    """
    D64, x64 = D.double(), x.double()
    rounded = codes.to(x.dtype)
    primal = objective(D64, x64, rounded.double(), alpha)
    y = dual_point(D64, x64, codes.double(), alpha, nonnegative)
    gap = relative_gap(primal, x64, y)
    if nonnegative:
        gap = torch.where((rounded < 0).any(-1), torch.inf, gap)
    converged = gap <= tol
    stop = stop_words(converged, at_limit)
    return Solution(rounded, primal, gap, n_steps, converged, int(flops), each(method, len(x)), stop)


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
