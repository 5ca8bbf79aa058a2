"""Principal pivoting for tiny dictionaries: the paper's N = 16, M = 8 at a fraction of a microsecond a sample.

The conditions  s >= 0,  c = D'(x - D s) <= alpha,  s (c - alpha) = 0  are a linear complementarity problem in N
unknowns. Each step exchanges the worst violated index between the support and its complement by sweeping the
tableau [D'D, D'x - alpha] (Júdice & Pires, Comput. Oper. Res. 21 (1994); Goodnight, Am. Stat. 33 (1979)), many
samples side by side in float32. The result is refined in float64 and certified. Where these exchanges go in circles
or columns are too nearly dependent, the sample is solved again in float64 by exchanges that keep s >= 0 and lower P
each time (Dantzig & Cottle's principal pivoting). Signed codes: D' = [D, -D].

The first call compiles for about 5 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import duality_gap
from amortgap.solvers._solution import Solution, as_returned, each, stop_words
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import share
from amortgap.solvers.prepared import Prepared, in_units, prepare

LANES = 32  # samples side by side
EXCHANGES = 4  # a column, in float32
MORE = 4  # times as many in float64
LARGEST = 32  # columns beyond which working_set is faster and the tableau leaves the cache


def refusal(x: Tensor, N: int, nonnegative: bool) -> str | None:
    """Why pivoting does not solve for these signals, in one sentence, or None."""
    if (N if nonnegative else 2 * N) > LARGEST:
        most = LARGEST if nonnegative else LARGEST // 2
        return f"pivoting is for at most {most} columns, not {N}; use working_set"
    return kernel_refusal("pivoting", x, N, itemsize=4)


def pivoting(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    init is ignored. n_steps counts the exchanges, at most 4 N (8 N in the signed case), and in float64 at
    most four times as many more; a sample's code does not depend on its batch. Runs on
    torch.get_num_threads() threads.
    Raises ValueError beyond 32 columns (16 in the signed case), for CUDA tensors and half precision.
    """
    N = D.shape[1]
    refuse(refusal(x, N, nonnegative))
    given = prepare(D)
    if not nonnegative:
        plain = given
        given = plain.keep("mirrored", lambda: Prepared(torch.cat([plain.D, -plain.D], 1)))
    limit = int(EXCHANGES * given.shape[1])
    scaled, weight, unit, size = in_units(given, x, alpha)
    found, total = _exchange(given, scaled, torch.float32, weight, tol, unit, limit)
    left, at_limit = np.flatnonzero(~(found.gap <= tol)), torch.zeros(len(x), dtype=torch.bool)
    if len(left):
        again, cost = _exchange(given, scaled[left], torch.float64, weight, tol, unit, MORE * limit)
        at_limit[left] = torch.from_numpy(again.steps >= MORE * limit)
        again.steps[:] += found.steps[left]
        for old, new in zip(found, again, strict=True):
            old[left] = new
        total += cost
    codes, objectives, gaps, steps = map(torch.from_numpy, found[:4])
    if not nonnegative:
        codes = codes[:, :N] - codes[:, N:]
    objectives *= size * size
    converged = gaps <= tol
    if not converged.all():
        # nearly dependent columns can blow the code up: zero is better then
        at_zero = 0.5 * x.double().square().sum(1)
        worse = (~converged & ~(objectives <= at_zero)).nonzero().squeeze(1)
        codes[worse], objectives[worse] = 0, at_zero[worse]
        D64 = prepare(D).D.double()
        gaps[worse] = duality_gap(D64, x[worse].double(), codes[worse].double(), alpha, nonnegative)
    method, stop = each("pivoting", len(x)), stop_words(converged, at_limit)
    solution = Solution(codes, objectives, gaps, steps, converged, total, method, stop)
    return as_returned(prepare(D), x, alpha, solution, tol)


def _exchange(
    given: Prepared, x: Tensor, dtype: torch.dtype, alpha: float, tol: float, unit: float, limit: int
) -> tuple[Any, int]:
    """What the kernel finds with a tableau in dtype, and operations."""
    # numba takes half a second to import
    from amortgap.solvers.kernels.pivoting import Found, Problem, solve_lanes

    n, width = len(x), given.shape[1]
    matrix = given.rows(x.dtype).T.contiguous().numpy()
    gram = given.gram(dtype)
    problem = Problem(matrix, gram.G, alpha, tol, unit, limit, LANES)
    # slices of numpy arrays cost a tenth of those of tensors
    signals = x.numpy()
    found = Found(np.empty((n, width), signals.dtype), *np.empty((2, n)), *np.empty((2, n), np.int64))

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            solve_lanes(signals[rows], problem, Found(*[part[rows] for part in found]))

    share(n, work)
    return found, int(found.flops.sum()) + gram.flops
