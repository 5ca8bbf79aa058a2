"""Reweighted L1: a LASSO solved again and again, with less penalty on the atoms that it used.

    s <- argmin 1/2 ||x - D s||^2 + alpha sum_i w_i |s_i|,   w_i <- epsilon / (|s_i| + epsilon),   w = 1 at first

It lowers  sum_i log(|s_i| + epsilon)  in place of ||s||_1, so that large codes shrink less and small ones go.
Candes, Wakin & Boyd, J. Fourier Anal. Appl. 14 (2008), section 2.2; their weights times epsilon, so that an atom
that is not used keeps the penalty alpha.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_number, check_alpha, check_signals, check_tol, same_kind
from amortgap.solvers._solution import Solution, joined, proof, stop_words
from amortgap.solvers.as_given import solve_as_given
from amortgap.solvers.policy import lasso
from amortgap.solvers.prepared import Prepared, prepare

NEAR = 0.8  # of its penalty: correlations from which on an atom belongs to the small problem


@torch.no_grad()
@same_kind
def reweighted(
    D: Any,
    x: Any,
    alpha: float,
    epsilon: float,
    *,
    rounds: int = 4,
    nonnegative: bool = True,
    tol: float = 1e-6,
) -> tuple[Solution, Tensor]:
    """Codes after so many rounds, and their weights (n, N).  D (M, N), x (n, M), epsilon > 0 in units of the codes.

    The Solution is that of the last round's convex problem: P with the returned weights, its duality gap, and the
    steps and operations of all rounds. The sum of logarithms is not convex, and nothing certifies its minimum. Each
    sample has weights, so a dictionary, of its own, and is solved by itself: on the atoms whose correlations come
    near their penalty, and again as long as another one's exceeds it.
    Raises ValueError as `solve`, for epsilon <= 0, and for rounds < 1.
    """
    given = prepare(D)
    x, alpha, tol = check_signals(given.D, x), check_alpha(alpha), check_tol(tol)
    epsilon = as_number(epsilon, "epsilon")
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"epsilon must be a finite number > 0, not {epsilon}")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a whole number >= 1, not {rounds!r}")
    options: dict[str, Any] = {"nonnegative": nonnegative, "tol": tol, "init": None}
    found = solve_as_given(lasso, given, x, alpha, **options)
    weights = torch.ones_like(found.codes, dtype=torch.float64)
    for _ in range(rounds):
        weights = epsilon / (found.codes.double().abs() + epsilon)
        rows = [slice(i, i + 1) for i in range(len(x))]
        parts = [_one(given, x[row], alpha, found.codes[row], weights[row][0], options) for row in rows]
        steps, flops = found.n_steps, found.flops
        found = functools.reduce(joined, parts) if parts else found
        found = dataclasses.replace(found, n_steps=found.n_steps + steps, flops=found.flops + flops)
    return found, weights


def _one(
    given: Prepared, x: Tensor, alpha: float, start: Tensor, weights: Tensor, options: dict[str, Any]
) -> Solution:
    """The sample x (1, M) with its weights (N,), on a few columns of D."""
    tol, nonnegative = options["tol"], options["nonnegative"]
    columns, target, penalty = given.D.double(), x.double(), alpha * weights

    def excess(codes: Tensor) -> Tensor:
        """Correlations with the residual in units of their penalties, (N,)."""
        match = ((target - codes.double() @ columns.T) @ columns)[0] / penalty
        return match if nonnegative else match.abs()

    first = excess(start)
    inside = (start != 0)[0] | (first > NEAR)
    inside[first.argmax()] = True
    steps, flops = torch.zeros(1, dtype=torch.long, device=x.device), 0
    while True:
        part = solve_as_given(
            lasso, Prepared(given.D[:, inside]), x, alpha, weights=weights[inside], **options
        )
        codes = torch.zeros_like(start)
        codes[:, inside] = part.codes
        steps, flops = steps + part.n_steps, flops + part.flops + 4 * columns.numel()
        # a tenth of tol above the penalty costs the gap no more than that
        more = ~inside & (excess(codes) > 1 + 0.1 * tol)
        if not more.any():
            break
        inside |= more
    value, gap = proof(given, x, codes, alpha, nonnegative, weights)
    reached = gap <= tol
    stop = part.stop if bool(reached) == bool(part.converged) else stop_words(reached, ~reached & False)
    return Solution(codes, value, gap, steps, reached, flops, part.method, stop)
