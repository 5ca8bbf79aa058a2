"""MOD, the method of optimal directions: the least-squares dictionary for the codes, columns then normalised.

    D <- X' S (S'S)^+ ,   d_j <- d_j / ||d_j||

Engan, Aase & Husoy, ICASSP 1999, eq. 5. Normalising changes the product D s, so the objective may rise.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from amortgap.dictionaries._alternate import alternate, correlations


def update(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool) -> tuple[Tensor, int]:
    """All columns at once; those of unused latents stay."""
    A, B = correlations(x.double(), codes.double())
    new = B @ torch.linalg.pinv(A, hermitian=True)
    length = torch.linalg.vector_norm(new, dim=0)
    (n, M), N = x.shape, D.shape[1]
    return torch.where(length > 1e-12, new / length, D).to(D), 2 * n * N * (N + M) + 2 * M * N * N


mod = partial(alternate, update=update)
