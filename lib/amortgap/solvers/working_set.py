"""Working-set continuation: the fastest solver here for sparse codes of many signals on a CPU.

For lam falling from max|D'x| to alpha:  screen all atoms at once by  c = D'x - D'D s,  take those above lam as
candidates, and solve the LASSO on (active + candidates) exactly by adding the worst violator and dropping what
turns negative, with the inverse Gram of the active set kept by rank-one updates. At alpha the conditions are
checked and the code refined in float64 on its support, until the duality gap is proved.

An active-set method (Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20 (2000)) with the working sets of
celer (Massias, Gramfort & Salmon, ICML 2018). All arithmetic on full vectors is float32; a sample whose active
Gram is too ill-conditioned for that is solved again in float64, and by `fista` if that fails too.

The first call compiles for about 15 seconds (once per installation: numba keeps the result on disk).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from amortgap.solvers._solution import Solution
from amortgap.solvers.fista import fista

BLOCK = 512  # samples a thread works on before it takes the next
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
    on. init is ignored: the path starts at zero. Runs on torch.get_num_threads() threads.
    Memory: the Gram matrix, 4 N^2 bytes, and 2 KiB N a thread. A sample gets the same code alone or in a batch
    up to the rounding of float32 matrix products, which the certificate covers: objectives agree to tol.
    CUDA tensors, and Gram matrices beyond 4 GiB, go to `fista`.
    """
    M, N = D.shape
    if x.device.type != "cpu" or 4 * N * N > MEMORY:
        return fista(D, x, alpha, nonnegative=nonnegative, tol=tol, init=init)
    limit = 20 * min(M, N) + 200 if max_pivots is None else max_pivots
    codes, record = _solve(D, x, alpha, nonnegative, tol, limit, torch.float32)
    todo = (~(record[1] <= tol)).nonzero().squeeze(1)
    if len(todo) and 8 * N * N <= MEMORY:
        codes[todo], again = _solve(D, x[todo], alpha, nonnegative, tol, limit, torch.float64)
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
    D: Tensor, x: Tensor, alpha: float, nonnegative: bool, tol: float, limit: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Codes (n, N) and their record (4, n): objective, gap, pivots, flops.  Screening in dtype."""
    from amortgap.solvers._working_set_kernel import solve_rows  # numba takes half a second to import

    n, N = len(x), D.shape[1]
    codes, record = torch.zeros(n, N, dtype=x.dtype), torch.zeros(4, n, dtype=torch.float64)
    exact = x.dtype if dtype == torch.float32 else dtype
    x, D, columns = x.to(exact), D.to(dtype), D.T.to(exact).contiguous()
    largest = float(torch.linalg.vector_norm(D.double(), dim=0).max())
    gram = _gram(D).numpy()
    threads = torch.get_num_threads()

    def work(rows: slice, correlation: Tensor) -> None:
        solve_rows(
            x[rows].numpy(),
            correlation.numpy(),
            columns.numpy(),
            gram,
            alpha,
            tol,
            not nonnegative,
            largest,
            limit,
            codes[rows].numpy(),
            *record[:, rows].numpy(),
        )

    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, n, threads * BLOCK):
            part = slice(start, min(n, start + threads * BLOCK))
            correlation = x[part].to(dtype) @ D  # before the threads start: their pools must not nest
            size = -(-len(correlation) // threads)
            rows = [slice(a, min(part.stop, a + size)) for a in range(part.start, part.stop, size)]
            list(pool.map(work, rows, correlation.split(size)))
    return codes, record


def _gram(D: Tensor) -> Tensor:
    """D'D by blocks of rows, half of them mirrored."""
    N = D.shape[1]
    gram, rows = torch.empty(N, N, dtype=D.dtype), D.T.contiguous()
    for a in range(0, N, 1024):
        b = min(a + 1024, N)
        torch.mm(rows[a:b], D[:, a:], out=gram[a:b, a:])
        gram[b:, a:b] = gram[a:b, b:].T
    return gram
