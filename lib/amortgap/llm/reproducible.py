"""Do two dictionaries from different starts hold the same features, or at least the same subspaces?

2606.12138 finds that features which another start does not find again still lie in subspaces that it does.
"""

from __future__ import annotations

from torch import Tensor

from amortgap.metrics import correlations
from amortgap.solvers import pursue

#: From this cosine on a column counts as found again.
SAME = 0.7
#: Columns of the other dictionary among which one that was not found again is looked for.
FEW = 8
#: Samples on which a latent must be active to be compared.
LEAST = 10


def found_again(D: Tensor, other: Tensor) -> Tensor:
    """(N,): the largest cosine of each unit column of D (M, N) with a column of `other` (M, N')."""
    return (D.T @ other).amax(1)


def within_few(D: Tensor, other: Tensor, m: int = FEW) -> Tensor:
    """(N,): the share of each unit column's squared length that m columns of `other` explain, chosen by pursuit.

    The coefficients may have either sign: it is the subspace that counts.
    """
    columns = D.T.contiguous()
    codes = pursue(other, columns, m, nonnegative=False).codes
    return 1 - (columns - codes @ other.T).square().sum(1)


def same_latents(codes: Tensor, other: Tensor) -> float:
    """Mean over latents of `codes` (n, N) of the largest correlation with a latent of `other` (n, N').

    Only latents active on LEAST samples or more take part, on both sides; NaN where one side has none.
    """
    a, b = (s[:, (s > 0).sum(0) >= LEAST] for s in (codes, other))
    if 0 in (a.shape[1], b.shape[1]):
        return float("nan")
    return float(correlations(a, b).amax(1).mean())
