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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers import _cost
from amortgap.solvers._gathered import gathered
from amortgap.solvers._solution import LIMIT, Solution, as_returned, certify, each, finish, joined, stop_words
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import BLOCK, share
from amortgap.solvers.prepared import COMPRESSED, Prepared, half_width, in_units, prepare

HEAD = 8  # signals that are solved first, where the choice between the two ways hangs on how many atoms they take


def refusal(x: Tensor) -> str | None:
    """Why working_set does not solve for these signals, in one sentence, or None."""
    return kernel_refusal("working_set", x)


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
    Memory: the codes; what `Prepared` keeps, within its bound: D' and a 16-bit copy, and D'D where it pays (4 N^2
    bytes, 2 N^2 from 2048 columns on unless lengths or angles forbid it); and for each thread at most 256 MiB of
    correlations and 4 min(M, N)^2 bytes.
    A sample gets the same code alone or in a batch up to the rounding of float32 matrix products, which the
    certificate covers: objectives agree to tol.
    Raises ValueError for CUDA tensors and half precision.
    """
    M, N = D.shape
    refuse(refusal(x))
    given = prepare(D)
    limit = 20 * min(M, N) + 200 if max_pivots is None else max_pivots
    options: dict[str, Any] = {"nonnegative": nonnegative, "tol": tol, "limit": limit}
    found = _either(given, x, alpha, init, torch.float32, options)
    found = finish(found, lambda rows: _either(given, x[rows], alpha, None, torch.float64, options))

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

    return as_returned(given, x, alpha, finish(found, as_left), tol)


def _either(
    given: Prepared, x: Tensor, alpha: float, init: Tensor | None, dtype: torch.dtype, options: dict[str, Any]
) -> Solution:
    """With D'D or by slots, whichever `_cost` says is cheaper for signals that take so many atoms."""
    if len(x) == 0:
        return _by_slots(given, x, alpha, init=None, dtype=dtype, **options)
    if _pays(given, dtype, len(x), 1):
        return _solve(given, x, alpha, init=init, dtype=dtype, **options)
    if init is not None:
        k = float((init != 0).sum(1).double().mean())
    elif len(x) <= HEAD or not _pays(given, dtype, len(x), min(given.shape)):
        k = 0.0
    else:
        head = _by_slots(given, x[:HEAD], alpha, init=None, dtype=dtype, **options)
        k = float((head.codes != 0).sum(1).double().mean())
        way = _solve if _pays(given, dtype, len(x) - HEAD, k) else _by_slots
        return joined(head, way(given, x[HEAD:], alpha, init=None, dtype=dtype, **options))
    way = _solve if _pays(given, dtype, len(x), k) else _by_slots
    return way(given, x, alpha, init=init, dtype=dtype, **options)


def expect(given: Prepared, n: int, k: float) -> None:
    """Make D'D now if n signals with k active atoms, which are to come in several calls, pay for it."""
    if not given.has_gram(torch.float32) and _pays(given, torch.float32, n, k):
        given.gram(torch.float32)


def _pays(given: Prepared, dtype: torch.dtype, n: int, k: float) -> bool:
    """Whether n signals with k active atoms are cheaper with D'D, counting what earlier ones would have saved."""
    ready = given.has_gram(dtype)
    if not ready and not given.fits_gram(dtype):
        return False
    half = dtype == torch.float32 and given.shape[1] >= COMPRESSED and half_width()
    M, N = given.shape
    saved = _cost.slots(M, N, n, k, half=half) - _cost.full(M, N, n, k, ready=True, half=half)
    return ready or given.saved() + saved > _cost.full(M, N, 0, k, ready=False, half=half)


def _by_slots(given: Prepared, x: Tensor, alpha: float, **options: Any) -> Solution:
    found = gathered(given, x, alpha, **options)
    if len(x):
        k = float((found.codes != 0).sum(1).double().mean())
        half = options["dtype"] == torch.float32 and half_width()
        (M, N), n = given.shape, len(x)
        given.saved(_cost.slots(M, N, n, k, half=half) - _cost.full(M, N, n, k, ready=True, half=half))
    return found


def _solve(
    given: Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool,
    tol: float,
    limit: int,
    init: Tensor | None,
    dtype: torch.dtype,
) -> Solution:
    """The solution with D'D and screening in dtype."""
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
    coarse = given.coarse() if dtype == torch.float32 and N >= COMPRESSED and half_width() else None
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
