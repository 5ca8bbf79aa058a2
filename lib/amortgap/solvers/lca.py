"""The locally competitive algorithm: leaky integrators that inhibit each other.

    u <- u + eta (D'x - u - (D'D - I) a),   a = prox(u) = max(u - alpha, 0)   (soft thresholding if signed)

A fixed point has u - a = alpha sign(a) on active latents and D'x - D'D a = u - a throughout, which are the
LASSO's optimality conditions. Rozell, Johnson, Baraniuk & Olshausen, Neural Comput. 20 (2008), eq. 3.2; the
paper's language-model experiment uses it. eta = 1 / max(1, L) keeps the explicit Euler step stable.
"""

from __future__ import annotations

from torch import Tensor

from amortgap.solvers._iterate import Costs, State, iterate, shrink, working_dtype
from amortgap.solvers._solution import Solution, unit_free
from amortgap.solvers.prepared import Prepared, prepare


@unit_free
def lca(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int = 1_000_000,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  Arguments as in fista; init sets the membranes u."""
    given = prepare(D)
    D_ = given.D.to(working_dtype(x, tol))
    M, N = D.shape
    eta = (1 / given.eigenvalue.clamp_min(1)).to(D_.dtype)

    def begin(target: Tensor, s: Tensor) -> State:
        return s, s + alpha * s.sign(), target

    def step(state: State) -> State:
        a, u, target = state
        u = u + eta * ((target - a @ D_.T) @ D_ - u + a)
        return shrink(u, alpha, nonnegative), u, target

    return iterate(
        given,
        x,
        alpha,
        begin,
        step,
        nonnegative=nonnegative,
        tol=tol,
        init=init,
        max_steps=max_steps,
        costs=Costs(shared=2 * M * N * min(M, N), start=0, step=4 * M * N),
        method="lca",
    )
