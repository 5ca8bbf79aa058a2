"""How far two codes of the same activations agree: supports, linear R^2, and what chance would give."""

from __future__ import annotations

from math import exp, frexp, lgamma
from typing import NamedTuple

import torch
from torch import Tensor

from amortgap._check import as_tensor, check_count, generator

RIDGES = (1e-2, 1e-1, 1.0, 10.0, 100.0)  # times the mean squared norm of a code
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
    """Squared error of each predicted sample, and its squared distance from the mean, (n,) each."""

    left: Tensor
    power: Tensor

    @property
    def r2(self) -> float:
        total = float(self.power.sum())
        return 1 - float(self.left.sum()) / total if total > 0 else 0.0


def linear_fit(a: Tensor, b: Tensor, train: Tensor) -> LinearFit:
    """b (n, N') from a (n, N) by ridge regression on the samples of `train`: how well the others are predicted.

    train: bool (n,), for instance whole documents. With as many latents as samples a fit on all of them would be
    perfect whatever the codes are. The ridge is chosen among `RIDGES` by leaving one training sample out.
    Raises ValueError for NaN, inf, shapes that do not fit, and fewer than two samples in train or beside it.
    """
    a, b = as_tensor(a, "codes a"), as_tensor(b, "codes b")
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"codes a {tuple(a.shape)} and b {tuple(b.shape)} must be (n, N) and (n, N')")
    # torch factors no matrices of 16 bits, and multiplies none of two kinds
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(kind), b.to(kind)
    if not isinstance(train, Tensor) or train.dtype != torch.bool or train.shape != (len(a),):
        raise ValueError(f"train must be a tensor of {len(a)} booleans")
    if min(int(train.sum()), int((~train).sum())) < 2:
        raise ValueError("a linear fit takes at least two samples to learn from and two to predict")
    mean_a, mean_b = a[train].mean(0), b[train].mean(0)
    known, new, target = a[train] - mean_a, a[~train] - mean_a, b[train] - mean_b
    # by a power of two, so that no square leaves the range of float32
    unit = 2.0 ** max(-1000, frexp(float(known.abs().amax()))[1])
    known, new = known / unit, new / unit
    gram = known @ known.T
    gram.diagonal().add_(_ridge(gram, target))
    guess = torch.cholesky_solve(known @ new.T, torch.linalg.cholesky(gram)).T @ target
    left = (b[~train] - mean_b - guess).double().square().sum(1)
    return LinearFit(left, (b[~train] - mean_b).double().square().sum(1))


def _ridge(gram: Tensor, target: Tensor) -> float:
    """The ridge whose predictions of left-out samples, C^-1 target / diag C^-1 with C = gram + ridge, err least."""
    # on a thousand samples at most, evenly spaced: the choice is rough, and an inverse of all of them is not needed
    some = torch.arange(0, len(gram), -(-len(gram) // 1024), device=gram.device)
    gram, target = gram[some][:, some].double(), target[some].double()
    unit, eye = float(gram.diagonal().mean().clamp_min(1e-12)), torch.eye(len(some)).to(gram)

    def left_out(ridge: float) -> float:
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram + ridge * unit * eye))
        return float((inverse @ target / inverse.diagonal()[:, None]).square().sum())

    return unit * min(RIDGES, key=left_out)


def linear_r2(a: Tensor, b: Tensor) -> float:
    """R^2 of b (n, N') from a (n, N) by `linear_fit`: each half of the samples predicted from the other."""
    first = torch.arange(len(a)) % 2 == 0
    one, other = linear_fit(a, b, first), linear_fit(a, b, ~first)
    return LinearFit(torch.cat([one.left, other.left]), torch.cat([one.power, other.power])).r2


def shaken(z: Tensor, seed: int) -> Tensor:
    """z (n, M) with noise of one per cent of each row's norm. Raises ValueError unless z is a finite matrix."""
    z = as_tensor(z, "z")
    if z.ndim != 2 or 0 in z.shape:
        raise ValueError(f"z must have shape (n, M), not {tuple(z.shape)}")
    noise = torch.randn(z.shape, generator=generator(seed)).to(z)
    ours, theirs = (torch.linalg.vector_norm(v, dim=1, keepdim=True, dtype=torch.float64) for v in (z, noise))
    return z + (NOISE * ours / theirs).to(z) * noise
