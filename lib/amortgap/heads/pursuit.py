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
from amortgap.heads._restricted import ON_CHIP, Found, Plan, in_blocks, operations, restricted
from amortgap.solvers._pivot import suits_chip
from amortgap.solvers.prepared import Prepared

#: candidates, and latents, up to which, on CUDA in float32, one program an activation takes all steps; up to
#: `_restricted.ON_CHIP` candidates that of the other heads is faster
SPREAD = 256, 64


@torch.no_grad()
def pursuit(given: Prepared, x: Tensor, proposal: Proposal) -> Found:
    """Values of at most `k` candidates of each activation."""
    k, T = proposal.k, proposal.candidates.shape[1]
    plan = Plan(torch.zeros_like(k), proposal.width, k, k)
    if suits_chip(x) and len(x) and ON_CHIP < T <= SPREAD[0] and int(k.max()) <= SPREAD[1]:
        return _on_chip(given, x, proposal, plan)
    return restricted(given, x, proposal, plan)


def _on_chip(given: Prepared, x: Tensor, proposal: Proposal, plan: Plan) -> Found:
    from amortgap.solvers._omp_on_chip import pursue_among

    def part(x: Tensor, proposal: Proposal, _: slice) -> tuple[Tensor, Tensor]:
        # index_select reads whole rows, at twice the speed of indexing on CUDA
        found = given.rows(x.dtype).index_select(0, proposal.candidates.flatten())
        columns = found.view(*proposal.candidates.shape, -1)
        s = pursue_among(columns, x, proposal.k, proposal.width)
        r = x - torch.bmm(s[:, None], columns)[:, 0]
        usable = torch.arange(s.shape[1], device=s.device) < proposal.width[:, None]
        c = torch.bmm(columns, r[:, :, None])[:, :, 0].where(usable & (s == 0), 0).clamp_min(0).amax(1)
        return s, c.square() / r.square().sum(1).clamp_min(torch.finfo(r.dtype).tiny)

    values, left = in_blocks(part, x, proposal)
    return Found(values, left, operations(given.shape[0], proposal.width, plan))
