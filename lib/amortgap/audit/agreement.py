"""Which code? How far the codes of two ways agree, and what certificates say of the encoder's latents."""

from __future__ import annotations

from torch import Tensor

from amortgap.agreement import jaccard, linear_r2
from amortgap.audit.result import Agreement, Proved
from amortgap.solvers import Prepared, screened


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
    never = screened(D, x, l1, alpha)
    used = own > 0
    count = max(1, int(used.sum()))
    return Proved(int((used & (l1 > 0)).sum()) / count, int((used & never).sum()) / count)
