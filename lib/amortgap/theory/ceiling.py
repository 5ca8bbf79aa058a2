"""The best any pointwise encoder can do on a dictionary: one direction a row, searched over its row space.

    ceiling MCC = 1/N sum_i sqrt(sup over a in R of eta^2(s_i | a.s))                                  (T9)
    ceiling gap = sum_i Var s_i (1 - sup over a in R of eta^2(s_i | a.s))                              (T4)

eta^2 is exact up to the quadrature's error. The supremum is found by many local searches: that it is global is
numerical evidence, not proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap._check import check_count, check_dictionary, check_sparsity, generator
from amortgap._subsets import all_subsets
from amortgap.theory.ascent import Score, ascend
from amortgap.theory.eta import explained_moment, frequency_grid, normalise, squared_mean
from amortgap.theory.laws import AmplitudeLaw, amplitude_law
from amortgap.theory.supports import activation_rates, joint_law, split

MAX_ORACLE_SUPPORTS = 5_000
CHUNK = 2**21  # complex numbers of one factor held at once
COARSE, MIDDLE, FINE = 0.1, 0.03, 0.006  # noise of the search, of its polish, of the reported value

POLISHED = 2  # starts of each row that survive the search

# (directions (B, N), rows (B,), noise) -> E[E[s_row | what the encoder sees]^2], (B,)
Explained = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Ceiling:
    """The best pointwise encoder of a dictionary.

    mcc: mean over rows of sqrt(rows).  gap: E ||s - s_hat||^2.  Both extrapolated to no noise.
    rows (N,): eta^2 of each row at its best direction.  directions (N, N): row i is a_i in R, of norm one.
    mcc_error, gap_error: estimated error of the quadrature; of the search see `agreement`.
    agreement (N,): share of the restarts of each row that ended within 1e-3 of its best eta^2.
    """

    mcc: float
    gap: float
    rows: Any
    directions: Any
    mcc_error: float
    gap_error: float
    agreement: Any


def mcc_ceiling(
    D: Any,
    K: int,
    amplitude: str = "half-normal",
    support: str = "exactly-k",
    restarts: int = 8,
    seed: int = 0,
) -> Ceiling:
    """The best found of all encoders  s_i_hat = sigma_i(w_i.x), any sigma_i, on D (M, N) with unit columns.

    amplitude: "half-normal", "signed-normal", "exponential", "uniform"; support: "exactly-k", "bernoulli",
    "zipf". restarts: starting points a row: e_i's projection on R, the best linear readout, random ones.
    Encoders whose gate looks at other latents (TopK) are outside the class and may pass it.
    Raises ValueError for a bad dictionary, K > N, an unknown law, restarts < 1.
    """
    law, _ = amplitude_law(amplitude), joint_law(support)
    basis = _row_space(D)
    K = check_sparsity(K, basis.shape[1])

    def explained(a: Tensor, row: Tensor, noise: float) -> Tensor:
        return explained_moment(a, row, K, law, support, noise)

    N = basis.shape[1]
    width = N ** max(1, K - 1) if support == "zipf" else N
    return _search(D, basis, explained, width, K, law, support, restarts, seed)


def support_oracle_ceiling(
    D: Any, K: int, amplitude: str = "half-normal", restarts: int = 4, seed: int = 0
) -> Ceiling:
    """The ceiling of encoders that are told the support S, exactly K and uniform.

    Row i loses  inf over a in R of E_S Var(s_i | a.s, S).

    What is left is the error of the amplitudes alone. Raises ValueError as mcc_ceiling, and where a latent lies
    in more than 5 000 supports.
    """
    law, basis = amplitude_law(amplitude), _row_space(D)
    N = basis.shape[1]
    K = check_sparsity(K, N)
    count = math.comb(N - 1, K - 1)
    if count > MAX_ORACLE_SUPPORTS:
        raise ValueError(
            f"each of the N = {N} latents lies in {count} supports of K = {K}, more than {MAX_ORACLE_SUPPORTS}; "
            "call gap_lower_bound, which holds for support oracles too"
        )
    partners = all_subsets(N - 1, K - 1)

    def explained(a: Tensor, row: Tensor, noise: float) -> Tensor:
        a = normalise(a)
        t, damping, points, period = frequency_grid(law, K, noise)
        t, damping = t.to(a), damping.to(a)
        own, others = split(law.cf(a[:, :, None] * t), row)
        rest = torch.ones(len(a), len(partners), len(t)).to(own) * damping
        for k in range(K - 1):
            rest = rest * others[:, partners[:, k]]
        psi = law.weighted_cf(a.gather(1, row[:, None]) * t)
        given = squared_mean(own[:, None] * rest, psi[:, None] * rest, points, period)
        return K / N * given.mean(1)

    return _search(D, basis, explained, len(partners) * (K + 1), K, law, "exactly-k", restarts, seed)


def _search(
    D: Any,
    basis: Tensor,
    explained: Explained,
    width: int,
    K: int,
    law: AmplitudeLaw,
    support: str,
    restarts: int,
    seed: int,
) -> Ceiling:
    """Coarse ascents from every start, finer ones from each row's best, Richardson extrapolation of the noise."""
    restarts = check_count(restarts, "restarts")
    N = basis.shape[1]
    row = torch.arange(N, device=basis.device)
    rates = activation_rates(N, K, support).to(basis)
    mean = rates.diagonal() * law.mean
    covariance = law.mean**2 * (rates - rates.diagonal().outer(rates.diagonal()))
    covariance.diagonal().add_(law.variance * rates.diagonal())
    variance = covariance.diagonal()

    def score(noise: float) -> Score:
        def eta_squared(c: Tensor, i: Tensor) -> Tensor:
            return (explained(c @ basis, i, noise) - mean[i] ** 2) / variance[i]

        return Score(eta_squared, chunk=max(1, int(CHUNK * noise / (width * 33))))

    g = generator(seed)
    start = torch.randn(restarts, N, len(basis), generator=g, dtype=torch.float64).to(basis)
    for k, first in enumerate((basis.T, best_linear(basis, covariance))[:restarts]):
        start[k] = first
    c, value = ascend(score(COARSE), start.flatten(0, 1), row.repeat(restarts))
    value, c = value.reshape(restarts, N), c.reshape(restarts, N, -1)
    agreement = (value > value.amax(0) - 1e-3).double().mean(0)
    kept = value.topk(min(restarts, POLISHED), dim=0).indices  # (kept, N)
    c, value = ascend(score(MIDDLE), c[kept, row].flatten(0, 1), row.repeat(len(kept)))
    c = c.reshape(len(kept), N, -1)[value.reshape(len(kept), N).argmax(0), row]
    coarse, fine = score(2 * FINE).value(c, row), score(FINE).value(c, row)
    rows = (fine + (fine - coarse) / 3).clamp(0, 1)  # the loss to the noise is O(noise^2)
    mcc, gap = rows.sqrt().mean(), (variance * (1 - rows)).sum()
    slack = rows - fine
    like = Tensor.numpy if isinstance(D, np.ndarray) else Tensor.detach
    return Ceiling(
        mcc=float(mcc),
        gap=float(gap),
        rows=like(rows),
        directions=like(normalise(c @ basis)),
        mcc_error=float((slack / (2 * rows.sqrt().clamp_min(1e-9))).abs().mean()),
        gap_error=float((variance * slack).abs().sum()),
        agreement=like(agreement),
    )


def best_linear(basis: Tensor, covariance: Tensor) -> Tensor:
    """Row i: coordinates of the a in R whose a.s predicts s_i best by a straight line, (N, rank)."""
    seen = basis @ covariance
    return torch.linalg.solve(seen @ basis.T, seen).T


def _row_space(D: Any) -> Tensor:
    """An orthonormal basis (rank, N) of R."""
    matrix = check_dictionary(D, unit=True).detach().double()
    _, sigma, V = torch.linalg.svd(matrix, full_matrices=False)
    return V[sigma > sigma[0] * 1e-6]
