"""The nonnegative LASSO among the candidates, each activation at a penalty of its own.

    min_s 1/2 ||x - D s||^2 + alpha sum(s)   over s >= 0 on the candidates

alpha is lowered along the solution path (homotopy: Osborne, Presnell & Turlach, IMA J. Numer. Anal. 20 (2000)) as
far as the code has no more latents than the encoder's. So every activation is compared at equal L0, and no penalty
has to be tuned. The amplitudes, which the penalty shrinks, are then refitted on the support, unless refit is False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found, Small, Sweeps, coded
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def lasso(given: Prepared, x: Tensor, proposal: Proposal, *, refit: bool = True) -> Found:
    """Values of at most `k` candidates, exact solutions among them before the refit."""
    found, turns = coded(given, x, proposal, _path, refit)
    M, m = given.shape[0], proposal.width.double()
    flops = int((2 * M * m + 2 * M * m * m + turns.double() * 4 * m * m).sum())
    return found._replace(flops=flops + found.flops)


def _path(small: Small, proposal: Proposal) -> tuple[Tensor, Tensor]:
    """The codes (n, T) and how many times a candidate entered or left, (n,).

    On the active set A the code is G_A^-1 (b_A - alpha 1) and c = b - G s: with v the least squares of the right
    side 1, s_A = u - alpha v and c_j = p_j + alpha q_j. Two right sides are swept along, b and 1.
    """
    G, b = small
    if b.dtype == torch.float32:
        from amortgap.heads._on_chip import path

        return path(G, b, proposal.k, proposal.width)
    n, T = b.shape
    usable = torch.arange(T, device=b.device) < proposal.width[:, None]
    sweeps = Sweeps(G, torch.stack([b, torch.ones_like(b)], 2))
    alpha = torch.where(usable, b, 0.0).amax(1).clamp_min(0)
    going, turns = (alpha > 0) & (proposal.k > 0), torch.zeros(n, dtype=torch.long, device=b.device)
    rows, last = torch.arange(n, device=b.device), torch.full((n,), -1, device=b.device)
    for _ in range(8 * T):
        if not going.any():
            break
        fit, one = sweeps.sides[..., 0], sweeps.sides[..., 1]
        # inactive: c_j = fit + alpha (1 - one) meets alpha;  active: fit - alpha one meets zero
        meets = fit / one
        reaches = torch.where(sweeps.active, one < 0, usable & (one > 0) & (sweeps.diagonal > 1e-7))
        # the one that has just turned meets its bound where it is
        reaches[rows, last.clamp_min(0)] &= last < 0
        event = torch.where(reaches & (meets <= alpha[:, None] * (1 + 1e-9)), meets, -torch.inf).max(1)
        full = ~sweeps.active[rows, event.indices] & (sweeps.active.sum(1) >= proposal.k)
        alpha = torch.where(going, event.values.clamp_min(0).minimum(alpha), alpha)
        going = going & (event.values > 0) & ~full
        sweeps.exchange(event.indices, going)
        turns += going
        last = torch.where(going, event.indices, last)
    fit, one = sweeps.sides[..., 0], sweeps.sides[..., 1]
    s = torch.where(sweeps.active, fit - alpha[:, None] * one, 0.0).clamp_min(0)
    return s.to(proposal.amplitude.dtype), turns
