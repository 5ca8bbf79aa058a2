"""All candidates are fitted together; then the one whose absence costs least leaves, again and again.

    s = argmin_{s >= 0} ||x - D_S s||,   i = argmin_i s_i^2 / (G_S^-1)_ii,   S <- S - i

s_i^2 / (G_S^-1)_ii is by how much ||x - D_S s||^2 rises when i is left out and the others are fitted anew. It ends
with as many latents as the encoder's code. Couvreur & Bresler, SIAM J. Matrix Anal. Appl. 21 (2000): backward
greedy. Unlike a pursuit it sees all candidates at once, and its cost grows with the cube of their number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found, Plan, restricted
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def leave_one_out(given: Prepared, x: Tensor, proposal: Proposal) -> Found:
    """Values of at most `k` candidates of each activation. It begins with at most M / 2 candidates, or the
    encoder's where they are more, because all must be linearly independent."""
    k, width = proposal.k, proposal.width
    width = torch.maximum(k, width.clamp_max(given.shape[0] // 2))
    return restricted(given, x, proposal, Plan(width, width, width, k))
