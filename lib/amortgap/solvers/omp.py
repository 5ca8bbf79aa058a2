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

from amortgap.solvers._solution import Solution, each
from amortgap.solvers._suits import kernel_refusal, refuse
from amortgap.solvers._threads import share
from amortgap.solvers.prepared import Prepared, prepare


def refusal(x: Tensor, N: int) -> str | None:
    """Why omp does not pursue these signals, in one sentence, or None."""
    return kernel_refusal("omp", x, N, itemsize=x.dtype.itemsize, instead="batched_omp")


def omp(D: Tensor | Prepared, x: Tensor, K: int, *, nonnegative: bool = True) -> Solution:
    """Codes (n, N) with at most K non-zeros.  Atoms are compared by d_i.r / ||d_i||.

    A sample stops early when no atom improves its fit, so an exact fit keeps fewer than K atoms. n_steps counts the
    atoms taken. Memory: the Gram matrix, N^2 numbers, and 512 N correlations a thread.
    Raises ValueError for CUDA tensors, half precision and Gram matrices beyond 4 GiB.
    """
    refuse(refusal(x, D.shape[1]))
    given = prepare(D)
    D = given.D
    length = given.lengths.to(x.dtype)
    # below this an inner product with the residual is rounding of x
    floor = 10 * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, dim=1)
    return _one_by_one(D / length, length, x, K, floor, nonnegative)


def stop_words(steps: Tensor, K: int) -> np.ndarray:
    """Why each pursuit of at most K atoms ended after so many steps, (n,)."""
    return np.where(steps.numpy(force=True) < K, "no atom improves the fit", "K atoms").astype(object)


def _one_by_one(
    unit: Tensor, length: Tensor, x: Tensor, K: int, floor: Tensor, nonnegative: bool
) -> Solution:
    # numba takes half a second to import
    from amortgap.solvers.kernels.omp import Atoms, Found, pursue_rows

    n, (M, N) = len(x), unit.shape
    # numpy asks the system for large pages, which makes touching this memory several times cheaper
    codes = torch.from_numpy(np.zeros((n, N), x.numpy().dtype))
    steps, flops = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    objective, signals = torch.zeros(n, dtype=torch.float64), x.contiguous().numpy()
    columns, gram = unit.T.contiguous().numpy(), (unit.T @ unit).numpy()
    singular = 100 * torch.finfo(x.dtype).eps
    atoms = Atoms(columns, gram, length.numpy(), K, not nonnegative, singular)
    integer = np.zeros(1, np.int32 if x.dtype == torch.float32 else np.int64)

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            found = Found(*(part[rows].numpy() for part in (codes, objective, steps, flops)))
            pursue_rows((x[rows] @ unit).numpy(), signals[rows], floor[rows].numpy(), integer, atoms, found)

    share(n, work)
    return Solution(
        codes,
        objective,
        duality_gap=torch.full((n,), torch.inf, dtype=torch.float64),
        n_steps=steps,
        converged=torch.zeros(n, dtype=torch.bool),
        flops=int(flops.sum()) + 2 * n * M * N + 2 * M * N * N,
        method=each("omp", n),
        stop=stop_words(steps, K),
    )
