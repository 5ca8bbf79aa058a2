"""Which code? How far the codes of two ways agree, and what certificates say of the encoder's latents."""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.agreement import jaccard, linear_r2
from amortgap.audit.result import Agreement, Proved
from amortgap.solvers import Prepared

COLUMNS = 2048  # of a dictionary that are in float64 at a time


def agreements(codes: dict[str, Tensor]) -> list[Agreement]:
    """The encoder with each other way, and chance: the other way's codes of other tokens."""
    own = codes["encoder"]
    found = []
    for name, other in codes.items():
        if name == "encoder":
            continue
        moved = other.roll(len(other) // 2, 0)
        found.append(
            Agreement(
                name, jaccard(own, other), jaccard(own, moved), linear_r2(own, other), linear_r2(own, moved)
            )
        )
    return found


def proved(D: Prepared, x: Tensor, own: Tensor, l1: Tensor, alpha: float) -> Proved:
    """Of the encoder's latents: those that the LASSO's solution l1 (n, N) uses, and those that no optimum uses."""
    never = _absent(D, x.double(), l1, alpha)
    used = own > 0
    count = max(1, int(used.sum()))
    return Proved(int((used & (l1 > 0)).sum()) / count, int((used & never).sum()) / count)


def _absent(D: Prepared, x: Tensor, s: Tensor, alpha: float) -> Tensor:
    """`solvers.path.screened` in float64, without a second D: some columns at a time.

    With r = x - D s the dual point is y = c r, and its gap P - Q is 1/2 ||r - y||^2 + alpha sum(s) - s'D'y.
    """
    blocks, r = D.D.split(COLUMNS, dim=1), x.clone()
    for d, part in zip(blocks, s.split(COLUMNS, dim=1), strict=True):
        r -= part.double() @ d.double().T
    match = torch.cat([r @ d.double() for d in blocks], 1)
    tiny = torch.finfo(x.dtype).tiny
    top = (r * x).sum(1) / r.square().sum(1).clamp_min(tiny)
    c = torch.minimum(top.clamp_min(0), alpha / match.amax(1).clamp_min(tiny))[:, None]
    gap = 0.5 * ((1 - c) * r).square().sum(1) + (s * (alpha - c * match)).sum(1)
    return c * match + (2 * gap.clamp_min(0)).sqrt()[:, None] * D.lengths < alpha
