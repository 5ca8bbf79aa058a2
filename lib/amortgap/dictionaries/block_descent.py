"""Block coordinate descent: codes exact, then each column exact given the others. The objective cannot rise.

The batch form of Mairal, Bach, Ponce & Sapiro, JMLR 11 (2010), algorithm 2.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from amortgap.dictionaries._alternate import alternate, correlations, sweep


def update(D: Tensor, x: Tensor, codes: Tensor, alpha: float, nonnegative: bool) -> tuple[Tensor, int]:
    """One sweep over the columns."""
    A, B = correlations(x, codes)
    (n, M), N = x.shape, D.shape[1]
    return sweep(D, A, B), 2 * n * N * (N + M) + 2 * M * N * N


block_descent = partial(alternate, update=update)
