"""Is one method's latents' score higher than another's? Paired and unpaired bootstrap, with an effect size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

DRAWS = 10_000


@dataclass(frozen=True)
class Difference:
    """Mean difference a - b, its 95 % interval, two-sided bootstrap p-value, Cohen's d, and how many were compared.

    p is twice the share of resampled differences on the other side of zero, at least 2 / (draws + 1).
    """

    mean: float
    low: float
    high: float
    p: float
    d: float
    n: int


def paired(a: Any, b: Any, seed: int = 0) -> Difference:
    """Scores of the same or matched latents by two methods: pairs are resampled. d = mean / sd of a - b.

    Raises ValueError unless both are equally long lists of at least two scores.
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    if difference.ndim != 1 or len(difference) < 2:
        raise ValueError(
            f"a paired test needs two equally long lists of at least two scores, not {difference.shape}"
        )
    draw = np.random.default_rng(seed)
    means = difference[draw.integers(0, len(difference), (DRAWS, len(difference)))].mean(1)
    spread = difference.std(ddof=1)
    return _difference(
        difference.mean(), means, difference.mean() / spread if spread else 0.0, len(difference)
    )


def unpaired(a: Any, b: Any, seed: int = 0) -> Difference:
    """Scores of two groups of latents: each group is resampled on its own. d = difference / pooled sd."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"an unpaired test needs at least two scores a side, not {len(a)} and {len(b)}")
    draw = np.random.default_rng(seed)
    means = [v[draw.integers(0, len(v), (DRAWS, len(v)))].mean(1) for v in (a, b)]
    pooled = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
    mean = a.mean() - b.mean()
    return _difference(mean, means[0] - means[1], mean / pooled if pooled else 0.0, min(len(a), len(b)))


def _difference(mean: float, resampled: np.ndarray, d: float, n: int) -> Difference:
    low, high = np.quantile(resampled, [0.025, 0.975])
    less, more = (resampled <= 0).sum() + 1, (resampled >= 0).sum() + 1
    p = min(1.0, 2 * min(less, more) / (len(resampled) + 1))
    return Difference(float(mean), float(min(low, mean)), float(max(high, mean)), float(p), float(d), n)


def match_density(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair latents of two methods by how often they are active: the assignment least in sum |log a_i - log b_j|.

    How often a latent is active decides much of how well it can be explained; pairs differ in the method only.
    """
    cost = np.abs(np.log(np.asarray(a)[:, None]) - np.log(np.asarray(b)[None]))
    return linear_sum_assignment(cost)
