"""Lower bounds on the gap of every pointwise encoder, in closed form.

    gap  G = inf over W, sigma of E ||s - s_hat||^2 = sum_i inf over a in R of E Var(s_i | a.s)      (T4)

Only the leverages h_i = (D+ D)_ii enter: a in R has a_i^2 <= h_i |a|^2, and sum_i h_i = rank D.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from amortgap._check import as_number, check_count, check_dictionary, check_sparsity
from amortgap.theory.fibre import fibre_constant, gated_fibre_constant
from amortgap.theory.laws import amplitude_law


def leverage(D: Any) -> Any:
    """h_i = (D+ D)_ii in [0, 1], (N,), in D's kind: the squared length of e_i's shadow on the row space.

    h_i = 1 exactly where coordinate i is decodable by a pointwise latent (T1). Singular values below
    max(M, N) eps sigma_1 count as zero, as in numpy.linalg.matrix_rank. Raises ValueError for NaN, a wrong
    shape or a zero column.
    """
    matrix = check_dictionary(D)
    _, sigma, V = torch.linalg.svd(matrix.double(), full_matrices=False)
    kept = sigma > sigma[0] * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    h = V[kept].square().sum(0).clamp_max(1).to(matrix.dtype)
    return h.numpy() if isinstance(D, np.ndarray) else h


def code_variance(N: int, K: int, amplitude: str = "half-normal") -> float:
    """Var s_i of a latent active with probability K/N:  (K/N) E z^2 - (K/N)^2 (E z)^2."""
    law, rate = amplitude_law(amplitude), check_sparsity(K, check_count(N, "N")) / N
    return rate * law.second_moment - rate**2 * law.mean**2


def gap_lower_bound(
    D: Any, K: int, amplitude: str = "half-normal", support: str = "exactly-k", n: int | None = None
) -> float:
    """T6:  G >= (n-1) c_n K / (N (N-1)) (N - rank D),  2 <= n <= K, c_n = fibre_constant(n).

    Holds for encoders told the support, too. D (M, N); uniform supports of exactly K ("exactly-k"), or each
    latent active with probability K/N ("bernoulli": the mean of the bound over the number of active latents).
    n: how many amplitudes stay hidden; None takes the best. Zero for K = 1 with exactly K, and for rank N.
    Proof: reveal the support and all active values but s_i's and n - 1 random others; L5; a_i^2 <= h_i |a|^2.
    Raises ValueError for K > N, a bad dictionary, an unknown law, n outside 2..N.
    """
    D_ = check_dictionary(D, unit=True)
    N = D_.shape[1]
    return _pair_rate(N, K, amplitude, support, n) * _missing_rank(D_)


def gated_gap_lower_bound(
    D: Any, K: int, gate_values: int = 2, amplitude: str = "half-normal", support: str = "exactly-k"
) -> float:
    """T8:  G >= c K / (N (N-1)) (N - rank D),  c = gated_fibre_constant(gate_values).

    For latents phi_i(w_i.x, gamma_i) whose gate gamma_i takes m values and may depend on all of s: TopK,
    BatchTopK, JumpReLU and Gated encoders (m = 2). Arguments and errors as in `gap_lower_bound`.
    """
    D_ = check_dictionary(D, unit=True)
    N = D_.shape[1]
    per_pair = gated_fibre_constant(gate_values, amplitude)
    mean_pairs = sum(p * k for k, p in _active_counts(N, K, support) if k >= 2) / (N * max(N - 1, 1))
    return per_pair * mean_pairs * _missing_rank(D_)


def mcc_upper_bound(
    D: Any, K: int, amplitude: str = "half-normal", support: str = "exactly-k", gap: float | None = None
) -> float:
    """T9:  MCC <= sqrt(1 - G / (N V)),  V = Var s_i, for any lower bound G on the gap (default: T6)."""
    G = gap_lower_bound(D, K, amplitude, support) if gap is None else as_number(gap, "gap")
    if not 0 <= G < math.inf:
        raise ValueError(f"gap must be a finite number >= 0, not {G}")
    N = check_dictionary(D).shape[1]
    return math.sqrt(max(0.0, 1 - G / (N * code_variance(N, K, amplitude))))


def _missing_rank(D: Tensor) -> float:
    """N - rank D = sum of 1 - h_i."""
    return float((1 - leverage(D.double())).sum())


def _pair_rate(N: int, K: int, amplitude: str, support: str, n: int | None) -> float:
    """The factor r of  gap of row i >= r (1 - h_i)."""
    if n is not None and not 2 <= (n := check_count(n, "n")) <= N:
        raise ValueError(f"n must be a whole number between 2 and N = {N}, not {n}")
    rate = 0.0
    for k, p in _active_counts(N, K, support):
        orders = range(2, k + 1) if n is None else range(n, min(n, k) + 1)
        hidden = max(((m - 1) * fibre_constant(m, amplitude) for m in orders if m <= MAX_HIDDEN), default=0.0)
        rate += p * hidden * k / (N * max(N - 1, 1))
    return rate


MAX_HIDDEN = 12  # (n-1) c_n is largest at n = 7 (half-normal) or 5 (exponential); any n gives a valid bound


def _active_counts(N: int, K: int, support: str) -> list[tuple[int, float]]:
    """(k, P(k latents active)) with k >= 1."""
    K = check_sparsity(K, N)
    if support == "exactly-k":
        return [(K, 1.0)]
    if support == "bernoulli":
        return [(k, float(stats.binom.pmf(k, N, K / N))) for k in range(1, N + 1)]
    raise ValueError(f"no closed-form bound for {support!r} supports; choose 'exactly-k' or 'bernoulli'")
