"""Working-set continuation: the fastest solver here for sparse codes of many signals on a CPU.

For lam falling from max|D'x| to alpha:  screen all atoms at once by  c = D'x - D'D s,  take the largest as
candidates, and solve the LASSO on (active + candidates) exactly by adding the worst violator and dropping what
turns negative, with the inverse Gram of the active set kept by rank-one updates. At alpha the conditions are
checked and the code refined in float64 on its support, until the duality gap is proved.

An active-set method (Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20 (2000)) with the working sets of
celer (Massias, Gramfort & Salmon, ICML 2018). All arithmetic on full vectors is float32; a sample whose active
Gram is too ill-conditioned for that is solved again in float64.

The first call compiles for about 15 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import LIMIT, Solution, certify, each, finish, stop_words
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import BLOCK, share
from amortgap.solvers.prepared import COMPRESSED, Prepared, in_units, prepare


def refusal(x: Tensor, N: int, dtype: torch.dtype = torch.float32) -> str | None:
    """Why working_set does not solve for these signals, in one sentence, or None.  dtype: of the screening."""
    return kernel_refusal("working_set", x, N, itemsize=dtype.itemsize)


def working_set(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_pivots: int | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    n_steps counts the atoms added and dropped, at most max_pivots (20 min(M, N) + 200) in either precision. The
    path starts at zero, or at the support of init, which helps where that is close to the solution's, as are the
    codes of a neighbouring alpha. Runs on torch.get_num_threads() threads.
    Memory: the Gram matrix, 4 N^2 bytes (2 N^2 from 2048 columns on unless lengths or angles forbid it; 8 N^2
    where samples are solved again in float64), 2 KiB N of correlations a thread,
    4 min(M, N)^2 bytes a thread, and the codes.
    A sample gets the same code alone or in a batch up to the rounding of float32 matrix products, which the
    certificate covers: objectives agree to tol.
    Raises ValueError for CUDA tensors, half precision and Gram matrices beyond 4 GiB.
    """
    M, N = D.shape
    refuse(refusal(x, N))
    given = prepare(D)
    limit = 20 * min(M, N) + 200 if max_pivots is None else max_pivots
    found = _solve(given, x, alpha, nonnegative, tol, limit, init, torch.float32)
    if not refusal(x, N, torch.float64):
        found = finish(
            found, lambda rows: _solve(given, x[rows], alpha, nonnegative, tol, limit, None, torch.float64)
        )

    def as_left(rows: Tensor) -> Solution:
        # the kernel knows objective and gap of proved codes alone
        return certify(
            given,
            x[rows],
            found.codes[rows],
            alpha,
            nonnegative=nonnegative,
            tol=tol,
            n_steps=torch.zeros_like(rows),
            at_limit=torch.from_numpy(found.stop[rows.numpy()] == LIMIT),
            flops=len(rows) * 6 * M * N,
            method="working_set",
        )

    return finish(found, as_left)


def _solve(
    given: Prepared,
    x: Tensor,
    alpha: float,
    nonnegative: bool,
    tol: float,
    limit: int,
    init: Tensor | None,
    dtype: torch.dtype,
) -> Solution:
    """The solution with screening in dtype."""
    # numba takes half a second to import
    from amortgap.solvers.kernels.working_set import Found, Problem, Signals, solve_rows

    n, N = len(x), given.shape[1]
    # numpy's large pages are dear where memory is fragmented
    codes = torch.empty(n, N, dtype=x.dtype)
    objective, gap = torch.zeros(2, n, dtype=torch.float64)
    steps, flops = torch.zeros(2, n, dtype=torch.long)
    exact = x.dtype if dtype == torch.float32 else dtype
    signals, weight, unit, size = in_units(given, x.to(exact), alpha)
    matrix, longest = given.rows(dtype).T, given.longest
    coarse = given.coarse() if dtype == torch.float32 and N >= COMPRESSED and _half_width() else None
    gram = given.gram(dtype)
    kind = gram.G.dtype.type if gram.scale == 1 else np.float32
    problem = Problem(
        given.rows(exact).numpy(),
        gram.G,
        kind(gram.scale),
        gram.fuzz,
        weight,
        tol,
        not nonnegative,
        longest,
        unit,
        limit,
    )
    start_codes = (x.new_empty(0, N) if init is None else init.detach().contiguous()).numpy()
    integer = np.int32 if dtype == torch.float32 else np.int64
    screened = []

    def work(blocks: Iterator[slice]) -> None:
        correlation = torch.empty(min(n, BLOCK), N, dtype=dtype)
        for rows in blocks:
            part = signals[rows]
            c = correlation[: len(part)]
            lacking, cost = _correlate(part.to(dtype), matrix, coarse, longest, 0.3 * weight, c)
            screened.append(cost)
            codes[rows].zero_()
            found = Found(*(values[rows].numpy() for values in (codes, objective, gap, steps, flops)))
            signals_ = Signals(part.numpy(), c.numpy(), lacking.numpy(), start_codes[rows])
            solve_rows(signals_, problem, np.zeros(1, integer), found)

    share(n, work)
    objective *= size * size
    converged = gap <= tol
    total = int(flops.sum()) + sum(screened) + gram.flops
    method, stop = each("working_set", n), stop_words(converged, steps >= limit)
    return Solution(codes, objective, gap, steps, converged, total, method, stop)


def _half_width() -> bool:
    """Whether this CPU multiplies 16-bit floats, at twice the speed of float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def _correlate(
    x: Tensor, D: Tensor, coarse: tuple[Tensor, float] | None, longest: float, most: float, out: Tensor
) -> tuple[Tensor, int]:
    """out = x D (n, N); returns a bound (n,) on its error beyond float32's, which half of the rows keep below most,
    and operations.

    With D' and x' in bfloat16, and their product once more rounded to its 8 digits,
    |x d - x' d'| <= |x| |d - d'| + |x - x'| |d'| + 2^-9 |x d|.
    """
    cost = 2 * len(x) * D.numel()
    if coarse is not None:
        rounded, blur = coarse[0].T, coarse[1]
        short = x.bfloat16()
        error = torch.linalg.vector_norm(x, dim=1) * blur
        error += torch.linalg.vector_norm(x - short.float(), dim=1) * (longest + blur)
        if error.median() < most:
            product = short @ rounded
            out.copy_(product)
            return (1.001 * error + 0.002 * product.abs().amax(1)).double(), cost
    torch.mm(x, D, out=out)
    return torch.zeros(len(x), dtype=torch.float64), cost
