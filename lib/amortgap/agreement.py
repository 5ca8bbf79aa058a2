"""How far two codes of the same activations agree: supports, linear R^2, and what chance would give."""

from __future__ import annotations

from math import exp, frexp, lgamma
from typing import NamedTuple

import torch
from torch import Tensor

from amortgap._check import as_tensor, check_count, generator

RIDGE = 1e-2  # times the mean squared norm of a code
NOISE = 0.01  # of an activation's norm


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(n,): |A and B| / |A or B| for the supports of each row of codes a, b (n, N); two empty ones agree.

    Raises ValueError for NaN, inf, and shapes that differ.
    """
    a, b = as_tensor(a, "codes a"), as_tensor(b, "codes b")
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"codes a {tuple(a.shape)} and b {tuple(b.shape)} must both be (n, N)")
    both, one = ((a > 0) & (b > 0)).sum(1).double(), ((a > 0) | (b > 0)).sum(1).double()
    return torch.where(one > 0, both / one.clamp_min(1), 1.0)


def jaccard(a: Tensor, b: Tensor) -> float:
    """Mean of `overlap` over samples, of which there must be one (ValueError)."""
    found = overlap(a, b)
    if len(found) == 0:
        raise ValueError("there are no codes to compare")
    return float(found.mean())


def chance_overlap(size: int, other: int, N: int) -> float:
    """Expected |A and B| / |A or B| of independent, uniformly random A and B with so many of N latents.

    |A and B| is hypergeometric: sum_k k / (a + b - k) C(a, k) C(N - a, b - k) / C(N, b). Raises ValueError for
    sizes outside 0..N.
    """
    N, size, other = (
        check_count(value, name, 0) for value, name in ((N, "N"), (size, "size"), (other, "other"))
    )
    if max(size, other) > N:
        raise ValueError(f"supports have between 0 and N = {N} latents, not {size} and {other}")
    if size + other == 0:
        return 1.0
    total = 0.0
    for k in range(max(1, size + other - N), min(size, other) + 1):
        ways = _log_choose(size, k) + _log_choose(N - size, other - k) - _log_choose(N, other)
        total += k / (size + other - k) * exp(ways)
    return total


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


class LinearFit(NamedTuple):
    """Squared error of each sample's prediction, and its squared distance from the mean, (n,) each."""

    left: Tensor
    power: Tensor

    @property
    def r2(self) -> float:
        total = float(self.power.sum())
        return 1 - float(self.left.sum()) / total if total > 0 else 0.0


def linear_fit(a: Tensor, b: Tensor, half: Tensor | None = None) -> LinearFit:
    """b (n, N') from a (n, N) by ridge regression: each half of the samples predicted from the other.

    half: bool (n,), which samples form the first half, for instance whole documents; without it every other one.
    With as many latents as samples a fit on all of them would be perfect whatever the codes are.
    Raises ValueError for NaN, inf, shapes that do not fit, and fewer than two samples in a half.
    """
    a, b = as_tensor(a, "codes a"), as_tensor(b, "codes b")
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"codes a {tuple(a.shape)} and b {tuple(b.shape)} must be (n, N) and (n, N')")
    # torch factors no matrices of 16 bits
    a, b = (v.to(torch.promote_types(v.dtype, torch.float32)) for v in (a, b))
    half = torch.arange(len(a), device=a.device) % 2 == 0 if half is None else half
    if not isinstance(half, Tensor) or half.dtype != torch.bool or half.shape != (len(a),):
        raise ValueError(f"half must be a tensor of {len(a)} booleans")
    if min(int(half.sum()), int((~half).sum())) < 2:
        raise ValueError("a linear fit takes at least two samples in each half")
    left, power = a.new_zeros(2, len(a), dtype=torch.float64)
    for train in (half, ~half):
        mean_a, mean_b = a[train].mean(0), b[train].mean(0)
        known, new = a[train] - mean_a, a[~train] - mean_a
        # by a power of two, so that no square leaves the range of float32
        unit = 2.0 ** max(-1000, frexp(float(known.abs().amax()))[1])
        known, new = known / unit, new / unit
        gram = known @ known.T
        gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp_min(1e-12))
        weights = torch.cholesky_solve(known @ new.T, torch.linalg.cholesky(gram)).T
        guess = weights @ (b[train] - mean_b)
        left[~train] = (b[~train] - mean_b - guess).double().square().sum(1)
        power[~train] = (b[~train] - mean_b).double().square().sum(1)
    return LinearFit(left, power)


def linear_r2(a: Tensor, b: Tensor) -> float:
    """R^2 of b (n, N') from a (n, N) by `linear_fit`."""
    return linear_fit(a, b).r2


def shaken(z: Tensor, seed: int) -> Tensor:
    """z (n, M) with noise of one per cent of each row's norm. Raises ValueError unless z is a finite matrix."""
    z = as_tensor(z, "z")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"z must have shape (n, M), not {tuple(z.shape)}")
    noise = torch.randn(z.shape, generator=generator(seed)).to(z)
    ours, theirs = (torch.linalg.vector_norm(v, dim=1, keepdim=True, dtype=torch.float64) for v in (z, noise))
    return z + (NOISE * ours / theirs).to(z) * noise
