"""Which code? How far the codes of two ways agree, and how far each survives a little noise."""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.audit.result import Agreement, Proved
from amortgap.solvers import Prepared
from amortgap.solvers.path import screened

RIDGE = 1e-2  # times the mean squared norm of a code
NOISE = 0.01  # of an activation's norm


def jaccard(a: Tensor, b: Tensor) -> float:
    """Mean over tokens of |A and B| / |A or B| for the supports of codes (n, N); two empty ones agree."""
    both, one = ((a > 0) & (b > 0)).sum(1).double(), ((a > 0) | (b > 0)).sum(1).double()
    return float(torch.where(one > 0, both / one.clamp_min(1), 1.0).mean())


def linear_r2(a: Tensor, b: Tensor) -> float:
    """R^2 of b (n, N) from a (n, N) by ridge regression: each half of the tokens predicted from the other."""
    half = torch.arange(len(a), device=a.device) % 2 == 0
    rest = total = 0.0
    for train in (half, ~half):
        mean_a, mean_b = a[train].mean(0), b[train].mean(0)
        known, new = a[train] - mean_a, a[~train] - mean_a
        gram = known @ known.T
        gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(1e-12))
        weights = torch.cholesky_solve(known @ new.T, torch.linalg.cholesky(gram)).T
        guess = weights @ (b[train] - mean_b)
        rest += float((b[~train] - mean_b - guess).square().sum())
        total += float((b[~train] - mean_b).square().sum())
    return 1 - rest / total if total > 0 else 0.0


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
    never = screened(D.D.double(), x.double(), l1, alpha)
    used = own > 0
    count = max(1, int(used.sum()))
    return Proved(int((used & (l1 > 0)).sum()) / count, int((used & never).sum()) / count)


def shaken(z: Tensor, seed: int) -> Tensor:
    """z (n, M) with noise of one per cent of each row's norm."""
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    length = torch.linalg.vector_norm(z, dim=1, keepdim=True) / torch.linalg.vector_norm(
        noise, dim=1, keepdim=True
    )
    return z + NOISE * length * noise
