"""Latents as detectors: does a latent's score tell where its true latent is active?

    thresholds = best_thresholds(scores, active)         on some samples
    found = detection(other_scores > thresholds, other_active)      on others

Scores and activity are (n, N), latent i against latent i. Unlike `metrics.support_scores`, which averages over
samples, precision, recall and F1 are of each latent over all samples, as in SynthSAEBench (arXiv 2602.14687).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_choice, check_count, generator

#: Of a probe's sigmoid at its start, for one standard deviation of its score.
SLOPE = {"logistic": 4.0, "f1": 16.0}


BLOCK = 2048  # latents whose scores are sorted at a time


class Detection(NamedTuple):
    """Of each latent, (N,) float64; what is undefined is 0."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def _plain(value: Any, name: str) -> Tensor:
    return value if isinstance(value, Tensor) and value.dtype == torch.bool else as_tensor(value, name)


def _alike(**given: Any) -> list[Tensor]:
    """All as tensors (n, N) of one shape, n >= 1, or ValueError; booleans stay what they are, as they are many."""
    found = [_plain(value, name) for name, value in given.items()]
    shapes = {tuple(one.shape) for one in found}
    if len(shapes) > 1 or found[0].ndim != 2 or len(found[0]) == 0:
        raise ValueError(f"{' and '.join(given)} must have one shape (n, N), n >= 1, not {sorted(shapes)}")
    return found


def detection(fires: Any, active: Any) -> Detection:
    """Precision hits / fired, recall hits / active, F1 = 2 hits / (fired + active) of each latent.

    fires, active (n, N): non-zero where the latent fires and where the true one is active. Like all functions here
    it raises ValueError for NaN, inf, shapes that differ and no samples.
    """
    fires, active = (value != 0 for value in _alike(fires=fires, active=active))
    hits, fired, there = (v.sum(0).double() for v in (fires & active, fires, active))
    return Detection(*(top / bottom.clamp_min(1) for top, bottom in
                       ((hits, fired), (hits, there), (2 * hits, fired + there))))  # fmt: skip


def always_on(active: Tensor) -> Tensor:
    """F1 of latents that always fire, 2p / (1 + p) with p the share of samples where the true one is active, (N,):
    the best that a score which knows nothing of the sample can have."""
    p = (_alike(active=active)[0] != 0).double().mean(0)
    return 2 * p / (1 + p)


def best_thresholds(scores: Tensor, active: Tensor) -> Tensor:
    """The t of each latent for which (scores > t) has the largest F1 on these samples, (N,).

    Half-way between two scores. A latent that is never active gets infinity.
    """
    scores, active = _alike(scores=scores, active=active)
    parts = zip(scores.split(BLOCK, 1), active.split(BLOCK, 1), strict=True)
    return torch.cat([_best_thresholds(*part) for part in parts])


def _best_thresholds(scores: Tensor, active: Tensor) -> Tensor:
    top, order = scores.sort(dim=0, descending=True)
    hits = (active != 0).gather(0, order).cumsum(0)
    count, there = torch.arange(1, len(top) + 1)[:, None], hits[-1]
    f1 = 2 * hits / (count + there)
    # equal scores fire together
    f1[:-1].masked_fill_(top[:-1] == top[1:], -1)
    best = f1.argmax(0, keepdim=True)
    below = top.gather(0, (best + 1).clamp_max(len(top) - 1))
    last = top.gather(0, best)
    t = torch.where(best + 1 < len(top), (last + below) / 2, last - 1)[0]
    # the middle of two neighbouring floats may be the upper one
    t = torch.where(t < last[0], t, below[0])
    return t.masked_fill_(there == 0, torch.inf)


def calibrated(scores: Tensor, fires: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """(slope, offset), each (N,): the line that predicts codes from scores best where the latent fires.

    With few or equal scores it is the mean alone. So slope * score + offset, where it fires, is a pointwise code.
    """
    scores, fires, codes = _alike(scores=scores, fires=fires, codes=codes)
    fires = fires != 0
    n = fires.sum(0).clamp_min(1)
    u, s = (v.masked_fill(~fires, 0) for v in (scores, codes))
    mu, ms = u.sum(0) / n, s.sum(0) / n
    spread = (u.square().sum(0) / n - mu**2).clamp_min(0)
    slope = torch.where(spread > 1e-6 * mu**2, ((u * s).sum(0) / n - mu * ms) / spread, 0)
    return slope, ms - slope * mu


def train_probe(
    x: Tensor,
    active: Tensor,
    start: Tensor,
    *,
    loss: str = "logistic",
    steps: int = 1000,
    batch_size: int = 1024,
    lr: float = 1e-3,
    seed: int = 0,
) -> Tensor:
    """Directions w (M, N) of one linear probe a latent, from start (M, N): the latent's score is w_i.x.

    logistic: cross-entropy, the linear probe of the benchmark.  f1: the mean of 1 - 2 sum a p / sum (a + p) over a
    batch, p = sigmoid(w.x + b), which is F1 itself where the sigmoid is steep: a search for the best direction
    that a thresholded read-out can have.
    Adam on random batches, its rate falling linearly to zero, from sigmoid(c (start.x - t) / sd) with c in SLOPE
    and t the threshold of largest F1.
    Raises ValueError for an unknown loss, counts below 1, and unless lr > 0.
    """
    check_choice(loss, "loss", SLOPE)
    x, active, start = as_tensor(x, "x"), _plain(active, "active"), as_tensor(start, "start")
    kind = torch.promote_types(x.dtype, start.dtype)
    x, start = x.to(kind), start.to(kind)
    if (
        x.ndim != 2
        or 0 in x.shape
        or active.shape != (len(x), *start.shape[1:])
        or start.shape[:1] != x.shape[1:]
    ):
        shapes = [tuple(value.shape) for value in (x, active, start)]
        raise ValueError(f"x, active and start must be (n, M), (n, N) and (M, N), not {shapes}")
    if len(x) < 2:
        raise ValueError("a probe takes at least two samples, as its scores are measured by their spread")
    if not 0 < (lr := as_number(lr, "lr")) < float("inf"):
        raise ValueError(f"lr is a step, finite and > 0, not {lr}")
    steps, batch_size = check_count(steps, "steps"), check_count(batch_size, "batch_size")
    g = generator(seed)
    rows = torch.randperm(len(x), generator=g)[:20_000]
    scores = x[rows] @ start
    scale = SLOPE[loss] / scores.std(0).clamp_min(1e-9)
    t = best_thresholds(scores, active[rows])
    w = (start * scale).requires_grad_()
    b = (-torch.where(t.isfinite(), t, scores.amax(0)) * scale).requires_grad_()
    adam = torch.optim.Adam(
        [{"params": [w], "lr": lr * float(scale.median())}, {"params": [b], "lr": 10 * lr}]
    )
    fall = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps)
    for _ in range(steps):
        some = torch.randint(len(x), (min(batch_size, len(x)),), generator=g)
        z, a = x[some] @ w + b, active[some].to(x.dtype)
        if loss == "logistic":
            value = torch.nn.functional.binary_cross_entropy_with_logits(z, a, reduction="none").mean(0).sum()
        else:
            p = torch.sigmoid(z)
            value = (1 - 2 * (a * p).sum(0) / (a + p).sum(0).clamp_min(1e-9)).sum()
        adam.zero_grad()
        value.backward()
        adam.step()
        fall.step()
    return w.detach()
