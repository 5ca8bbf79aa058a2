"""The encoder's own latents, their amplitudes refitted:  min_s ||x - D s||  with s >= 0 on its support.

What an encoder's amplitudes cost: shrinkage, and reading each off by itself although the columns are correlated.
Lawson & Hanson, Solving Least Squares Problems (1974), chapter 23, started at the encoder's code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found, Plan, restricted
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def refit(given: Prepared, x: Tensor, proposal: Proposal) -> Found:
    """Values of the encoder's latents; candidates beyond them are looked at for `left` alone."""
    k = proposal.k
    return restricted(given, x, proposal, Plan(k, k, k, k))
