"""Working-set continuation: the fastest solver here for sparse codes of many signals on a CPU.

For lam falling from max|D'x| to alpha:  screen all atoms at once by  c = D'x - D'D s,  take the largest as
candidates, and solve the LASSO on (active + candidates) exactly by adding the worst violator and dropping what
turns negative, with the inverse Gram of the active set kept by rank-one updates. At alpha the conditions are
checked and the code refined in float64 on its support, until the duality gap is proved.

An active-set method (Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20 (2000)) with the working sets of
celer (Massias, Gramfort & Salmon, ICML 2018). All arithmetic on full vectors is float32; a sample whose active
Gram is too ill-conditioned for that is solved again in float64, and by `fista` if that fails too.

The first call compiles for about 15 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import Solution
from amortgap.solvers.fista import fista

BLOCK = 512  # samples a thread takes from each matrix product
COMPRESSED = 2048  # columns from which on the Gram matrix is held in 16 bits, and D'x computed in them
MEMORY = 4 * 2**30  # bytes the Gram matrix may take; beyond that fista, which needs none


def working_set(
    D: Tensor,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_pivots: int | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    n_steps counts the atoms added and dropped; a sample that exceeds max_pivots (20 min(M, N) + 200) is handed
    on. The path starts at zero, or at the support of init, which helps where that is close to the solution's:
    the codes of a neighbouring alpha. Runs on torch.get_num_threads() threads, the matrix products on those of
    numpy's BLAS (OPENBLAS_NUM_THREADS).
    Memory: the Gram matrix, 4 N^2 bytes (2 N^2 from 2048 columns on unless lengths or angles forbid it; 8 N^2
    where samples are solved again in float64), 4 KiB N of correlations (2 KiB N a thread beyond two),
    4 min(M, N)^2 bytes a thread, and the codes.
    A sample gets the same code alone or in a batch up to the rounding of float32 matrix products, which the
    certificate covers: objectives agree to tol. CUDA tensors, half precision and Gram matrices beyond 4 GiB go
    to `fista`.
    """
    M, N = D.shape
    known = x.dtype in (torch.float32, torch.float64)
    if x.device.type != "cpu" or not known or 4 * N * N > MEMORY:
        return fista(D, x, alpha, nonnegative=nonnegative, tol=tol, init=init)
    limit = 20 * min(M, N) + 200 if max_pivots is None else max_pivots
    codes, record = _solve(D, x, alpha, nonnegative, tol, limit, init, torch.float32)
    todo = (~(record[1] <= tol)).nonzero().squeeze(1)
    if len(todo) and 8 * N * N <= MEMORY:
        codes[todo], again = _solve(D, x[todo], alpha, nonnegative, tol, limit, None, torch.float64)
        record[:2, todo] = again[:2]
        record[2:, todo] += again[2:]
        todo = (~(record[1] <= tol)).nonzero().squeeze(1)
    if len(todo):
        rest = fista(D, x[todo], alpha, nonnegative=nonnegative, tol=tol, init=codes[todo])
        codes[todo] = rest.codes
        record[0, todo], record[1, todo] = rest.objective, rest.duality_gap
        record[2, todo] += rest.n_steps
        record[3, todo] += rest.flops / len(todo)
    flops = int(record[3].sum()) + M * N * N
    return Solution(codes, record[0], record[1], record[2].long(), record[1] <= tol, flops, "working_set")


def _solve(
    D: Tensor,
    x: Tensor,
    alpha: float,
    nonnegative: bool,
    tol: float,
    limit: int,
    init: Tensor | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Codes (n, N) and their record (4, n): objective, gap, pivots, flops.  Screening in dtype."""
    from amortgap.solvers._working_set_kernel import solve_rows  # numba takes half a second to import

    n, N = len(x), D.shape[1]
    codes = torch.zeros(n, N, dtype=x.dtype)  # numpy's large pages are dear where memory is fragmented
    record = torch.zeros(4, n, dtype=torch.float64)
    exact = x.dtype if dtype == torch.float32 else dtype
    columns, signals, weight, unit, size, longest = in_units(D.to(exact), x.to(exact), alpha)
    matrix = torch.from_numpy(columns).to(dtype).numpy()
    coarse = _coarse(matrix) if dtype == torch.float32 and N >= COMPRESSED and _half_width() else None
    columns = np.ascontiguousarray(columns.T)
    gram, scale, fuzz = _gram(matrix, longest)
    start_codes = (x.new_empty(0, N) if init is None else init.detach().contiguous()).numpy()
    integer = np.int32 if dtype == torch.float32 else np.int64
    threads = torch.get_num_threads()
    chunk = max(1024, BLOCK * threads)
    correlation, lacking = np.empty((min(n, chunk), N), matrix.dtype), np.empty(min(n, chunk))

    def work(start: int, stop: int, first: int) -> None:
        rows, here = slice(start, stop), slice(start - first, stop - first)
        solve_rows(
            signals[rows],
            correlation[here],
            lacking[here],
            columns,
            gram,
            matrix.dtype.type(scale),
            fuzz,
            weight,
            tol,
            not nonnegative,
            longest,
            unit,
            limit,
            start_codes[rows],
            codes[rows].numpy(),
            *(row.numpy() for row in record[:, rows]),
            np.zeros(1, integer),
        )

    with ThreadPoolExecutor(threads) as pool:  # starts no thread before it is given work
        for first in range(0, n, chunk):
            stop = min(n, first + chunk)
            # before the threads start, because the threads of BLAS must not run inside them
            # what float32 cannot hold is solved in float64
            with np.errstate(over="ignore", invalid="ignore"):
                part, c = signals[first:stop].astype(matrix.dtype), correlation[: stop - first]
                lacking[: stop - first] = _correlate(part, matrix, coarse, longest, 0.3 * weight, c)
            share = max(-(-(stop - first) // threads), 32)
            starts = range(first, stop, share)
            if len(starts) == 1:
                work(first, stop, first)
            else:
                list(pool.map(work, starts, [min(a + share, stop) for a in starts], [first] * len(starts)))
    record[0] *= size * size
    return codes, record


def _half_width() -> bool:
    """Whether this CPU multiplies 16-bit floats, at twice the speed of float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def _coarse(D: np.ndarray) -> tuple[Tensor, float]:
    """D in bfloat16, and the largest error of a column."""
    exact = torch.from_numpy(D)
    coarse = exact.bfloat16()
    return coarse, float(np.linalg.norm(D - coarse.float().numpy(), axis=0).max())


def _correlate(
    x: np.ndarray,
    D: np.ndarray,
    coarse: tuple[Tensor, float] | None,
    longest: float,
    most: float,
    out: np.ndarray,
) -> Any:
    """out = x D (n, N), and a bound (n,) on its error beyond float32's, which half of the rows keep below most.

    With `_coarse`'s D' and x' in bfloat16, and their product once more rounded to its 8 digits,
    |x d - x' d'| <= |x| |d - d'| + |x - x'| |d'| + 2^-9 |x d|.
    """
    if coarse is not None:
        rounded, blur = coarse
        rows = torch.from_numpy(x)
        short = rows.bfloat16()
        error = torch.linalg.vector_norm(rows, dim=1) * blur
        error += torch.linalg.vector_norm(rows - short.float(), dim=1) * (longest + blur)
        if error.median() < most:
            product = short @ rounded
            torch.from_numpy(out).copy_(product)
            return (1.001 * error + 0.002 * product.abs().amax(1)).numpy()
    np.matmul(x, D, out=out)
    return 0.0


def _gram(matrix: np.ndarray, longest: float) -> tuple[np.ndarray, float, float]:
    """G, scale, fuzz with  |D'D - scale G| <= fuzz.  Integers of 16 bits where float32 would not fit the caches.

    Reading G is what limits large dictionaries, and half the bytes are read faster. Only for columns of about
    one length, as the error is absolute, and of mean cosine below a half: closer ones need more digits.
    """
    N = matrix.shape[1]
    uneven = np.linalg.norm(matrix, axis=0).min() < 0.5 * longest
    coherent = np.linalg.norm(matrix.mean(1)) ** 2 > 0.5 * longest**2
    if matrix.dtype != np.float32 or N < COMPRESSED or uneven or coherent:
        return matrix.T @ matrix, 1.0, 0.0  # numpy sees the symmetry and does half of it
    scale = 1.001 * longest**2 / 32767
    gram, scaled = np.empty((N, N), np.int16), matrix / np.float32(scale)
    room = np.empty((512, N), np.float32)
    for first in range(0, N, 512):
        block = slice(first, first + 512)
        part = room[: min(512, N - first), : N - first]
        np.matmul(matrix[:, block].T, scaled[:, first:], out=part)
        np.rint(part, out=part)
        gram[block, first:] = part
        for other in range(first, N, 512):  # in pieces that fit the caches
            gram[other : other + 512, block] = gram[block, other : other + 512].T
    return gram, scale, 0.51 * scale


def in_units(D: Tensor, x: Tensor, alpha: float) -> tuple[np.ndarray, np.ndarray, float, float, float, float]:
    """D and x in units in which the longest column and alpha are about one.

    So float32 can neither overflow nor underflow where it matters, and the units are powers of two, which keep
    every number exact. Returns D, x, alpha in these units, the units of the codes and of x, and the length of the
    longest column in these units.
    """
    columns = D.detach().double().numpy()  # whose norms numpy takes faster than torch
    longest = float(np.linalg.norm(columns, axis=0).max())
    length = 2.0 ** round(math.log2(longest))
    size = 2.0 ** round(math.log2(alpha / length))
    D, x = (D / length).detach().contiguous(), (x / size).detach().contiguous()
    return D.numpy(), x.numpy(), alpha / (length * size), size / length, size, longest / length
