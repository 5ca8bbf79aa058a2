"""Phase transitions of L1 for Gaussian D as N grows, delta = M/N, rho = K/M.

Weak threshold (most K-faces survive), with phi, Phi the normal density and distribution, c = 2 (signed) or
1 (nonnegative), for z > 0 (Donoho, Maleki & Montanari, PNAS 106 (2009), eq. 4 and supplement):

    delta(z) = c phi(z) / (z + c (phi(z) - z Phi(-z))),      rho(z) = 1 - z Phi(-z) / phi(z)

It is the curve of Donoho & Tanner (PNAS 102 (2005); J. AMS 22 (2009)), and by Amelunxen, Lotz, McCoy & Tropp
(Inf. Inference 3 (2014), prop. 4.5) the statistical dimension of the descent cone: M L1 needs is

    N min over t >= 0 of  kappa (1 + t^2) + (1 - kappa) c E (g - t)_+^2,      kappa = K/N, g standard normal
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize, special
from torch import Tensor

from amortgap._check import as_tensor, check_count, check_sparsity
from amortgap.problem import SparseProblem


def weak_threshold(delta: Any, nonnegative: bool = True) -> Any:
    """rho_W(delta) in (0, 1], for 0 < delta <= 1: a number for a number, an array for an array.

    L1 recovers most K-sparse codes where K < rho_W(M/N) M. Raises ValueError for delta outside (0, 1].
    """
    wanted = np.asarray(delta) if not isinstance(delta, str) else np.asarray("")
    if wanted.dtype.kind not in "iuf":
        raise ValueError(f"delta = M/N must be a number or an array of numbers, not {delta!r}")
    wanted = wanted.astype(np.float64)
    if not ((wanted > 0) & (wanted <= 1)).all():
        raise ValueError(f"delta = M/N must lie in (0, 1], not {delta}")
    c = 1.0 if nonnegative else 2.0
    low, high = np.zeros_like(wanted), np.full_like(wanted, 38.0)  # delta(z) falls from 1 to 1e-300
    for _ in range(60):
        z = (low + high) / 2
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        above = c * density / (z + c * density * _one_minus_z_mills(z)) > wanted
        low, high = np.where(above, z, low), np.where(above, high, z)
    rho = _one_minus_z_mills(low)
    return float(rho) if rho.ndim == 0 else rho


def measurements_needed(K: int, N: int, nonnegative: bool = True) -> float:
    """The statistical dimension: M at which L1's success on a K-sparse code of length N falls through 1/2.

    Exact to O(sqrt N) for Gaussian D. Raises ValueError for K > N.
    """
    kappa = check_sparsity(K, check_count(N, "N")) / N
    c = 1.0 if nonnegative else 2.0

    def dimension(t: float) -> float:
        tail = (1 + t * t) * special.ndtr(-t) - t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        return kappa * (1 + t * t) + (1 - kappa) * c * tail

    # strictly convex in t
    best = optimize.minimize_scalar(dimension, bounds=(0, 40), method="bounded", options={"xatol": 1e-10})
    return N * min(float(best.fun), dimension(0.0))


def recovery_rate(
    recover: Callable[[Tensor, Tensor], Tensor],
    N: int,
    M: int,
    K: int,
    dictionaries: int = 10,
    n: int = 10,
    nonnegative: bool = True,
    tol: float = 1e-3,
    seed: int = 0,
    **problem: Any,
) -> tuple[float, float]:
    """Share of samples with ||s - s_hat|| <= tol ||s||, and its standard error over the dictionaries.

    recover: (D (M, N), x (n, M)) -> codes (n, N), such as  lambda D, x: basis_pursuit(D, x).codes.
    Gaussian D and half-normal (signed: normal) amplitudes; `problem` may set SparseProblem's other arguments.
    The error assumes at least binomial spread. Raises ValueError for dictionaries < 1 and as SparseProblem.
    """
    if dictionaries < 1:
        raise ValueError(f"dictionaries must be at least 1, not {dictionaries}")
    problem.setdefault("amplitude", "half-normal" if nonnegative else "signed-normal")
    rates = []
    for k in range(dictionaries):
        drawn = SparseProblem(N=N, M=M, K=K, n=n, seed=seed * 1_000_003 + k, **problem)
        codes = as_tensor(recover(drawn.D, drawn.x), "the recovered codes")
        error = (codes - drawn.codes).norm(dim=1)
        rates.append(float((error <= tol * drawn.codes.norm(dim=1)).double().mean()))
    rate = float(np.mean(rates))
    between = np.std(rates, ddof=1) / math.sqrt(dictionaries) if dictionaries > 1 else 0.0
    return rate, max(float(between), math.sqrt(rate * (1 - rate) / (n * dictionaries)))


def _one_minus_z_mills(z: np.ndarray) -> np.ndarray:
    """1 - z Phi(-z) / phi(z)."""
    return 1 - z * math.sqrt(math.pi / 2) * special.erfcx(z / math.sqrt(2))
