"""The pursuit, only for activations on which a certificate says that it pays.

After the encoder's latents are refitted, c_j^2 / ||r||^2 with c_j = d_j.r is the share of the squared residual
that candidate j would explain if it entered alone. Where the largest is below `gate`, the refitted code stays; the
others get `pursuit`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found
from amortgap.heads.pursuit import pursuit
from amortgap.heads.refit import refit
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def adaptive(given: Prepared, x: Tensor, proposal: Proposal, *, gate: float = 0.02) -> Found:
    """Values of at most `k` candidates. Raises ValueError unless 0 <= gate <= 1."""
    if not 0 <= gate <= 1:
        raise ValueError(f"gate is a share of the squared residual, between 0 and 1, not {gate}")
    first = refit(given, x, proposal)
    pays = (first.left > gate).nonzero()[:, 0]
    second = pursuit(given, x[pays], proposal.rows(pays))
    first.values[pays], first.left[pays] = second.values, second.left
    return Found(first.values, first.left, first.flops + second.flops)
