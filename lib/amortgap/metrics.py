"""Scores and their chance levels.

Codes are (..., n, N): leading dimensions are separate models and give separate scores. Tensors or numpy
arrays go in; scores come out as float64 tensors on the CPU, 0-d for a single model.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from amortgap._check import as_number, as_tensor, check_count, generator
from amortgap.problem import SparseProblem, unit_columns

#: A latent with less variance than this correlates with nothing (the paper's rule). Where no code exceeds 1, in
#: units of the square of the largest: a correlation has no scale.
CONSTANT = 1e-12


def correlations(s: Any, s_hat: Any) -> Tensor:
    """Pearson correlations (..., N, N_hat) of the latents of s (..., n, N) and s_hat (..., n, N_hat), float64.

    Zero where a latent's variance over the samples is below `CONSTANT`. Raises ValueError for shapes that do not
    fit, fewer than two samples, NaN or inf.
    """
    s, s_hat = as_tensor(s, "s").double(), as_tensor(s_hat, "s_hat").double()
    if s.ndim < 2 or s_hat.ndim < 2 or s.shape[-2] != s_hat.shape[-2]:
        raise ValueError(
            f"s {tuple(s.shape)} and s_hat {tuple(s_hat.shape)} must have the same n in (..., n, N)"
        )
    if s.shape[-2] < 2 or 0 in s.shape or 0 in s_hat.shape:
        raise ValueError("a correlation needs at least two samples and one latent")
    return _standardise(s).mT @ _standardise(s_hat)


def _standardise(s: Tensor) -> Tensor:
    largest = s.abs().amax((-2, -1), keepdim=True)
    # in units of the largest, because squares of small codes underflow and those of large ones overflow
    s = s / torch.where(largest > 0, largest, 1)
    s = s - s.mean(-2, keepdim=True)
    norm = torch.linalg.vector_norm(s, dim=-2, keepdim=True)
    return torch.where(norm**2 / s.shape[-2] <= CONSTANT / largest.clamp_min(1) ** 2, 0, s / norm)


def matched(scores: Tensor) -> Tensor:
    """Mean of the best one-to-one assignment of scores (..., N, N_hat): shape (...).

    Hungarian algorithm over min(N, N_hat) pairs (scipy.optimize.linear_sum_assignment).
    """
    flat = scores.detach().double().cpu().reshape(-1, *scores.shape[-2:]).numpy()
    means = [m[linear_sum_assignment(m, maximize=True)].mean() for m in flat]
    return torch.tensor(means, dtype=torch.float64).reshape(scores.shape[:-2])


def mcc(s: Any, s_hat: Any) -> Tensor:
    """Mean correlation coefficient: |Pearson r| between matched latents, averaged. In [0, 1].

    MCC = max over assignments pi of  1/N sum_i |corr(s_i, s_hat_pi(i))|.  Hyvarinen & Morioka, NeurIPS 2016.
    """
    return matched(correlations(s, s_hat).abs())


def paired_correlation(s: Any, s_hat: Any) -> Tensor:
    """Mean over latents of corr(s_i, s_hat_i), no matching, sign kept: the score of the known-codes experiment."""
    return correlations(s, s_hat).diagonal(dim1=-2, dim2=-1).mean(-1).cpu()


def dictionary_mcc(D: Any, D_hat: Any) -> Tensor:
    """The paper's dictionary score: MCC of the columns of D (..., M, N) and D_hat (..., M, N_hat).

    It correlates vectors of only M numbers, so its chance level is high: see chance_dictionary_mcc.
    """
    return mcc(D, D_hat)


def dictionary_cosine(D: Any, D_hat: Any) -> Tensor:
    """Mean |cosine| of matched columns of D (..., M, N) and D_hat (..., M, N_hat). In [0, 1]."""
    D, D_hat = as_tensor(D, "D").double(), as_tensor(D_hat, "D_hat").double()
    if min(D.ndim, D_hat.ndim) < 2 or D.shape[-2] != D_hat.shape[-2]:
        raise ValueError(
            f"D {tuple(D.shape)} and D_hat {tuple(D_hat.shape)} must have the same M in (..., M, N)"
        )
    if 0 in D.shape or 0 in D_hat.shape:
        raise ValueError("a cosine needs at least one column with one number")
    return matched((unit_columns(D).mT @ unit_columns(D_hat)).abs())


def chance_mcc(s: Any, s_hat: Any, draws: int = 20, seed: int = 0) -> Tensor:
    """Expected MCC of codes that are independent of s: s_hat with its samples shuffled, mean over `draws`."""
    draws = check_count(draws, "draws")
    s_hat = as_tensor(s_hat, "s_hat")
    if s_hat.ndim < 2:
        raise ValueError(f"s_hat must have shape (..., n, N), not {tuple(s_hat.shape)}")
    g = generator(seed)
    orders = [torch.randperm(s_hat.shape[-2], generator=g).to(s_hat.device) for _ in range(draws)]
    return torch.stack([mcc(s, s_hat[..., order, :]) for order in orders]).mean(0)


def chance_dictionary_mcc(
    M: int, N: int, N_hat: int | None = None, draws: int = 200, seed: int = 0
) -> Tensor:
    """Dictionary MCC of two independent Gaussian dictionaries (M, N) and (M, N_hat), mean over `draws`.

    Raises ValueError unless M is at least 2, for correlations, and the others are at least 1.
    """
    M, N, draws = check_count(M, "M", least=2), check_count(N, "N"), check_count(draws, "draws")
    N_hat = N if N_hat is None else check_count(N_hat, "N_hat")
    g = generator(seed)
    D = torch.randn(draws, M, N, generator=g, dtype=torch.float64)
    D_hat = torch.randn(draws, M, N_hat, generator=g, dtype=torch.float64)
    return dictionary_mcc(D, D_hat).mean()


def chance_corrected(score: Any, chance: Any) -> Any:
    """(m - c) / (1 - c): 0 at the chance level c, 1 for a perfect score.

    Both are numbers, arrays, columns of a table or tensors. Raises ValueError for anything else, for NaN and inf,
    and for c = 1.
    """
    for value, name in ((score, "score"), (chance, "chance")):
        if getattr(value, "ndim", 0):
            as_tensor(value if isinstance(value, torch.Tensor) else np.asarray(value), name)
        elif not math.isfinite(as_number(value, name)):
            raise ValueError(f"{name} must be finite, not {value}")
    if np.any(np.asarray(chance) == 1):
        raise ValueError("a chance level of 1 leaves nothing to be corrected")
    return (score - chance) / (1 - chance)


def code_scores(t: SparseProblem, D: Tensor, s: Tensor, draws: int = 3) -> dict[str, float]:
    """Codes s (n, N_hat) on a learned dictionary D (M, N_hat), against the samples t and their dictionary.

    mcc of the codes, chance (theirs in shuffled order, `draws` times), dict_mcc and cosine of the columns, and mse,
    the mean of (x - D s)^2 over samples and measurements.
    """
    D, s = D.detach(), s.detach()
    return {
        "mcc": mcc(t.codes, s).item(),
        "chance": chance_mcc(t.codes, s, draws=draws).item(),
        "dict_mcc": dictionary_mcc(t.D, D).item(),
        "cosine": dictionary_cosine(t.D, D).item(),
        "mse": (t.x - s @ D.T).square().mean().item(),
    }


class SupportScores(NamedTuple):
    """Precision, recall and F1 of recovered supports, each averaged over samples, shape (...)."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def support_scores(s: Any, s_hat: Any, threshold: float = 0.0) -> SupportScores:
    """How well {i : |s_hat_i| > threshold} finds {i : s_i != 0}, latent i against latent i.

    Precision of an empty answer is 1, recall of an empty support is 1, F1 = 2 hits / (size + size_hat).
    Raises ValueError unless both have the same n and N.
    """
    threshold = as_number(threshold, "threshold")
    s, s_hat = _same_size(s, s_hat, "s", "s_hat")
    true, found = s != 0, s_hat.abs() > threshold
    hits = (true & found).sum(-1).double()
    size, size_hat = true.sum(-1).double(), found.sum(-1).double()

    def ratio(top: Tensor, bottom: Tensor) -> Tensor:
        return torch.where(bottom > 0, top / bottom.clamp_min(1), 1).mean(-1).cpu()

    return SupportScores(ratio(hits, size_hat), ratio(hits, size), ratio(2 * hits, size + size_hat))


def fvu(x: Any, x_hat: Any) -> Tensor:
    """Fraction of variance unexplained: sum ||x - x_hat||^2 / sum ||x - mean x||^2, x (..., n, M).

    Raises ValueError unless both have the same n and M, and where x does not vary.
    """
    x, x_hat = (v.double() for v in _same_size(x, x_hat, "x", "x_hat"))
    total = (x - x.mean(-2, keepdim=True)).square().sum((-2, -1))
    if (total == 0).any():
        raise ValueError("x does not vary over the samples, so no fraction of its variance exists")
    return ((x - x_hat).square().sum((-2, -1)) / total).cpu()


def _same_size(a: Any, b: Any, name: str, other: str) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(a, name), as_tensor(b, other)
    if min(a.ndim, b.ndim) < 2 or a.shape[-2:] != b.shape[-2:]:
        raise ValueError(
            f"{name} {tuple(a.shape)} and {other} {tuple(b.shape)} must have the same (..., n, width)"
        )
    return a, b


def l0(codes: Any, threshold: float = 0.0) -> Tensor:
    """Mean number of latents with |s_i| > threshold. State the threshold: codes exp(l) are never zero."""
    threshold = as_number(threshold, "threshold")
    return (_batch(codes).abs() > threshold).sum(-1).double().mean(-1).cpu()


def dead_latents(codes: Any, threshold: float = 0.0) -> Tensor:
    """Fraction of latents that exceed the threshold on no sample."""
    threshold = as_number(threshold, "threshold")
    return (_batch(codes).abs() <= threshold).all(-2).double().mean(-1).cpu()


def _batch(codes: Any) -> Tensor:
    codes = as_tensor(codes, "codes")
    if codes.ndim < 2 or 0 in codes.shape:
        raise ValueError(
            f"codes must have shape (..., n, N), with a sample and a latent, not {tuple(codes.shape)}"
        )
    return codes
