"""ISTA, the proximal gradient method for the (nonnegative) LASSO: FISTA without momentum, for comparison.

    s_{k+1} = prox(s_k + D'(x - D s_k) / L),   L the largest eigenvalue of D'D

Daubechies, Defrise & De Mol, Comm. Pure Appl. Math. 57 (2004). Converges slowly where columns are correlated.
"""

from __future__ import annotations

from torch import Tensor

from amortgap.solvers._iterate import Costs, State, iterate, shrink, working_dtype
from amortgap.solvers._solution import Solution, unit_free
from amortgap.solvers.prepared import Prepared, prepare


@unit_free
def ista(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int = 1_000_000,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  Arguments as in fista."""
    given = prepare(D)
    D_ = given.D.to(working_dtype(x, tol))
    M, N = D.shape
    eta = 1 / given.eigenvalue.to(D_.dtype)

    def step(state: State) -> State:
        s, target = state
        return shrink(s + eta * ((target - s @ D_.T) @ D_), eta * alpha, nonnegative), target

    return iterate(
        given,
        x,
        alpha,
        lambda target, s: (s, target),
        step,
        nonnegative=nonnegative,
        tol=tol,
        init=init,
        max_steps=max_steps,
        costs=Costs(shared=2 * M * N * min(M, N), start=0, step=4 * M * N),
        method="ista",
    )
