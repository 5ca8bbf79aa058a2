"""Homotopy (LARS) for the (nonnegative) LASSO: follow the piecewise linear path of solutions to its exact end.

While the active set A and its signs g stay, lowering lam by t moves  s_A by t H w  and  c = D'(x - D s)  by
-t G g H w,  with G = D'D, H the inverse of G on A (signs included) and w the weights. The path bends where an
atom reaches |c_i| = w_i lam and enters A, or where an active coefficient reaches zero and leaves.

Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20 (2000); Efron, Hastie, Johnstone & Tibshirani, Ann. Stat. 32
(2004). Ties, such as repeated columns, are broken by charging atom i  lam w_i |s_i|  with fixed w_i between 1 and
1 + 1e-10; the end is solved again with w = 1 and certified.

The first call compiles for about 5 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import Solution, certify
from amortgap.solvers._threads import share
from amortgap.solvers.fista import fista

MEMORY = 4 * 2**30  # bytes the Gram matrix may take; beyond that fista, which needs none
TIES = 1e-10  # relative spread of the weights: far above rounding, far below any tolerance


def homotopy(
    D: Tensor,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    n_steps counts the bends of the path (at most max_steps, by default 20 min(M, N) + 200). init is ignored:
    the path starts at zero. Samples whose end is not certified, because the active Gram is too
    ill-conditioned, go on to `fista` from there, as do CUDA tensors and Gram matrices
    (8 N^2 bytes) beyond 4 GiB. Runs on torch.get_num_threads() threads; all arithmetic is float64.
    """
    M, N = D.shape
    if x.device.type != "cpu" or 8 * N * N > MEMORY:
        return fista(D, x, alpha, nonnegative=nonnegative, tol=tol, init=init)
    limit = 20 * min(M, N) + 200 if max_steps is None else max_steps
    codes, _, steps, flops = follow_path(D, x, alpha, nonnegative, limit, multipliers=False)
    found = certify(
        D, x, codes, alpha, nonnegative=nonnegative, tol=tol, n_steps=steps, flops=flops, method="homotopy"
    )
    todo = (~found.converged).nonzero().squeeze(1)
    if len(todo) == 0 or max_steps is not None:
        return found
    rest = fista(D, x[todo], alpha, nonnegative=nonnegative, tol=tol, init=codes[todo].to(x.dtype))
    found.codes[todo], found.objective[todo] = rest.codes, rest.objective
    found.duality_gap[todo], found.converged[todo] = rest.duality_gap, rest.converged
    steps[todo] += rest.n_steps
    return Solution(
        found.codes,
        found.objective,
        found.duality_gap,
        steps,
        found.converged,
        flops + rest.flops,
        "homotopy",
    )


def follow_path(
    D: Tensor, x: Tensor, alpha: float, nonnegative: bool, limit: int, *, multipliers: bool
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Codes (n, N) at alpha >= 0, z (n, N) with dual point D z of basis pursuit or (0, N), steps (n,), flops."""
    from amortgap.solvers._homotopy_kernel import follow  # numba takes half a second to import

    n, (M, N) = len(x), D.shape
    columns = D.double()
    gram = (columns.T @ columns).numpy()
    weight = 1 + TIES * np.random.default_rng(0).random(N)
    codes = torch.zeros(n, N, dtype=torch.float64)
    z = torch.zeros(n if multipliers else 0, N, dtype=torch.float64)
    steps, flops = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.float64)

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            c = (x[rows].double() @ columns).numpy()
            results = codes[rows].numpy(), z[rows].numpy(), steps[rows].numpy(), flops[rows].numpy()
            follow(c, gram, weight, alpha, not nonnegative, limit, *results)

    share(n, work)
    return codes, z, steps, int(flops.sum()) + n * 8 * M * N + M * N * N
