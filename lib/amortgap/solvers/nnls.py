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
SLACK = 1e-10  # a gradient or code this small, relative to max |D'x|, is rounding


@torch.no_grad()
@same_kind
def refit(D: Any, x: Any, support: Any, *, nonnegative: bool = True) -> Any:
    """Best codes (n, N) on each sample's own support (bool (n, N)), in float64 inside.

    Raises ValueError for NaN or inf, and shapes that do not fit.
    Memory: n k^2 float64 numbers, k the largest support. Raises RuntimeError if pivoting does not end.
    """
    matrix = as_tensor(plain(D), "the dictionary D").detach()  # of which a column may be zero here
    x = check_signals(matrix, x)
    if not isinstance(support, Tensor) or support.shape != (len(x), matrix.shape[1]):
        raise ValueError(f"the support must be an array of shape {(len(x), matrix.shape[1])}")
    return fit_support(matrix, x, support.bool(), nonnegative=nonnegative)[0]


def fit_support(
    D: Tensor | Prepared, x: Tensor, support: Tensor, *, nonnegative: bool = True
) -> tuple[Tensor, int]:
    """As `refit`: the codes, and operations for all samples."""
    n, N = support.shape
    k = int(support.sum(1).max()) if n else 0
    if k == 0:
        return torch.zeros(n, N, dtype=x.dtype, device=x.device), 0
    # indices of the support, padded with unused slots
    slots = support.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :k]
    used = support.gather(1, slots)
    # unit columns inside, so that one tolerance serves columns of every length
    D64 = plain(D).double()
    norms = torch.linalg.vector_norm(D64, dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    unit = D64 / norms
    gram = (unit.T @ unit)[slots[:, :, None], slots[:, None, :]]
    rhs = (x.double() @ unit).gather(1, slots)
    values, solved = _pivot(gram, rhs, used) if nonnegative else (_solve(gram, rhs, used), n)
    values = values / norms[slots]
    codes = torch.zeros(n, N, dtype=x.dtype, device=x.device).scatter_(1, slots, values.to(x.dtype))
    # D'D, D'x, and for each small system a factorisation, two triangular solves and, with s >= 0, a gradient
    each = k**3 // 3 + 2 * k * k + (2 * k * k if nonnegative else 0)
    return codes, 2 * N * N * len(D64) + 2 * n * N * len(D64) + solved * each


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
