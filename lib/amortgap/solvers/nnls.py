"""Least squares on given supports, nonnegative or not, by block principal pivoting.

    min_s 1/2 ||x - D s||^2   with s zero outside the support (and s >= 0)

Kim & Park, SIAM J. Sci. Comput. 33 (2011), algorithm 2: guess the positive set, solve, exchange every index
that has the wrong sign; when that stops helping, exchange only the last one (Murty), which terminates where the
columns of the support are independent. Samples on which it does not are done by Lawson & Hanson, Solving Least
Squares Problems (1974), chapter 23: one index enters at a time, which is slow and works for any columns.
Every sample has its own support; the small systems are solved in one batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_tensor, check_signals, same_kind
from amortgap.solvers.prepared import Prepared, plain

RIDGE = 1e-12  # on a unit diagonal; only matters when columns of the support are linearly dependent
MAX_PIVOTS = 100
MEMORY = 2**28  # bytes of working memory
#: k x k matrices in float64 that a sample has at once: its Gram matrix, the rows still to do of it, the diagonal,
#: the free part without and with it, the factor, and LAPACK's copy
SQUARES = 7
SLACK = 1e-10  # a gradient or code this small, relative to max |D'x|, is rounding


@torch.no_grad()
@same_kind
def refit(D: Any, x: Any, support: Any, *, nonnegative: bool = True) -> Any:
    """Best codes (n, N) on each sample's own support (bool (n, N)), in float64 inside.

    D (M, N) may be prepared. Memory: a copy of the columns in use, the codes, and at most 256 MiB, or for one
    sample with a support of k atoms 8 k (7k + 3M) bytes.
    Raises ValueError for NaN or inf, and shapes that do not fit; RuntimeError if pivoting does not end.
    """
    matrix = as_tensor(plain(D), "the dictionary D").detach()  # of which a column may be zero here
    if matrix.ndim != 2:
        raise ValueError(f"the dictionary D must have shape (M, N), but its shape is {tuple(matrix.shape)}")
    x = check_signals(matrix, x)
    if not isinstance(support, Tensor) or support.shape != (len(x), matrix.shape[1]):
        raise ValueError(f"the support must be an array of shape {(len(x), matrix.shape[1])}")
    return fit_support(matrix, x, support.bool(), nonnegative=nonnegative)[0]


def fit_support(
    D: Tensor | Prepared, x: Tensor, support: Tensor, *, nonnegative: bool = True
) -> tuple[Tensor, int]:
    """As `refit`: the codes, and operations for all samples."""
    (n, N), M = support.shape, x.shape[1]
    codes, flops = torch.zeros(n, N, dtype=x.dtype, device=x.device), 0
    counts = support.sum(1)
    k = int(counts.max()) if n else 0
    if k == 0:
        return codes, 0
    atoms = support.any(0).nonzero()[:, 0]
    columns = plain(D).index_select(1, atoms).T.contiguous()
    U = len(atoms)
    # one Gram matrix of all columns in use costs U^2, those of each sample's n k^2
    whole = 8 * U * (U + M)
    shared = n * k * k >= U * U and whole <= MEMORY // 2
    frame = _Columns(columns, shared)
    flops += 2 * U * U * M if shared else 0
    left, gathered = (MEMORY - whole, 0) if shared else (MEMORY, 3 * M)
    size = max(1, left // (8 * k * (SQUARES * k + gathered)))
    for rows in counts.argsort(stable=True).split(size):
        k = max(1, int(counts[rows[-1]]))
        slots, used = _slots(support[rows].index_select(1, atoms), k)
        gram, rhs, norms = frame.systems(x[rows].double(), slots)
        values, solved = _pivot(gram, rhs, used) if nonnegative else (_solve(gram, rhs, used), len(rows))
        values = (values / norms).masked_fill(~used, 0).to(x.dtype)
        codes.view(-1).scatter_add_(0, (rows[:, None] * N + atoms[slots]).flatten(), values.flatten())
        # D'x and D'D, and for each small system a factorisation, two triangular solves and, with s >= 0, a gradient
        each = k**3 // 3 + 2 * k * k + (2 * k * k if nonnegative else 0)
        flops += solved * each + len(rows) * 2 * M * (U if shared else k * (k + 1))
    return codes, flops


def _slots(support: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices of each row's True, (n, k), and which of them are in use; the others are zero."""
    row, column = support.nonzero(as_tuple=True)
    place = support.cumsum(1)[row, column] - 1
    slots = torch.zeros(len(support), k, dtype=torch.long, device=support.device)
    used = torch.zeros_like(slots, dtype=torch.bool)
    slots[row, place], used[row, place] = column, True
    return slots, used


class _Columns:
    """Columns in use, (U, M); in float64 and of unit length where they are needed, so that one tolerance serves
    columns of every length."""

    def __init__(self, columns: Tensor, shared: bool) -> None:
        self.columns = columns
        self.norms = torch.cat(
            [torch.linalg.vector_norm(part.double(), dim=1) for part in columns.split(512)]
        )
        self.norms.clamp_min_(torch.finfo(torch.float64).tiny)
        self.unit = columns.double() / self.norms[:, None] if shared else None
        self.gram = self.unit @ self.unit.T if self.unit is not None else None

    def systems(self, x: Tensor, slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gram matrices (n, k, k), right-hand sides (n, k) and lengths (n, k) of the slots' columns."""
        norms = self.norms[slots]
        if self.unit is not None and self.gram is not None:
            gram = self.gram[slots[:, :, None], slots[:, None, :]]
            return gram, (x @ self.unit.T).gather(1, slots), norms
        own = self.columns[slots].double().div_(norms[:, :, None])
        return own @ own.mT, (own @ x[:, :, None])[:, :, 0], norms


def _solve(gram: Tensor, rhs: Tensor, free: Tensor) -> Tensor:
    """Solve gram[free, free] s = rhs[free] per sample, zero elsewhere."""
    both = free[:, :, None] & free[:, None, :]
    diagonal = torch.diag_embed(torch.where(free, RIDGE, 1.0).to(gram))
    # not torch.linalg.solve: from some 200 columns on, with two threads, MKL's batched LU returns no pivots
    factor, failed = torch.linalg.cholesky_ex(gram * both + diagonal)
    if failed.any():  # rounding has beaten the ridge
        more = torch.where(failed > 0, 1000.0, 1.0)[:, None, None]
        factor = torch.linalg.cholesky(gram * both + more * diagonal)
    return torch.cholesky_solve((rhs * free)[:, :, None], factor)[:, :, 0]


def _pivot(gram: Tensor, rhs: Tensor, used: Tensor) -> tuple[Tensor, int]:
    """The nonnegative codes, and how many systems were solved."""
    solved = 0
    free, codes = used.clone(), torch.zeros_like(rhs)
    fewest = torch.full((len(rhs),), rhs.shape[1] + 1, device=rhs.device)
    chances = torch.full_like(fewest, 3)  # full exchanges allowed without progress
    order = torch.arange(rhs.shape[1], device=rhs.device)
    slack = SLACK * rhs.abs().amax(1, keepdim=True)
    todo = torch.arange(len(rhs), device=rhs.device)
    for _ in range(MAX_PIVOTS):
        s = _solve(gram[todo], rhs[todo], free[todo])
        solved += len(todo)
        gradient = rhs[todo] - (gram[todo] @ s[:, :, None]).squeeze(2)
        wrong = torch.where(free[todo], s < -slack[todo], (gradient > slack[todo]) & used[todo])
        n_wrong = wrong.sum(1)
        codes[todo] = s.clamp_min(0)
        better = n_wrong < fewest[todo]
        chances[todo] = torch.where(better, 3, chances[todo] - 1)
        fewest[todo] = torch.minimum(n_wrong, fewest[todo])
        last = order == torch.where(wrong, order, -1).amax(1, keepdim=True)
        exchange = torch.where((chances[todo] >= 0)[:, None], wrong, wrong & last)
        free[todo] ^= exchange
        todo = todo[n_wrong > 0]
        if len(todo) == 0:
            return codes, solved
    codes[todo], more = _one_by_one(gram[todo], rhs[todo], used[todo])
    return codes, solved + more


def _one_by_one(gram: Tensor, rhs: Tensor, used: Tensor) -> tuple[Tensor, int]:
    """As `_pivot`, one index at a time."""
    solved = 0
    codes, free = torch.zeros_like(rhs), torch.zeros_like(used)
    slack = SLACK * rhs.abs().amax(1)
    todo = torch.arange(len(rhs), device=rhs.device)
    for _ in range(10 * rhs.shape[1]):
        gradient = rhs[todo] - (gram[todo] @ codes[todo, :, None]).squeeze(2)
        steepest = torch.where(used[todo] & ~free[todo], gradient, -torch.inf).max(1)
        enters = steepest.values > slack[todo]
        todo = todo[enters]
        if len(todo) == 0:
            return codes, solved
        free[todo, steepest.indices[enters]] = True
        turning = todo
        while len(turning):
            solved += len(turning)
            s, fit = codes[turning], _solve(gram[turning], rhs[turning], free[turning])
            # go towards the fit until the first code is zero, and let it leave
            negative = free[turning] & (fit <= 0)
            reach = torch.where(negative, s / (s - fit).clamp_min(torch.finfo(s.dtype).tiny), torch.inf)
            step = reach.amin(1, keepdim=True).clamp_max(1)
            stays = free[turning] & (reach > step)
            free[turning], codes[turning] = stays, torch.where(stays, s + step * (fit - s), 0)
            turning = turning[negative.any(1)]
    raise RuntimeError("nonnegative least squares did not end; the columns of a support are nearly dependent")
