"""Ground truth from general convex solvers through cvxpy: slow, independent of everything else here.

    LASSO (Clarabel, an interior-point method):     min 1/2 ||x - D s||^2 + alpha ||s||_1
    basis pursuit (HiGHS, simplex):                 min ||s||_1  subject to  D s = x

Agrawal et al., J. Control Decis. 5 (2018). One small problem a sample, so that each has its own accuracy.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from amortgap._check import check_problem, check_tol, same_kind
from amortgap.solvers._solution import Solution, certify, each, stop_words, unit_free
from amortgap.solvers.prepared import Prepared, plain


@unit_free
# what overflows proves nothing
@np.errstate(over="ignore", invalid="ignore")
def lasso_cvxpy(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
) -> Solution:
    """The LASSO by Clarabel to tolerance 1e-10 or tol/10.  init is ignored: interior points start inside."""
    # a second to import
    import cvxpy as cp

    D = plain(D)
    matrix, targets = _numpy(D), _numpy(x)
    code = cp.Variable(D.shape[1], nonneg=nonnegative)
    target = cp.Parameter(D.shape[0])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(target - matrix @ code) / 2 + alpha * cp.norm1(code)))
    accuracy = min(1e-10, tol / 10)
    codes, steps = np.zeros((len(targets), D.shape[1])), np.zeros(len(targets), dtype=np.int64)
    at_limit = np.zeros(len(targets), dtype=bool)
    for i, target.value in enumerate(targets):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "may be inaccurate": the gap below says how accurate
            try:
                problem.solve(
                    cp.CLARABEL,
                    tol_gap_abs=accuracy * 1e-2,
                    tol_gap_rel=accuracy,
                    tol_feas=accuracy,
                )
            except cp.SolverError:  # numerical trouble: zeros, whose gap says so
                continue
        codes[i] = 0 if code.value is None else code.value
        steps[i] = problem.solver_stats.num_iters or 0
        at_limit[i] = problem.status == cp.USER_LIMIT
    if nonnegative:
        codes = codes.clip(0)
    # an interior point leaves every zero slightly positive: where zero is no worse, it is the answer, and
    # what is far below the others is zero
    objectives = np.square(targets - codes @ matrix.T).sum(1) / 2 + alpha * np.abs(codes).sum(1)
    codes[np.square(targets).sum(1) / 2 <= objectives] = 0
    codes[np.abs(codes) < 1e-9 * np.abs(codes).max(1, keepdims=True, initial=1e-300)] = 0
    return certify(
        D,
        x,
        torch.from_numpy(codes).to(x.device),
        alpha,
        nonnegative=nonnegative,
        tol=tol,
        n_steps=torch.from_numpy(steps).to(x.device),
        at_limit=torch.from_numpy(at_limit),
        flops=0,
        method="lasso_cvxpy",
    )


def basis_pursuit_lp(
    D: Tensor | Prepared, x: Tensor, *, nonnegative: bool = True, tol: float = 1e-6
) -> Solution:
    """min ||s||_1 subject to D s = x (s >= 0).  objective is ||s||_1, the gap comes from the LP's dual.

    Dual: max x.y subject to D'y <= 1 (|D'y| <= 1). The gap counts the equality's violation too.
    Raises ValueError for a sample that no (nonnegative) code reproduces, NaN, inf and shapes that do not fit.
    """

    def checked(D: Tensor | Prepared, x: Tensor) -> Solution:
        D, x = check_problem(plain(D), x)
        return linear_programmes(D, x, nonnegative, check_tol(tol), range(len(x)))

    return same_kind(checked)(D, x)


def linear_programmes(D: Tensor, x: Tensor, nonnegative: bool, tol: float, names: Sequence[int]) -> Solution:
    """basis_pursuit_lp on checked input. names: what errors call the samples."""
    import cvxpy as cp

    matrix, targets = _numpy(D), _numpy(x)
    code, target = cp.Variable(D.shape[1], nonneg=nonnegative), cp.Parameter(D.shape[0])
    equality = target == matrix @ code
    problem = cp.Problem(cp.Minimize(cp.norm1(code)), [equality])
    codes, gaps = np.zeros((len(targets), D.shape[1])), np.zeros(len(targets))
    steps = np.zeros(len(targets), dtype=np.int64)
    for i, target.value in enumerate(targets):
        try:
            problem.solve(cp.HIGHS)
        except cp.error.SolverError as error:
            raise ValueError(
                f"sample {names[i]}: the linear programme's numbers are out of reach; scale D and x"
            ) from error
        if code.value is None:
            kind = "nonnegative code" if nonnegative else "code"
            raise ValueError(f"sample {names[i]}: no {kind} s satisfies D s = x ({problem.status})")
        codes[i], steps[i] = code.value, problem.solver_stats.num_iters or 0
        y = equality.dual_value
        y = y if y @ targets[i] >= 0 else -y  # the sign convention is the interface's
        slope = matrix.T @ y
        y = y / max(1.0, slope.max() if nonnegative else np.abs(slope).max())  # feasible in spite of rounding
        length = np.abs(codes[i]).sum()
        miss = np.linalg.norm(targets[i] - matrix @ codes[i])
        gaps[i] = 0.0 if length == 0 else max(0.0, length - y @ targets[i]) / length + miss / length
    gap = torch.from_numpy(gaps).to(x.device)
    return Solution(
        codes=torch.from_numpy(codes).to(x.device, x.dtype),
        objective=torch.from_numpy(np.abs(codes).sum(1)).to(x.device),
        duality_gap=gap,
        n_steps=torch.from_numpy(steps).to(x.device),
        converged=gap <= tol,
        flops=0,
        method=each("basis_pursuit_lp", len(x)),
        stop=stop_words(gap <= tol, torch.zeros(len(x), dtype=torch.bool)),
    )


def _numpy(value: Tensor) -> np.ndarray:
    return value.detach().double().cpu().numpy()
