"""FISTA with adaptive restart for the (nonnegative) LASSO, many samples at once.

    s_{k+1} = prox(y_k - (D'D y_k - D'x) / L),   y_{k+1} = s_{k+1} + (t_k - 1) / t_{k+1} (s_{k+1} - s_k)

with L the largest eigenvalue of D'D and prox(v) = max(v - alpha/L, 0), soft thresholding in the signed case.
Beck & Teboulle, SIAM J. Imaging Sci. 2 (2009), eq. 4.1-4.3. The momentum of a sample is dropped whenever it
points uphill (O'Donoghue & Candes, Found. Comput. Math. 15 (2015), gradient scheme).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from amortgap.solvers._iterate import Costs, State, iterate, shrink, working_dtype
from amortgap.solvers._pivot import suits_chip
from amortgap.solvers._solution import LIMIT, Solution, each, merge, unit_free
from amortgap.solvers._threads import alone
from amortgap.solvers.prepared import Prepared, prepare
from amortgap.solvers.refinement import refine

FIRST = 1000  # steps, far more than an ordinary sample takes
MORE = 4


@unit_free
def fista(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int = 50_000,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    init (n, N): starting codes (default 0).  A sample that is not done after max_steps has converged=False.
    On a CPU, samples that are not done after FIRST steps, and again each time they have taken MORE times as many
    more, are handed to `refine`: for alpha far below alpha_max it finds the optimum from a code that is still far
    from a proof. n_steps counts its refinements too.
    On a CPU, codes have the same bits on any number of threads. A sample alone and in a batch is not summed in the
    same order: its steps differ by rounding, and its two objectives by at most tol.
    """
    given = prepare(D)
    D_ = given.D.to(working_dtype(x, tol))
    M, N = D.shape
    gram = alone(lambda: D_.T @ D_) if N <= 2 * M else None  # N^2 against 2 M N multiplications a step
    eta = 1 / given.eigenvalue.to(D_.dtype)

    def begin(target: Tensor, s: Tensor) -> State:
        return s, s, torch.ones(len(s), 1, dtype=s.dtype, device=s.device), target, target @ D_

    def step(state: State) -> State:
        s, y, t, target, correlation = state
        if suits_chip(y):
            from amortgap.solvers._fista_on_chip import step_on_chip

            product = y @ gram if gram is not None else (y @ D_.T) @ D_
            return *step_on_chip(s, y, t, product, correlation, eta, alpha, nonnegative), target, correlation
        ascent = correlation - y @ gram if gram is not None else (target - y @ D_.T) @ D_
        new = shrink(y + eta * ascent, eta * alpha, nonnegative)
        move = new - s
        t = torch.where(((y - new) * move).sum(1, keepdim=True) > 0, 1, t)  # restart where uphill
        t_next = (1 + (1 + 4 * t * t).sqrt()) / 2
        return new, new + (t - 1) / t_next * move, t_next, target, correlation

    # D'D, and D D' or D'D for its eigenvalue
    shared = (2 * M * N * N if gram is not None else 0) + 2 * M * N * min(M, N)
    costs = Costs(shared, start=2 * M * N, step=2 * N * N if gram is not None else 4 * M * N)

    def descend(rows: Tensor, start: Tensor | None, steps: int, costs: Costs) -> Solution:
        options: dict[str, Any] = {"nonnegative": nonnegative, "tol": tol, "init": start, "max_steps": steps}
        return iterate(given, x[rows], alpha, begin, step, costs=costs, method="fista", **options)

    everything = torch.arange(len(x), device=x.device)
    if x.is_cuda or max_steps <= FIRST:
        return descend(everything, init, max_steps, costs)
    found, done = descend(everything, init, FIRST, costs), FIRST
    while len(left := (~found.converged).nonzero().squeeze(1)) and done < max_steps:
        slow = torch.from_numpy(found.stop[left.numpy()] == LIMIT)
        settled, exact = refine(given, x[left], alpha, found.codes[left], nonnegative=nonnegative, tol=tol)
        found = merge(found, left[settled], dataclasses.replace(exact, method=each("fista", len(settled))))
        slow[settled] = False
        left, more = left[slow], min(MORE * done, max_steps - done)
        if len(left) == 0:
            break
        found = merge(found, left, descend(left, found.codes[left], more, costs._replace(shared=0)))
        done += more
    return found
