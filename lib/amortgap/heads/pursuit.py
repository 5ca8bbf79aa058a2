"""The encoder proposes, the pursuit chooses: orthogonal matching pursuit among the candidates.

    i = argmax over candidates of d_i.r,   S <- S + i,   s_S = argmin_{s >= 0} ||x - D_S s||

until S has as many latents as the encoder's code, or no candidate improves the fit. A latent whose amplitude meets
zero leaves and makes room. Pati, Rezaiifar & Krishnaprasad (1993); with s >= 0: Bruckstein, Elad & Zibulevsky, IEEE
Trans. Inf. Theory 54 (2008), section III-C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.heads._restricted import Found, Plan, restricted
from amortgap.solvers.prepared import Prepared


@torch.no_grad()
def pursuit(given: Prepared, x: Tensor, proposal: Proposal) -> Found:
    """Values of at most `k` candidates of each activation."""
    k = proposal.k
    return restricted(given, x, proposal, Plan(torch.zeros_like(k), proposal.width, k, k))
