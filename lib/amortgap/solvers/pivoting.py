"""Principal pivoting for tiny dictionaries: the paper's N = 16, M = 8 at a fraction of a microsecond a sample.

The conditions  s >= 0,  c = D'(x - D s) <= alpha,  s (c - alpha) = 0  are a linear complementarity problem in N
unknowns. Each step exchanges the worst violated index between the support and its complement by sweeping the
tableau [D'D, D'x - alpha] (Júdice & Pires, Comput. Oper. Res. 21 (1994); Goodnight, Am. Stat. 33 (1979)), many
samples side by side. The result is refined in float64 and certified; where pivoting failed, because the support
is numerically dependent or the exchanges cycle, `working_set` takes over. Signed codes: D' = [D, -D].

The first call compiles for about 5 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import Solution
from amortgap.solvers._threads import share
from amortgap.solvers.working_set import in_units, working_set

LANES = 32  # samples side by side
LARGEST = 32  # columns beyond which working_set is faster and the tableau leaves the cache


def pivoting(
    D: Tensor,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    For at most 32 columns (16 in the signed case) on a CPU; everything else goes to `working_set`. init is
    ignored. n_steps is the limit on exchanges; a sample's code does not depend on its batch. Runs on
    torch.get_num_threads() threads.
    """
    M, N = D.shape
    known = x.dtype in (torch.float32, torch.float64)
    if x.device.type != "cpu" or not known or (N if nonnegative else 2 * N) > LARGEST or len(x) == 0:
        return working_set(D, x, alpha, nonnegative=nonnegative, tol=tol, init=init)
    from amortgap.solvers._pivoting_kernel import solve_lanes  # numba takes half a second to import

    n, columns = len(x), D if nonnegative else torch.cat([D, -D], 1)
    width, limit = columns.shape[1], 4 * columns.shape[1]
    scaled, signals, weight, unit, size, _ = in_units(columns, x, alpha)
    codes = torch.from_numpy(np.empty((n, width), signals.numpy().dtype))
    objective, gap = np.empty(n), np.empty(n)
    matrix = scaled.float()
    given = scaled.numpy(), (matrix.T @ matrix).numpy(), weight, tol, unit, limit, LANES

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            solve_lanes(signals[rows].numpy(), *given, codes[rows].numpy(), objective[rows], gap[rows])

    share(n, work)
    if not nonnegative:
        codes = codes[:, :N] - codes[:, N:]
    objective *= size * size
    steps = torch.full((n,), limit)
    flops = n * (2 * limit * width * width + 4 * M * width)
    todo = torch.from_numpy(~(gap <= tol)).nonzero().squeeze(1)
    objectives, gaps = torch.from_numpy(objective), torch.from_numpy(gap)
    if len(todo):
        rest = working_set(D, x[todo], alpha, nonnegative=nonnegative, tol=tol)
        codes[todo], objectives[todo], gaps[todo] = rest.codes, rest.objective, rest.duality_gap
        steps[todo] += rest.n_steps
        flops += rest.flops
    return Solution(codes, objectives, gaps, steps, gaps <= tol, flops, "pivoting")
