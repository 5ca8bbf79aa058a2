"""The correlation ratio  eta^2(s_i | a.s) = Var E[s_i | a.s] / Var s_i  without sampling.

    Var E[s_i | u] = int g(u)^2 / f(u) du - (E s_i)^2,     f density of u,  g = f E[s_i | .]

f and g come from their closed-form characteristic functions by one FFT each. To make the quadrature converge
for densities with jumps and kinks, u is read with a little Gaussian noise, u = a.s + eps |a| sd(z) xi: noise can
only lower eta^2 (data processing), and the loss is O(eps^2).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_choice, check_count, check_sparsity, generator
from amortgap.problem import SUPPORTS
from amortgap.theory.laws import AmplitudeLaw, amplitude_law
from amortgap.theory.supports import activation_rates, joint_law

SMOOTHING = 0.006
FLOOR = 1e-12  # density below which a point of the grid is rounding noise
BINS = 100  # of sampled_eta_squared
LARGEST = 30.0  # no amplitude exceeds this but for a negligible probability


def eta_squared(
    a: Any,
    row: Any,
    K: int,
    amplitude: str = "half-normal",
    support: str = "exactly-k",
    smoothing: float = SMOOTHING,
) -> Any:
    """eta^2(s_row | a.s) in [0, 1], (B,), float64, differentiable in a (B, N) where that is a tensor.

    row: one index or B of them. smoothing: the noise eps, in units of |a| times an amplitude's sd. A zero
    direction explains nothing: 0. Raises ValueError for NaN, shapes that do not fit, K > N, unknown laws, and
    smoothing <= 0.
    """
    directions = as_tensor(a, "a").double()
    if directions.ndim != 2 or not directions.numel():
        raise ValueError(f"a must have shape (B, N) with B and N above 0, not {tuple(directions.shape)}")
    B, N = directions.shape
    rows = _indices(row).to(directions.device)
    if rows.ndim > 1 or (rows.ndim == 1 and len(rows) not in (1, B)):
        raise ValueError(f"row must be one index or {B} of them, not of shape {tuple(rows.shape)}")
    rows = rows.expand(B)
    if ((rows < 0) | (rows >= N)).any():
        raise ValueError(f"row must hold whole numbers between 0 and N - 1 = {N - 1}, not {row}")
    smoothing = as_number(smoothing, "smoothing")
    if not 0 < smoothing < math.inf:
        raise ValueError(f"smoothing must be a finite number > 0, not {smoothing}")
    law, _ = amplitude_law(amplitude), joint_law(support)
    K = check_sparsity(K, N)
    explained = explained_moment(directions, rows, K, law, support, smoothing)
    rate = activation_rates(N, K, support).diagonal().to(directions)[rows]
    mean = rate * law.mean
    ratio = (explained - mean**2) / (rate * law.second_moment - mean**2)
    return ratio.detach().numpy() if isinstance(a, np.ndarray) else ratio


def _indices(row: Any) -> Tensor:
    if not isinstance(row, Tensor):
        found = np.asarray(row)
        if found.dtype.kind not in "iu":
            raise ValueError(f"row must hold whole numbers, not {row!r}")
        row = torch.from_numpy(found.astype(np.int64))
    if row.is_floating_point() or row.is_complex() or row.dtype == torch.bool:
        raise ValueError(f"row must hold whole numbers, not {row.dtype}")
    return row


def explained_moment(
    a: Tensor, row: Tensor, K: int, law: AmplitudeLaw, support: str, smoothing: float
) -> Tensor:
    """E[E[s_row | u]^2], (B,), for a (B, N) float64 and row (B,)."""
    a = normalise(a)
    t, damping, points, period = frequency_grid(law, reach_count(K, a.shape[1], support), smoothing)
    t, damping = t.to(a.device), damping.to(a.device)
    phi = law.cf(a[:, :, None] * t)
    psi = law.weighted_cf(a.gather(1, row[:, None]) * t)
    f, g = joint_law(support)(phi, psi, row, K)
    return squared_mean(f * damping, g * damping, points, period)


def squared_mean(f: Tensor, g: Tensor, points: int, period: float) -> Tensor:
    """int g(u)^2 / f(u) du from characteristic functions on the grid's frequencies (..., T) -> (...)."""
    scale = points / period
    density = torch.fft.irfft(f.conj(), n=points) * scale
    moment = torch.fft.irfft(g.conj(), n=points) * scale
    # |E[s_i | u]| is bounded: where both densities are rounding noise, so must their quotient be
    mean = (moment / density.clamp_min(FLOOR)).clamp(-LARGEST, LARGEST)
    return (moment * mean).sum(-1) / scale


def frequency_grid(law: AmplitudeLaw, active: int, smoothing: float) -> tuple[Tensor, Tensor, int, float]:
    """t (T,), the noise's characteristic function at t, the number of points in u, and u's period.

    Points half the noise's sd apart leave e^-20 of the damped spectrum out.
    """
    noise = smoothing * math.sqrt(law.variance)
    period = 2 * (law.reach(active) + 8 * noise)
    points = fft.next_fast_len(math.ceil(2 * period / noise), real=True)
    points += points % 2
    t = 2 * math.pi / period * torch.arange(points // 2 + 1, dtype=torch.float64)
    return t, torch.exp(-0.5 * (noise * t) ** 2), points, period


def reach_count(K: int, N: int, support: str) -> int:
    """How many latents are active at most (Bernoulli: but for a negligible probability)."""
    return min(N, math.ceil(K + 7 * math.sqrt(K) + 7)) if support == "bernoulli" else K


def normalise(a: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(a, dim=-1, keepdim=True)
    return a / norm.clamp_min(torch.finfo(a.dtype).tiny)


def sampled_eta_squared(
    a: Any,
    row: int,
    K: int,
    amplitude: str = "half-normal",
    support: str = "exactly-k",
    n: int = 200_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Monte Carlo check of eta_squared for one direction a (N,): (estimate, standard error).

    Half of n samples fit E[s_row | u] by a line in each of 100 quantile bins of u, the other half measure
    1 - E(s_row - fit)^2 / Var s_row. No fit beats the conditional mean: on average this lies below eta^2.
    Serves any support law in problem.SUPPORTS. Errors as in eta_squared; and n < 1000.
    """
    direction = as_tensor(a, "a").detach().cpu().double()
    row = check_count(row, "row", least=0)
    n = check_count(n, "n")
    if direction.ndim != 1 or not row < len(direction):
        raise ValueError(
            f"a must have shape (N,) with row among its indices, not {tuple(direction.shape)}, {row}"
        )
    if n < 10 * BINS:
        raise ValueError(f"n must be at least {10 * BINS}, ten for each bin, not {n}")
    N, law = len(direction), amplitude_law(amplitude)
    check_choice(support, "support law", SUPPORTS)
    g = generator(seed)
    active = SUPPORTS[support](n, N, check_sparsity(K, N), g)
    codes = law.sample(n, N, g) * active
    u, s = codes @ direction, codes[:, row]
    half = n // 2
    some, shares = u[:half][:: max(1, half // 100_000)], torch.linspace(0, 1, BINS + 1).double()
    edges = torch.quantile(some, shares[1:-1])
    cell = torch.bucketize(u, edges)
    moments = torch.zeros(5, BINS, dtype=torch.float64)  # 1, u, u^2, s, us of the fitting half, bin by bin
    ones = torch.ones_like(u)
    moments.index_add_(1, cell[:half], torch.stack([ones, u, u * u, s, u * s])[:, :half])
    _, mu, uu, ms, us = moments / moments[0].clamp_min(1)
    spread = uu - mu**2
    slope = torch.where(spread > 1e-12, (us - mu * ms) / spread.clamp_min(1e-12), 0)
    fit = ms[cell] + slope[cell] * (u - mu[cell])
    error = (s - fit)[half:].square()
    variance = float(s.var())
    return 1 - float(error.mean()) / variance, float(error.std()) / math.sqrt(len(error)) / variance
