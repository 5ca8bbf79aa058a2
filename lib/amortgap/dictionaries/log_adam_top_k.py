"""The paper's *optimised top-k*: sparse coding by Adam on log-codes of which only the k largest count."""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap._check import as_tensor, check_sparsity
from amortgap.dictionaries.log_adam import log_code_steps
from amortgap.solvers.log_adam import START
from amortgap.training.steps import take


@torch.no_grad()
def log_adam_top_k(
    x: Tensor, D: Tensor, k: int, *, learned: bool, steps: int = 10_000, lr: float = 3e-3
) -> tuple[Tensor, Tensor]:
    """`steps` steps of Adam on   mean (x - D s)^2,   s = the k largest of exp(l), all others zero.

    x (B, n, M) and D (B, M, N), unit columns: B problems at once -> D (B, M, N), learned from the one given
    (columns normalised after every step) or unchanged, and s (B, n, N). l starts at -10 everywhere, and of equal
    codes the first count: so every sample begins with the same k latents, and the gradient of the others is zero
    until one of those falls below exp(-10). arXiv 2411.13117, "optimised top-k". float32 on the CPU goes through a
    compiled kernel with the same equations.
    Raises ValueError for NaN, inf, k outside 1..N, shapes that do not fit and steps < 0.
    """
    x, D = as_tensor(x, "x"), as_tensor(D, "the dictionary D")
    if x.ndim != 3 or D.ndim != 3 or 0 in (*x.shape, *D.shape) or (len(x), x.shape[2]) != D.shape[:2]:
        raise ValueError(f"x (B, n, M) and D (B, M, N) do not fit: {tuple(x.shape)} and {tuple(D.shape)}")
    k = check_sparsity(k, D.shape[2])
    if steps < 0:
        raise ValueError(f"steps must be >= 0, not {steps}")
    D = D.to(x).clone(memory_format=torch.contiguous_format)
    logs = torch.full((*x.shape[:2], D.shape[2]), START, dtype=x.dtype, device=x.device)
    taker, codes = log_code_steps(D, logs, x, torch.zeros(1, 1, 1).to(x), learned, k)
    for _ in take(taker, 0, steps, lambda step: lr, f"optimised top-{k}"):
        pass
    return D, codes()
