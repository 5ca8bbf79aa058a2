"""K-SVD: one column at a time, together with the codes that use it.

For column j and the samples with s_j != 0, E = what all other columns leave of them:
    min over ||d|| = 1, s   1/2 ||E - s d'||^2 + alpha |s|_1   (s >= 0)
by SWEEPS exchanges  d = E's / ||E's||,  s = soft(E d, alpha)  (relu(E d - alpha)), each exact in its block.

Aharon, Elad & Bruckstein, IEEE Trans. Signal Process. 54 (2006), section IV; the exchanges stand for the SVD, as in
their nonnegative variant (Proc. SPIE 5914 (2005)), because the l1 term and the sign constraint rule the SVD out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from amortgap.dictionaries._alternate import alternate

SWEEPS = 3


def update(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool) -> tuple[Tensor, int]:
    """All columns in turn. The objective cannot rise."""
    D, codes = D.clone(), codes.clone()
    residual = x - codes @ D.T
    flops = 2 * x.numel() * D.shape[1]
    for j in range(D.shape[1]):
        users = codes[:, j].nonzero().squeeze(1)
        if len(users) == 0:
            continue
        d, s = D[:, j], codes[users, j]
        E = residual[users] + s[:, None] * d
        for _ in range(SWEEPS):
            direction = s @ E
            length = torch.linalg.vector_norm(direction)
            if length == 0:  # the penalty has switched the column off
                break
            d = direction / length
            match = E @ d
            s = (match if nonnegative else match.abs()).sub(alpha).clamp_min(0)
            s = s if nonnegative else s * match.sign()
        D[:, j], codes[users, j] = d, s
        residual[users] = E - s[:, None] * d
        flops += SWEEPS * 4 * E.numel()
    return D, flops


ksvd = partial(alternate, update=update)
