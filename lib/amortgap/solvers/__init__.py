"""Sparse inference: a signal x and a dictionary D in, the code s out, with a certificate.

SOLVERS solve the LASSO for one alpha, PURSUITS look for the best code with at most K non-zeros, and
basis_pursuit recovers x exactly. To add one, write its file and one line here; the contract tests loop over
these dictionaries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from amortgap._check import as_tensor, check_residual, check_signals, check_sparsities, check_tol, same_kind
from amortgap.solvers._solution import Solution
from amortgap.solvers.as_given import check_alphas, check_l2, check_weights, solve_as_given
from amortgap.solvers.batched import batched
from amortgap.solvers.batched_omp import batched_omp
from amortgap.solvers.coordinate_descent import coordinate_descent
from amortgap.solvers.exhaustive import exhaustive
from amortgap.solvers.fista import fista
from amortgap.solvers.gradient_pursuit import gradient_pursuit
from amortgap.solvers.homotopy import homotopy
from amortgap.solvers.iht import iht
from amortgap.solvers.ista import ista
from amortgap.solvers.lca import lca
from amortgap.solvers.log_adam import log_adam
from amortgap.solvers.matching_pursuit import matching_pursuit
from amortgap.solvers.nnls import refit
from amortgap.solvers.omp import omp
from amortgap.solvers.path import alpha_for, alpha_max, path, screened
from amortgap.solvers.pivoting import pivoting
from amortgap.solvers.policy import basis_pursuit, greedy, lasso
from amortgap.solvers.prepared import Prepared, prepare, prepare_for
from amortgap.solvers.reference import basis_pursuit_lp, lasso_cvxpy
from amortgap.solvers.reweighted import reweighted
from amortgap.solvers.working_set import working_set

__all__ = [
    "PURSUITS",
    "SOLVERS",
    "Prepared",
    "Solution",
    "alpha_for",
    "alpha_max",
    "basis_pursuit",
    "basis_pursuit_lp",
    "path",
    "prepare",
    "pursue",
    "refit",
    "reweighted",
    "screened",
    "solve",
]

SOLVERS: dict[str, Callable[..., Solution]] = {
    "fista": fista,
    "ista": ista,
    "lca": lca,
    "coordinate_descent": coordinate_descent,
    "log_adam": log_adam,
    "lasso_cvxpy": lasso_cvxpy,
    "pivoting": pivoting,
    "working_set": working_set,
    "homotopy": homotopy,
    "batched": batched,
}
PURSUITS: dict[str, Callable[..., Solution]] = {
    "omp": omp,
    "matching_pursuit": matching_pursuit,
    "gradient_pursuit": gradient_pursuit,
    "iht": iht,
    "exhaustive": exhaustive,
    "batched_omp": batched_omp,
}


@torch.no_grad()  # a trained decoder may be handed in as it is
@same_kind
def solve(
    D: Any,
    x: Any,
    alpha: Any,
    method: str = "auto",
    tol: float = 1e-6,
    nonnegative: bool = True,
    init: Any = None,
    *,
    weights: Any = None,
    l2: float = 0.0,
    **options: Any,
) -> Solution:
    """min_s 1/2 ||x - D s||^2 + alpha sum_i w_i |s_i| + l2/2 ||s||^2  (s >= 0)  for every row x of (n, M).

    D (M, N), x (n, M), init (n, N) or None: tensors or numpy arrays; the answer is of the same kind, dtype
    and device as x. D may also be prepared for many calls (`prepare`).  alpha: a number, or one for each sample
    (n,).  weights (N,): w > 0, default 1.  l2 >= 0: of the elastic net; it adds N rows to D.  tol: relative duality
    gap each sample must reach.  method: "auto", the methods of `policy` in turn, or one name in SOLVERS, which
    alone does all; Solution.method says for each sample whose code it is.
    options go to the one method (max_steps, n_steps, lr).  init, such as an encoder's codes (the warm
    start of LISTA), saves steps of fista, ista, lca, coordinate_descent and working_set.

    Certified are the codes as returned, in the dtype of x, for D and x as given, whatever their dtypes: half
    precision is computed in float32 and rounded at the end, which can cost more than tol ("limited by rounding").

    Raises ValueError for NaN or inf, shapes that do not fit, a zero column, alpha <= 0, a weight <= 0, l2 < 0, tol
    <= 0, an unknown method, what the method does not do, options of "auto", starting codes that are infeasible, and
    codes or objectives beyond the range of their dtype: one such sample refuses the whole batch.
    """
    given = prepare(D)
    x_ = check_signals(given.D, x)
    alpha = check_alphas(alpha, len(x_))
    asked: dict[str, Any] = {"weights": check_weights(weights, given.shape[1]), "l2": check_l2(l2)}
    tol = check_tol(tol)
    if init is not None:
        init = as_tensor(init, "init").to(x_)
        if init.shape != (len(x_), given.shape[1]):
            raise ValueError(f"init must have shape {(len(x_), given.shape[1])}, not {tuple(init.shape)}")
        if nonnegative and (init < 0).any():
            raise ValueError("init has negative entries, but nonnegative codes were asked for")
    if method == "auto" and options:
        raise ValueError(f"{', '.join(options)} belong to one method; name it instead of 'auto'")
    solver = lasso if method == "auto" else _choose(SOLVERS, method, "solver")
    return solve_as_given(
        solver, given, x_, alpha, nonnegative=nonnegative, tol=tol, init=init, **asked, **options
    )


@torch.no_grad()
@same_kind
def pursue(
    D: Any, x: Any, K: Any = None, method: str = "auto", nonnegative: bool = True, *, residual: Any = None
) -> Solution:
    """min_s ||x - D s||  with at most K non-zeros (s >= 0).  Arguments and errors as in `solve`.

    K: one number, or one a sample, (n,); without it min(M, N).  residual: a sample is done as soon as
    ||x - D s|| <= residual, one length or one a sample, (n,), such as .1 * x.norm(dim=1).  One of the two must be
    given.  method: a name in PURSUITS, or "auto", which is orthogonal matching pursuit in the form that suits the
    device.
    """
    given, x_ = prepare_for(D, x)
    M, N = given.shape
    if K is None and residual is None:
        raise ValueError("K, the number of latents, or residual, the length at which to stop, must be given")
    K = check_sparsities(min(M, N) if K is None else K, x_, N, M)
    length = None if residual is None else check_residual(residual, x_)
    pursuit = greedy(given, x_, K) if method == "auto" else _choose(PURSUITS, method, "pursuit")
    return pursuit(given, x_, K, residual=length, nonnegative=nonnegative)


def _choose(registry: dict[str, Callable[..., Solution]], name: str, kind: str) -> Callable[..., Solution]:
    if not isinstance(name, str) or name not in registry:
        raise ValueError(f"unknown {kind} {name!r}; choose one of {sorted(registry)}")
    return registry[name]
