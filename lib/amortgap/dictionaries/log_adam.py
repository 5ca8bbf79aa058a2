"""The paper's sparse coding: gradient descent on the dictionary and the log-codes of the training set together.

min over D, s of  mean (x - D s)^2 + lambda mean |s|,   s = exp(l), unit columns
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from amortgap._check import as_tensor
from amortgap.problem import unit_columns
from amortgap.solvers.log_adam import START


def log_adam_dictionary(
    x: Tensor,
    N: int,
    *,
    seeds: Sequence[int],
    steps: int = 40_000,
    l1_weight: float | Tensor = 0.01,
    lr: float = 1e-3,
    log_at: Iterable[int] = (),
    measure: Callable[[Tensor, Tensor], dict[str, Any]] | None = None,
) -> tuple[Tensor, dict[str, list[Any]]]:
    """The paper's sparse coding: Adam on a dictionary and on the log-codes of all training samples at once.

    x (n, M), or (B, n, M) with one data set a seed -> D (B, M, N), B = len(seeds), and what measure(D, codes)
    returned after log_at steps (with the steps under "step"). D starts Gaussian, log-codes at -10; columns are
    normalised after every step. arXiv 2411.13117, section 4.3. Raises ValueError for NaN, inf, N < 1, no seeds,
    shapes that do not fit and negative weights or steps.
    """
    x = as_tensor(x, "x")
    if N < 1 or not seeds:
        raise ValueError("N must be at least 1 and seeds must not be empty")
    B = len(seeds)
    if x.ndim < 2 or 0 in x.shape or list(x.shape[:-2]) not in ([], [B]):
        raise ValueError(f"x must have shape (n, M) or ({B}, n, M), not {tuple(x.shape)}")
    n, M = x.shape[-2:]
    starts = [torch.randn(M, N, generator=torch.Generator().manual_seed(s)) for s in seeds]
    D = unit_columns(torch.stack(starts)).to(x)
    log_codes = torch.full((B, n, N), START, dtype=x.dtype, device=x.device)
    D, log_codes = D.requires_grad_(), log_codes.requires_grad_()
    adam = torch.optim.Adam([D, log_codes], lr=lr, fused=True)
    weight = torch.as_tensor(l1_weight, dtype=x.dtype, device=x.device).reshape(-1, 1, 1) / (n * N)
    if steps < 0 or len(weight) not in (1, B) or not (weight >= 0).all():
        raise ValueError(f"steps must be >= 0, and l1_weight one number or {B} numbers >= 0")
    log = set(log_at)
    logged: dict[str, list[Any]] = {"step": []}
    bar = tqdm(total=steps, desc="sparse coding", file=sys.stderr, delay=2, mininterval=1)
    with torch.no_grad(), bar:
        for step in range(steps + 1):
            codes = log_codes.exp()
            if step in log and measure is not None:
                logged["step"].append(step)
                for name, value in measure(D, codes).items():
                    logged.setdefault(name, []).append(value)
            if step == steps:
                break
            residual = (codes @ D.mT - x).mul_(2 / (n * M))
            D.grad = residual.mT @ codes
            log_codes.grad = (residual @ D).add_(weight).mul_(codes)
            adam.step()
            D /= torch.linalg.vector_norm(D, dim=-2, keepdim=True)
            bar.update()
    return D.detach(), logged
