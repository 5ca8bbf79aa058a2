"""Many small nonnegative quadratic programs at once, in torch, by block principal pivoting.

    min_{s >= 0}  1/2 s'G s - q's      <=>      s >= 0,  w = q - G s <= 0,  s w = 0

Kim & Park, SIAM J. Sci. Comput. 33 (2011), algorithm 2: guess which s are positive, solve for them, exchange every
index of the wrong sign. Fast, but it may go round in circles, and on dependent columns it does. What it has not
solved is solved by Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23, which descends with every
step: an index enters, and the first that meets zero on the way to the new solution leaves.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

EXCHANGES = 10  # of everything wrong at once, before one index at a time
ON_CHIP = 128  # slots up to which, on CUDA, a program a problem does it (`_pivot_on_chip`)
RIDGE = 10.0  # of the diagonal, in units of the precision: dependent columns share their weight


def pivot(G: Tensor, s: Tensor, v: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """The optimal s (m, T), and how many exchanges each took (m,).

    G (m, T, T) symmetric, positive semidefinite.  s (m, T) >= 0, float64: where to start.  v (m, T) = q - G s
    there, in G's precision: only differences are computed in it, so that from a good start s is better than that.
    slack (m,): a w below it counts as <= 0.  A problem not solved after 10 + 3 T exchanges is returned as far as it
    is, s >= 0.
    """
    if G.shape[1] <= ON_CHIP and suits_chip(G):
        from amortgap.solvers._pivot_on_chip import pivot_on_chip

        best, steps, solved = pivot_on_chip(G, s, v, slack)
        rows = (~solved).nonzero()[:, 0]
        if len(rows):
            best[rows], more = exchange(G[rows], s[rows], v[rows], slack[rows])
            steps[rows] += more
        return best, steps
    return exchange(G, s, v, slack)


def suits_chip(like: Tensor) -> bool:
    """Whether Triton's programs do it: CUDA, float32, and Triton is there (it comes with torch for CUDA)."""
    return like.is_cuda and like.dtype == torch.float32 and find_spec("triton") is not None


def exchange(G: Tensor, s: Tensor, v: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """`pivot` in torch, on any device."""
    free = (s > 0) | (v > slack[:, None])
    best, steps = s.clone(), torch.zeros(len(s), dtype=torch.long, device=s.device)
    todo, given = torch.arange(len(s), device=s.device), (G, s, v, slack)
    for _ in range(EXCHANGES):
        out = torch.where(free, 0, -s).to(G.dtype)
        move = out + solve_free(G, v - times(G, out), free)
        found = s + move
        wrong = torch.where(free, found < 0, v - times(G, move) > slack[:, None])
        steps[todo] += 1
        unsolved = wrong.any(1) | ~found.isfinite().all(1)
        best[todo] = torch.where(unsolved[:, None], s, torch.where(free, found, 0))
        rows = unsolved.nonzero()[:, 0]
        if not len(rows):
            return best, steps
        free = free ^ wrong
        if len(rows) < len(todo):
            G, s, v, slack, free, todo = (part[rows] for part in (G, s, v, slack, free, todo))
    G, s, v, slack = (part[todo] for part in given)
    best[todo], more = descend(G, s, v, slack)
    steps[todo] += more
    return best, steps


def descend(G: Tensor, s: Tensor, v: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """As `pivot`, one index at a time."""
    best, steps = s.clone(), torch.zeros(len(s), dtype=torch.long, device=s.device)
    todo, free = torch.arange(len(s), device=s.device), s > 0
    for _ in range(3 * G.shape[1]):
        move = solve_free(G, v, free)
        reach = torch.where(free & (move < 0), s / -move, torch.inf)
        step = reach.amin(1, keepdim=True).clamp_max(1)
        move = step.to(G.dtype) * move
        free = free & (reach > step)
        s, v = torch.where(free, s + move, 0).clamp_min(0), v - times(G, move)
        best[todo] = s
        steps[todo] += 1
        worst = torch.where(free, -torch.inf, v).max(1)
        arrived = step[:, 0] >= 1
        enters = arrived & (worst.values > slack)
        free = free.scatter(
            1, worst.indices[:, None], free.gather(1, worst.indices[:, None]) | enters[:, None]
        )
        rows = (~arrived | enters).nonzero()[:, 0]
        if not len(rows):
            break
        if len(rows) < len(todo):
            G, s, v, slack, free, todo = (part[rows] for part in (G, s, v, slack, free, todo))
    return best, steps


def times(G: Tensor, y: Tensor) -> Tensor:
    """G y, (m, T)."""
    return torch.bmm(G, y[:, :, None])[:, :, 0]


def solve_free(G: Tensor, rhs: Tensor, free: Tensor) -> Tensor:
    """y (m, T) with  G[free, free] y = rhs[free],  zero elsewhere."""
    ridge = RIDGE * torch.finfo(G.dtype).eps
    diagonal = G.diagonal(dim1=1, dim2=2)
    both = free[:, :, None] & free[:, None, :]
    masked = G * both
    masked.diagonal(dim1=1, dim2=2).copy_(torch.where(free, (1 + ridge) * diagonal, 1))
    factor, failed = torch.linalg.cholesky_ex(masked)
    if bool(failed.any()):  # rounding has beaten the ridge
        more = torch.where(failed > 0, 1000 * ridge, 0)[:, None]
        masked.diagonal(dim1=1, dim2=2).add_(torch.where(free, more * diagonal, 0))
        factor = torch.linalg.cholesky_ex(masked)[0]
    return torch.cholesky_solve((rhs * free)[:, :, None], factor)[:, :, 0]
