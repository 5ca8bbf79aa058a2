"""Cyclic coordinate descent on the Gram matrix, one sweep over all latents a step, many samples at once.

    s_i <- prox_{alpha / G_ii}(s_i + c_i / G_ii),   c <- c - (change of s_i) G_i,   c = D'(x - D s),  G = D'D

Friedman, Hastie, Hofling & Tibshirani, Ann. Appl. Stat. 1 (2007), eq. 8; the covariance updates are those of
J. Stat. Softw. 33 (2010), section 2.2.
"""

from __future__ import annotations

from torch import Tensor

from amortgap.solvers._iterate import Costs, State, iterate, shrink, working_dtype
from amortgap.solvers._solution import Solution, unit_free
from amortgap.solvers._threads import alone
from amortgap.solvers.prepared import Prepared, prepare


@unit_free
def coordinate_descent(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int = 100_000,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  Arguments as in fista; a step is a sweep."""
    given = prepare(D)
    D_ = given.D.to(working_dtype(x, tol))
    M, N = given.shape
    gram = alone(lambda: D_.T @ D_)

    def step(state: State) -> State:
        s, c = state[0].clone(), state[1].clone()
        for i in range(N):
            size = gram[i, i]
            new = shrink(s[:, i] + c[:, i] / size, alpha / size, nonnegative)
            c -= (new - s[:, i]).unsqueeze(1) * gram[i]
            s[:, i] = new
        return s, c

    return iterate(
        given,
        x,
        alpha,
        lambda target, s: (s, target @ D_ - s @ gram),
        step,
        nonnegative=nonnegative,
        tol=tol,
        init=init,
        max_steps=max_steps,
        costs=Costs(shared=2 * M * N * N, start=2 * N * (M + N), step=2 * N * N),
        method="coordinate_descent",
    )
