"""Codes that are exact but for rounding, made exact: Newton's method on the support, in longer arithmetic.

With A the support, g the signs on it and r = x - D_A s, the optimum has  D_A'r = alpha g.  One step is

    R'R d = D_A'r - alpha g,   s_A <- s_A + d,   D_A P = Q R with column pivoting,

R in float64, r and D_A'r in numpy's longdouble (80 bits on x86): iterative refinement of the seminormal equations
(Bjorck, Numerical Methods for Least Squares Problems, section 2.4.5). Far below alpha_max, ||r|| is of the size of
alpha, and float64 leaves it only ||x|| / ||r|| fewer digits; the extra ones prove the gap. Where a coefficient
changes its sign it leaves A, where an atom violates its condition it enters, a few times: from the support that is
given, and if that does not end, from none.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import REACHED, ROUNDING, Solution, each
from amortgap.solvers.prepared import Prepared, in_units, prepare

ROUNDS = 20  # changes of the support
STEPS = 6  # refinements for one support
LONG = np.longdouble


# what overflows proves nothing
@np.errstate(over="ignore", invalid="ignore")
def refine(
    D: Tensor | Prepared, x: Tensor, alpha: float, codes: Tensor, *, nonnegative: bool, tol: float
) -> tuple[Tensor, Solution]:
    """The samples that it settles (indices), and their Solution.  D (M, N), x (n, M), codes (n, N) on a CPU.

    Settled are those whose optimum is proved to tol before it is rounded to the dtype of x. Where the rounded code
    misses tol, its stop is "limited by rounding", as no other code in this dtype is expected to do better.
    n_steps counts the refinements.
    """
    given = prepare(D)
    signals, level, unit, size = in_units(given, x.double(), alpha)
    matrix, longest = given.D.double().numpy() / given.length, given.longest
    kept: list[tuple[int, np.ndarray, float, float, int]] = []
    flops = 0
    for row, (signal, start) in enumerate(zip(signals.numpy(), codes.double().numpy(), strict=True)):
        target = signal.astype(LONG)
        # a support far from the optimum's may not end in ROUNDS changes where none at all does
        for support in (np.flatnonzero(start), np.zeros(0, np.int64)):
            A, s, r, steps, cost = _optimum(matrix, target, level, support, np.sign(start), nonnegative)
            flops += cost
            bound = _dual(matrix, target, r, level, nonnegative, longest)
            primal = _primal(matrix, target, A, s, level)
            proved = bool(primal - bound <= tol * primal)
            if proved:
                break
        if not proved:
            continue
        code = np.zeros(len(start), start.dtype)
        code[A] = (s * LONG(unit)).astype(np.float64)
        returned = torch.from_numpy(code).to(x.dtype).double().numpy() / unit
        if not np.isfinite(returned).all():
            continue
        primal = _primal(matrix, target, A, returned[A].astype(LONG), level)
        kept.append(
            (
                row,
                code,
                float(primal * LONG(size) ** 2),
                float(max(LONG(0), (primal - bound) / primal)),
                steps,
            )
        )
    rows, found, objective, gaps_, counted = zip(*kept, strict=True) if kept else ((),) * 5
    gaps = torch.tensor(gaps_, dtype=torch.float64)
    stop = each(REACHED, len(kept))
    stop[~(gaps <= tol).numpy()] = ROUNDING
    settled = torch.tensor(rows, dtype=torch.long)
    return settled, Solution(
        torch.from_numpy(np.array(found).reshape(len(kept), codes.shape[1])).to(x.dtype),
        torch.tensor(objective, dtype=torch.float64),
        gaps,
        torch.tensor(counted, dtype=torch.long),
        gaps <= tol,
        flops,
        each("refinement", len(kept)),
        stop,
    )


def _optimum(
    D: np.ndarray, x: np.ndarray, alpha: float, A: np.ndarray, signs: np.ndarray, nonnegative: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Support, its coefficients and the residual in longdouble, refinements and operations; zeros if no end."""
    # a tenth of a second to import
    from scipy.linalg import qr, solve_triangular

    M, N = D.shape
    steps = flops = 0
    g = signs[A]
    for _ in range(ROUNDS):
        R, order = qr(D[:, A], mode="r", pivoting=True)
        size = np.abs(np.diag(R))
        rank = int((size > 1e-14 * size[:1]).sum())  # of repeated columns one stays
        R, A, g = R[:rank, :rank], A[order[:rank]], g[order[:rank]]
        columns, s = D[:, A].astype(LONG), np.zeros(rank, LONG)
        r = x
        for _ in range(STEPS):
            push = (columns.T @ r - alpha * g).astype(np.float64)
            half = solve_triangular(R, push, trans="T", check_finite=False)
            s = s + solve_triangular(R, half, check_finite=False)
            r = x - columns @ s
        steps += STEPS
        flops += 2 * M * rank * rank + STEPS * (4 * M * rank + 2 * rank * rank) + 2 * M * N
        stays = g * s > 0
        if not stays.all():
            A, g = A[stays], g[stays]
            continue
        c = r.astype(np.float64) @ D
        c[A] = 0
        worst = int(np.argmax(c if nonnegative else np.abs(c)))
        if not (c[worst] if nonnegative else abs(c[worst])) > alpha * (1 + 1e-12):
            return A, s, r, steps, flops
        A, g = np.append(A, worst), np.append(g, np.sign(c[worst]))
    return A[:0], np.zeros(0, LONG), x, steps, flops


def _primal(D: np.ndarray, x: np.ndarray, A: np.ndarray, s: np.ndarray, alpha: float) -> LONG:
    r = x - D[:, A].astype(LONG) @ s
    return LONG(0.5) * (r @ r) + alpha * np.abs(s).sum()


def _dual(
    D: np.ndarray, x: np.ndarray, r: np.ndarray, alpha: float, nonnegative: bool, longest: float
) -> LONG:
    """Q of the best feasible multiple of r, with a bound on the rounding of D'r, which is taken in float64."""
    short = r.astype(np.float64)
    c, norm = short @ D, float(np.linalg.norm(short))
    largest = float(c.max() if nonnegative else np.abs(c).max())
    largest += (len(x) + 2) * np.finfo(np.float64).eps * norm * longest
    rr, rx = r @ r, r @ x
    scale = min(max(rx / max(rr, np.finfo(np.float64).tiny), LONG(0)), LONG(alpha) / max(largest, 1e-300))
    return scale * rx - LONG(0.5) * scale * scale * rr
