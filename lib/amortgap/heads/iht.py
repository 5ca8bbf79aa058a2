"""A few steps of normalised iterative hard thresholding among the candidates, from the encoder's code.

    g = D'(x - D s),   s <- H_k(s + mu g),   mu = ||g_S||^2 / ||D_S g_S||^2,   S the support of s

H_k keeps the k largest positive entries, k the latents of the encoder's code. Blumensath & Davies, IEEE J. Sel.
Top. Signal Process. 4 (2010), eq. 10 and 12. With layers in place of steps this is LISTA with tied weights (Gregor
& LeCun, ICML 2010). At the end the amplitudes are refitted on the support, unless refit is False.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found, Small, coded
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def iht(given: Prepared, x: Tensor, proposal: Proposal, *, steps: int = 4, refit: bool = True) -> Found:
    """Values of at most `k` candidates. Raises ValueError for steps < 0."""
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")

    def code(small: Small, proposal: Proposal) -> tuple[Tensor, Tensor]:
        return _steps(small, proposal, steps), proposal.k

    found, _ = coded(given, x, proposal, code, refit)
    M, m = given.shape[0], proposal.width.double()
    flops = int((2 * M * m + 2 * M * m * m + steps * 4 * m * m).sum())
    return found._replace(flops=flops + found.flops)


def _steps(small: Small, proposal: Proposal, steps: int) -> Tensor:
    G, b = small
    if b.dtype == torch.float32:
        from amortgap.heads import _on_chip

        return _on_chip.steps(G, b, proposal.amplitude, proposal.k, proposal.width, steps)
    s = proposal.amplitude.to(b)
    place = torch.arange(b.shape[1], device=b.device)
    usable = place < proposal.width[:, None]
    for _ in range(steps):
        g = b - torch.bmm(G, s[:, :, None])[:, :, 0]
        inner = g * (s > 0)
        length = (inner * torch.bmm(G, inner[:, :, None])[:, :, 0]).sum(1)
        mu = inner.square().sum(1) / length.clamp_min(torch.finfo(b.dtype).tiny)
        moved = torch.where(usable, s + mu[:, None] * g, 0.0).clamp_min(0)
        values, order = moved.sort(dim=1, descending=True)
        s = torch.zeros_like(s).scatter(1, order, values * (place < proposal.k[:, None]))
    return s.to(proposal.amplitude.dtype)
