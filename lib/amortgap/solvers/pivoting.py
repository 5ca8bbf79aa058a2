"""Principal pivoting for tiny dictionaries: the paper's N = 16, M = 8 at a fraction of a microsecond a sample.

The conditions  s >= 0,  c = D'(x - D s) <= alpha,  s (c - alpha) = 0  are a linear complementarity problem in N
unknowns. Each step exchanges the worst violated index between the support and its complement by sweeping the
tableau [D'D, D'x - alpha] (Júdice & Pires, Comput. Oper. Res. 21 (1994); Goodnight, Am. Stat. 33 (1979)), many
samples side by side. The result is refined in float64 and certified. It fails where the support is numerically
dependent or the exchanges cycle. Signed codes: D' = [D, -D].

The first call compiles for about 5 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amortgap.objectives import duality_gap
from amortgap.solvers._solution import Solution, as_returned, each, stop_words
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import share
from amortgap.solvers.prepared import Prepared, in_units, prepare

LANES = 32  # samples side by side
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

    init is ignored. n_steps counts the exchanges, at most 4 N (8 N in the signed case); a sample's code does not
    depend on its batch. Runs on torch.get_num_threads() threads.
    Raises ValueError beyond 32 columns (16 in the signed case), for CUDA tensors and half precision.
    """
    N = D.shape[1]
    refuse(refusal(x, N, nonnegative))
    given = prepare(D)
    # numba takes half a second to import
    from amortgap.solvers.kernels.pivoting import Found, Problem, solve_lanes

    if not nonnegative:
        plain = given
        given = plain.keep("mirrored", lambda: Prepared(torch.cat([plain.D, -plain.D], 1)))
    n, (_, width) = len(x), given.shape
    limit = 4 * width
    scaled, weight, unit, size = in_units(given, x, alpha)
    matrix = given.rows(x.dtype).T.contiguous().numpy()
    gram = given.gram(torch.float32)
    problem = Problem(matrix, gram.G, weight, tol, unit, limit, LANES)
    # slices of numpy arrays cost a tenth of those of tensors
    signals = scaled.numpy()
    found = Found(np.empty((n, width), signals.dtype), *np.empty((2, n)), *np.empty((2, n), np.int64))

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            solve_lanes(signals[rows], problem, Found(*[part[rows] for part in found]))

    share(n, work)
    codes, objectives, gaps, steps, flops = map(torch.from_numpy, found)
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
    total = int(flops.sum()) + gram.flops
    method, stop = each("pivoting", n), stop_words(converged, steps >= limit)
    solution = Solution(codes, objectives, gaps, steps, converged, total, method, stop)
    return as_returned(prepare(D), x, alpha, solution, tol)
