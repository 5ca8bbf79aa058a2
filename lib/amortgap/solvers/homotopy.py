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

from amortgap.solvers._solution import Solution, certify, unit_free
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import share
from amortgap.solvers.prepared import Prepared, prepare

# relative spread of the weights: far above rounding, far below any tolerance
TIES = 1e-10


def refusal(x: Tensor, N: int) -> str | None:
    """Why homotopy does not solve for these signals, in one sentence, or None."""
    return kernel_refusal("homotopy", x, N, itemsize=8)


def step_limit(M: int, N: int) -> int:
    """Bends after which a path is given up: generic paths have a few for each atom that is active at their end."""
    return 20 * min(M, N) + 200


def homotopy(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    n_steps counts the bends of the path, at most max_steps (`step_limit`). init is ignored: the path starts at
    zero. Where the active Gram matrix is too ill-conditioned, the end is not certified: "limited by rounding".
    Memory: the Gram matrix, 8 N^2 bytes. Runs on torch.get_num_threads() threads; all arithmetic is float64.
    Raises ValueError for CUDA tensors, half precision and Gram matrices beyond 4 GiB.
    """
    M, N = D.shape
    refuse(refusal(x, N))
    limit = step_limit(M, N) if max_steps is None else max_steps
    return _certified_path(D, x, alpha, nonnegative=nonnegative, tol=tol, limit=limit)


@unit_free
def _certified_path(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool,
    tol: float,
    limit: int,
    init: Tensor | None = None,
) -> Solution:
    """`homotopy` in units."""
    given, (M, N) = prepare(D), D.shape
    codes, _, steps, flops = follow_path(given, x, alpha, nonnegative, limit, multipliers=False)
    return certify(
        given,
        x,
        codes,
        alpha,
        nonnegative=nonnegative,
        tol=tol,
        n_steps=steps,
        at_limit=steps >= limit,
        flops=flops + len(x) * 6 * M * N,
        method="homotopy",
    )


def follow_path(
    given: Prepared, x: Tensor, alpha: float, nonnegative: bool, limit: int, *, multipliers: bool
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Codes (n, N) at alpha >= 0, z (n, N) with dual point D z of basis pursuit or (0, N), steps (n,), flops."""
    # numba takes half a second to import
    from amortgap.solvers.kernels.homotopy import Found, Path, follow

    n, (M, N) = len(x), given.shape
    columns = given.D.double()
    weight = 1 + TIES * np.random.default_rng(0).random(N)
    path = Path((columns.T @ columns).numpy(), weight, alpha, not nonnegative, limit)
    codes = torch.zeros(n, N, dtype=torch.float64)
    z = torch.zeros(n if multipliers else 0, N, dtype=torch.float64)
    steps, flops = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            c = (x[rows].double() @ columns).numpy()
            follow(c, path, Found(*(part[rows].numpy() for part in (codes, z, steps, flops))))

    share(n, work)
    return codes, z, steps, int(flops.sum()) + 2 * n * M * N + 2 * M * N * N
