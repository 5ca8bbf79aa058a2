"""Coherence: what pairs of columns say.

    mu = max over i != j of |d_i.d_j|,     mu_1(k) = max_i of the k largest |d_i.d_j|, j != i, summed

L1 and OMP recover every K-sparse code where mu_1(K) + mu_1(K-1) < 1 (Tropp, IEEE Trans. Inf. Theory 50 (2004),
theorem 3.5); with mu alone: K < (1 + 1/mu) / 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from amortgap._check import check_dictionary


def coherence(D: Any) -> float:
    """mu(D) in [0, 1] of D (M, N), unit columns; 0 for one column. Raises ValueError for a bad dictionary."""
    return float(_off_diagonal(D).max())


def babel(D: Any) -> Any:
    """mu_1(1), ..., mu_1(N-1) of D (M, N): (N-1,), float64, numpy for numpy. mu_1(1) is the coherence."""
    sums = _off_diagonal(D).sort(1, descending=True).values.cumsum(1).amax(0)[:-1]
    return sums.numpy() if isinstance(D, np.ndarray) else sums


def coherence_guarantee(D: Any) -> int:
    """The largest K with mu_1(K) + mu_1(K-1) < 1: every K-sparse code is recovered by L1 and by OMP."""
    sums = [0.0, *babel(D).tolist()]
    return max((k for k in range(1, len(sums)) if sums[k] + sums[k - 1] < 1), default=0)


def _off_diagonal(D: Any) -> Tensor:
    """|D'D| with a zero diagonal, float64."""
    matrix = check_dictionary(D, unit=True).double()
    gram = (matrix.T @ matrix).abs()
    return gram.fill_diagonal_(0)
