"""T7: the lower bound of T6, sharpened by what is left of row i when other columns are taken away.

For a in R and b_j = a_j^2 / a_i^2 (j != i), taking the m largest b_j away leaves at least

    rho_(i,m) = min over |Z| = m, i not in Z, of (1 - h_i) / h_i  of D without the columns Z

because a without Z lies in the row space of D without Z. By L5 the gap of row i is at least K/N c_n times the
mean over (n-1)-subsets B of b_B / (1 + b_B), b_B = sum of b_j in B: increasing and Schur-concave in b. So it is
least where the tail sums of b equal rho's convex minorant (weak supermajorisation; Marshall, Olkin & Arnold,
Inequalities, 2nd ed., 3.A.8). With rho_(i,0) alone this is T6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap._check import check_count, check_dictionary, check_sparsity
from amortgap._subsets import all_subsets, subsets
from amortgap.theory.fibre import fibre_constant
from amortgap.theory.laws import amplitude_law

MAX_REMOVALS = 2_000_000


def dictionary_gap_lower_bound(
    D: Any, K: int, amplitude: str = "half-normal", n: int | None = None, max_removed: int | None = None
) -> float:
    """T7: a lower bound on the gap of every pointwise encoder, told the support or not; at least gap_lower_bound.

    Uniform supports of exactly K; D (M, N), unit columns. n: hidden amplitudes, 2 <= n <= min(K, 4); None takes
    the best for each row. max_removed: columns taken away at most; None takes all that matter. Raises ValueError
    as gap_lower_bound, and where more than 2 000 000 sets of columns would be taken away: then give max_removed.
    """
    matrix = check_dictionary(D, unit=True).detach().cpu().double()
    N, K = matrix.shape[1], check_sparsity(K, matrix.shape[1])
    amplitude_law(amplitude)
    if max_removed is not None:
        max_removed = check_count(max_removed, "max_removed", least=0)
    if n is not None and not 2 <= (n := check_count(n, "n")) <= max(2, min(K, 4)):
        raise ValueError(f"n must be a whole number between 2 and min(K, 4) = {min(K, 4)}, not {n}")
    if K < 2 or N < 3:
        return 0.0
    rho = removal_ratios(matrix, max_removed).numpy()
    orders = [n] if n is not None else range(2, min(K, 4) + 1)
    gap = 0.0
    for row in rho:
        tails = convex_minorant(row)
        b = np.append(tails[:-1] - tails[1:], tails[-1])
        b = np.append(b, np.zeros(N - 1 - len(b)))
        gap += max(fibre_constant(k, amplitude) * _mean_over_subsets(b, k - 1) for k in orders)
    return K / N * gap


def removal_ratios(D: Tensor, max_removed: int | None = None) -> Tensor:
    """rho_(i,m), (N, 1 + removed), for D (M, N) float64: column m takes m columns away; the last column is 0.

    With G_Z = sum of d_j d_j' over j outside Z and i,  (1 - h_i) / h_i = 1 / (d_i' G_Z^-1 d_i), and 0 where
    d_i is not in the span of the others.
    """
    N = D.shape[1]
    most = N - 1 - int(torch.linalg.matrix_rank(D))  # with rank D others left, some choice of them frees d_i
    most = max(0, most) if max_removed is None else min(max_removed, N - 2)
    count = sum(math.comb(N, m + 1) for m in range(most + 1))
    if count > MAX_REMOVALS:
        raise ValueError(f"{count} sets of columns, more than {MAX_REMOVALS}; give max_removed < {most}")
    rho = torch.full((N, most + 2), torch.inf, dtype=torch.float64)
    rho[:, -1] = 0
    outer = torch.einsum("mi,ni->imn", D, D)
    whole = outer.sum(0)
    scale = float(torch.linalg.matrix_norm(whole, 2))
    for m in range(most + 1):
        for part in subsets(N, m + 1):  # Z and i together
            left = whole - outer[part].sum(1)
            values, vectors = torch.linalg.eigh(left)
            columns = D[:, part].permute(1, 0, 2)  # (sets, M, m+1): each column in turn is i
            along = (vectors.mT @ columns).square()
            spanned = (values > 1e-10 * scale)[:, :, None]
            q = torch.where(spanned, along / values.clamp_min(1e-300)[:, :, None], 0).sum(1)
            outside = torch.where(spanned, 0.0, along).sum(1)
            ratio = torch.where(outside > 1e-10, 0.0, 1 / q.clamp_min(1e-300))
            rho[:, m].scatter_reduce_(0, part.flatten(), ratio.flatten(), "amin")
    return rho


def convex_minorant(values: np.ndarray) -> np.ndarray:
    """The largest convex sequence below `values`."""
    hull: list[int] = []
    for k, v in enumerate(values):
        while len(hull) > 1:
            i, j = hull[-2:]
            if (values[j] - values[i]) * (k - i) < (v - values[i]) * (j - i):
                break
            hull.pop()
        hull.append(k)
    return np.interp(np.arange(len(values)), hull, values[hull])


def _mean_over_subsets(b: np.ndarray, size: int) -> float:
    """Mean over the subsets B of b of that size of sum(B) / (1 + sum(B))."""
    total = torch.from_numpy(b)[all_subsets(len(b), size)].sum(1)
    return float((total / (1 + total)).mean())
