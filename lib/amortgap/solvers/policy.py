"""Which method runs, and who finishes what it leaves. Methods refuse what they do not do; only this file chooses.

    LASSO, CPU, float32 or float64, N <= 32 (16 if signed)     pivoting, then working_set, then fista
    the same with more columns, or from codes nearby           working_set, then fista
    half precision, other devices                              batched, then fista
    basis pursuit, CPU, Gram matrix within 4 GiB               the end of homotopy's path, then linear programming
    basis pursuit elsewhere                                    linear programming
    at most K atoms, CPU, Gram matrix within 4 GiB and paid    omp
    at most K atoms elsewhere                                  batched_omp

Each method takes the samples that those before it left unproved. The order is that of the times in reports/bench:
the tableau of a tiny problem stays in the cache, which pivoting uses; beyond that only work on the active atoms is
cheap, which is what working_set does. batched does that for all samples together, as other devices want it, and
needs no N x N matrix. fista works where the Gram matrix of the active atoms is singular to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from amortgap._check import check_tol, same_kind
from amortgap.solvers._solution import Solution, finish, merge
from amortgap.solvers.basis_pursuit import path_to_zero
from amortgap.solvers.batched import batched
from amortgap.solvers.batched_omp import batched_omp
from amortgap.solvers.fista import fista
from amortgap.solvers.homotopy import refusal as no_path
from amortgap.solvers.omp import omp
from amortgap.solvers.omp import refusal as no_omp
from amortgap.solvers.pivoting import pivoting
from amortgap.solvers.pivoting import refusal as not_tiny
from amortgap.solvers.prepared import Prepared, plain, prepare_for
from amortgap.solvers.reference import linear_programmes
from amortgap.solvers.refinement import refine
from amortgap.solvers.working_set import refusal as no_working_set
from amortgap.solvers.working_set import working_set

LITTLE = 1024  # columns whose Gram matrix is made in milliseconds


def methods(
    D: Tensor | Prepared, x: Tensor, nonnegative: bool, *, warm: bool = False
) -> tuple[Callable[..., Solution], ...]:
    """The LASSO methods of "auto" in turn.  warm: codes of a neighbouring problem are given, unused by pivoting."""
    N = D.shape[1]
    if no_working_set(x):
        return batched, fista
    if warm or not_tiny(x, N, nonnegative):
        return working_set, fista
    return pivoting, working_set, fista


def lasso(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    warm: bool = False,
) -> Solution:
    """Minimise P per sample to relative duality gap tol by `methods`.  D (M, N), x (n, M) -> codes (n, N).

    On a CPU, `refine` settles what is exact but for rounding before fista is tried. fista goes on from the codes
    that it is left; working_set begins anew.
    """
    D, x = prepare_for(D, x)
    first, *others = methods(D, x, nonnegative, warm=warm)
    options: dict[str, Any] = {"nonnegative": nonnegative, "tol": tol}
    found = first(D, x, alpha, init=init, **options)
    for method in others:
        left = (~found.converged).nonzero().squeeze(1)
        if len(left) and method is fista and x.device.type == "cpu":
            settled, exact = refine(D, x[left], alpha, found.codes[left], **options)
            found = merge(found, left[settled], exact)
            left = left[~torch.isin(torch.arange(len(left)), settled)]
        if len(left):
            start = found.codes[left] if method is fista else None
            found = merge(found, left, method(D, x[left], alpha, init=start, **options))
    return found


def greedy(D: Prepared, x: Tensor, K: int | Tensor) -> Callable[..., Solution]:
    """The pursuit of "auto": orthogonal matching pursuit, with the Gram matrix where it fits and pays.

    It costs M N^2 operations; without it, each atom of each sample costs a product with D, 2 M N.
    """
    if no_omp(x, D.shape[1]):
        return batched_omp
    atoms = int(K.sum()) if isinstance(K, Tensor) else K * len(x)
    return omp if D.has_cosines(x.dtype) or D.shape[1] <= max(LITTLE, 2 * atoms) else batched_omp


@torch.no_grad()
def basis_pursuit(D: Any, x: Any, *, nonnegative: bool = True, tol: float = 1e-6) -> Solution:
    """min ||s||_1  subject to  D s = x  (s >= 0).  D (M, N), x (n, M) -> codes (n, N).

    objective is ||s||_1; the gap counts the equality's violation too.
    Raises ValueError for a sample that no (nonnegative) code reproduces, NaN, inf and shapes that do not fit.
    """
    return same_kind(_exactly)(D, x, nonnegative=nonnegative, tol=check_tol(tol))


def _exactly(D: Any, x: Any, nonnegative: bool, tol: float) -> Solution:
    D, x = prepare_for(D, x)

    def programme(rows: Tensor) -> Solution:
        return linear_programmes(plain(D), x[rows], nonnegative, tol, rows.tolist())

    if no_path(x, D.shape[1]):
        return programme(torch.arange(len(x), device=x.device))
    return finish(path_to_zero(D, x, nonnegative=nonnegative, tol=tol), programme)
