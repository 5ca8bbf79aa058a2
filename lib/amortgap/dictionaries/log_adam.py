"""The paper's sparse coding: gradient descent on the dictionary and the log-codes of the training set together.

min over D, s of  mean (x - D s)^2 + lambda mean |s|,   s = exp(l), unit columns
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap._check import as_tensor
from amortgap._kernels.blocks import blocks, suits, unblocks
from amortgap._largest import first_largest
from amortgap.problem import unit_columns
from amortgap.solvers.log_adam import START
from amortgap.training.steps import KernelSteps, TorchSteps, take

KERNEL_WEIGHTS = 16_384  # M N above which the general matrix products are as fast


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
    normalised after every step. float32 on the CPU goes through a compiled kernel with the same equations.
    arXiv 2411.13117, section 4.3. Raises ValueError for NaN, inf, N < 1, no seeds,
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
    weight = torch.as_tensor(l1_weight, dtype=x.dtype, device=x.device).reshape(-1, 1, 1) / (n * N)
    if steps < 0 or len(weight) not in (1, B) or not (weight >= 0).all():
        raise ValueError(f"steps must be >= 0, and l1_weight one number or {B} numbers >= 0")
    taker, codes = log_code_steps(D, log_codes, x, weight)
    log = set(log_at)
    logged: dict[str, list[Any]] = {"step": []}

    @torch.no_grad()
    def record(step: int) -> None:
        if step in log and measure is not None:
            logged["step"].append(step)
            for name, value in measure(D, codes()).items():
                logged.setdefault(name, []).append(value)

    record(0)
    for step, _ in take(taker, 0, steps, lambda step: lr, "sparse coding", log):
        record(step)
    return D, logged


def log_code_steps(
    D: Tensor, logs: Tensor, x: Tensor, weight: Tensor, learned: bool = True, keep: int = 0
) -> tuple[TorchSteps | KernelSteps, Callable[[], Tensor]]:
    """What takes steps of Adam on log-codes, and on D unless it is given, in place; and the codes as they stand.

    D (B, M, N), logs (B, n, N), x (n, M) or (B, n, M), weight (B, 1, 1) or (1, 1, 1).  keep: see log_adam_top_k.
    """
    if suits(x) and D[0].numel() <= KERNEL_WEIGHTS:
        from amortgap._kernels.log_codes import train_codes

        packed = PackedCodes(D, logs, x, weight, learned, keep)
        return KernelSteps(train_codes, packed), packed.codes

    def codes() -> Tensor:
        s = logs.exp()
        return first_largest(s, keep) if keep else s

    scale = 2 / (x.shape[-2] * x.shape[-1])

    @torch.no_grad()
    def gradients(step: int) -> None:
        s = codes()
        residual = (s @ D.mT - x).mul_(scale)
        if learned:
            D.grad = residual.mT @ s
        logs.grad = (residual @ D).add_(weight).mul_(s)

    def project() -> None:
        if learned:
            D.div_(torch.linalg.vector_norm(D, dim=-2, keepdim=True))

    return TorchSteps([D, logs] if learned else [logs], gradients, project), codes


class PackedCodes:
    """The same for small float32 problems on the CPU, laid out for the kernel."""

    at_once = 1 << 20  # the data are the same at every step

    def __init__(self, D: Tensor, logs: Tensor, x: Tensor, weight: Tensor, learned: bool, keep: int) -> None:
        # numba takes half a second to import
        from amortgap._kernels.log_codes import Problem
        from amortgap._kernels.products import Learned

        (_, M, N), n = D.shape, x.shape[-2]
        self.N, self.logs, self.keep, data = N, blocks(logs), keep, blocks(x)
        D_ = D.numpy()  # shares its memory with D
        (mD, m), (vD, v) = [(np.zeros_like(D_), np.zeros_like(self.logs)) for _ in range(2)]
        self.of = [
            (
                Learned(D_[i], mD[i], vD[i]),
                Learned(self.logs[i], m[i], v[i]),
                Problem(data if x.ndim == 2 else data[i], learned, keep, push, 2 / (n * M)),
            )
            for i, push in enumerate(weight.reshape(-1).expand(len(D)).tolist())
        ]

    def jobs(self, first: int, count: int) -> list[tuple[Any, ...]]:
        return self.of

    def write_back(self) -> None:
        """D is the kernel's own; `codes` reads the rest."""

    def codes(self) -> Tensor:
        s = unblocks(self.logs, self.N).exp()
        return first_largest(s, self.keep) if self.keep else s
