"""Orthogonal matching pursuit: K times, take the atom that best matches the residual, then refit all taken.

    i = argmax_i d_i.r  (argmax |d_i.r| in the signed case),   S <- S + i,   s_S = argmin ||x - D_S s||

Pati, Rezaiifar & Krishnaprasad (1993); nonnegative: Bruckstein, Elad & Zibulevsky, IEEE Trans. Inf. Theory
54 (2008), section III-C. Greedy: it carries no certificate, so duality_gap is inf and converged False.

Each sample works on the Gram matrix with the inverse Gram of its atoms kept by rank-one updates (Rubinstein,
Zibulevsky & Elad, Technion CS-2008-08). The first call compiles for about 5 seconds (once per installation).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._limits import Limits, limits, stop_words
from amortgap.solvers._solution import Solution, each
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import share
from amortgap.solvers.batched_omp import floor, in_double
from amortgap.solvers.prepared import Prepared, prepare


def refusal(x: Tensor, N: int) -> str | None:
    """Why omp does not pursue these signals, in one sentence, or None."""
    return kernel_refusal("omp", x, N, itemsize=x.dtype.itemsize, instead="batched_omp")


def omp(
    D: Tensor | Prepared,
    x: Tensor,
    K: int | Tensor,
    *,
    residual: float | Tensor | None = None,
    nonnegative: bool = True,
) -> Solution:
    """Codes (n, N) with at most K non-zeros.  Atoms are compared by d_i.r / ||d_i||.

    A sample stops early when no atom improves its fit, so an exact fit keeps fewer than K atoms, and where its
    residual is no longer than `residual`. n_steps counts the atoms taken. float32 samples that meet an atom of
    which less than batched_omp.SHARP (of its squared length) is new to the active ones, or whose end is `unsure`,
    are done again in float64.
    Memory: the Gram matrix, N^2 numbers, and 512 N correlations a thread.
    Raises ValueError for CUDA tensors, half precision and Gram matrices beyond 4 GiB.
    """
    refuse(refusal(x, D.shape[1]))
    given = prepare(D)
    end = limits(x, K, residual)
    found, schur = _one_by_one(given, x, end, nonnegative)
    if x.dtype == torch.float64:
        return found
    return in_double(given.D, x, end, found, schur, nonnegative=nonnegative)


def _one_by_one(given: Prepared, x: Tensor, end: Limits, nonnegative: bool) -> tuple[Solution, Tensor]:
    """The solution, and the smallest Schur complement each sample met."""
    # numba takes half a second to import
    from amortgap.solvers.kernels.omp import Atoms, Ends, Found, pursue_rows

    n, (M, N) = len(x), given.shape
    # numpy asks the system for large pages, which makes touching this memory several times cheaper
    codes = torch.from_numpy(np.zeros((n, N), x.numpy().dtype))
    steps, flops = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    objective, schur = torch.zeros(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    signals = x.contiguous().numpy()
    columns, gram = given.unit(x.dtype), given.cosines(x.dtype)
    unit, length = columns.T, given.lengths.to(x.dtype).numpy()
    singular = 100 * torch.finfo(x.dtype).eps
    atoms = Atoms(columns.numpy(), gram.G, length, end.most, not nonnegative, singular)
    ends = Ends(end.K.contiguous().numpy(), (end.residual.double() ** 2).numpy(), floor(x).numpy())
    found = Found(*(part.numpy() for part in (codes, objective, steps, flops, schur)))
    integer = np.zeros(1, np.int32 if x.dtype == torch.float32 else np.int64)

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            pursue_rows(rows.start, (x[rows] @ unit).numpy(), signals, ends, integer, atoms, found)

    share(n, work)
    near = (end.residual > 0) & (2 * objective <= (1 + 1e-6) * end.residual.double() ** 2)
    solution = Solution(
        codes,
        objective,
        duality_gap=torch.full((n,), torch.inf, dtype=torch.float64),
        n_steps=steps,
        converged=torch.zeros(n, dtype=torch.bool),
        flops=int(flops.sum()) + 2 * n * M * N + gram.flops,
        method=each("omp", n),
        stop=stop_words(steps, end, near),
    )
    return solution, schur
