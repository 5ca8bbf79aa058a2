"""The paper's sparse coding: gradient descent on the dictionary and the log-codes of the training set together.

min over D, s of  mean (x - D s)^2 + lambda mean |s|,   s = exp(l), unit columns
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from amortgap import _training_kernel as kernel
from amortgap._check import as_tensor
from amortgap.problem import unit_columns
from amortgap.solvers.log_adam import START

CHUNK = 200  # steps between two looks at the progress bar
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
    suited = kernel.suits(x) and M * N <= KERNEL_WEIGHTS
    trainer = (KernelSteps if suited else TorchSteps)(D, log_codes, x, weight, lr)
    log = set(log_at)
    logged: dict[str, list[Any]] = {"step": []}
    step = 0
    with (
        torch.no_grad(),
        tqdm(total=steps, desc="sparse coding", file=sys.stderr, delay=2, mininterval=1) as bar,
    ):
        for stop in sorted({s for s in log if 0 <= s < steps} | {steps}):
            while step < stop:
                count = min(CHUNK, stop - step)
                trainer.advance(step, count)
                step += count
                bar.update(count)
            if step in log and measure is not None:
                logged["step"].append(step)
                for name, value in measure(D.detach(), trainer.codes()).items():
                    logged.setdefault(name, []).append(value)
    return D.detach(), logged


class TorchSteps:
    """Any device and type: D, unless it is given, and the log-codes change in place. keep: see log_adam_top_k."""

    def __init__(
        self,
        D: Tensor,
        log_codes: Tensor,
        x: Tensor,
        weight: Tensor,
        lr: float,
        learned: bool = True,
        keep: int = 0,
    ) -> None:
        self.D, self.logs, self.x, self.weight = D, log_codes, x, weight
        self.learned, self.keep = learned, keep
        self.adam = torch.optim.Adam([D, log_codes] if learned else [log_codes], lr=lr, fused=True)

    def advance(self, first: int, steps: int) -> None:
        scale = 2 / (self.x.shape[-2] * self.x.shape[-1])
        for _ in range(steps):
            codes = self.codes()
            residual = (codes @ self.D.mT - self.x).mul_(scale)
            if self.learned:
                self.D.grad = residual.mT @ codes
            self.logs.grad = (residual @ self.D).add_(self.weight).mul_(codes)
            self.adam.step()
            if self.learned:
                self.D /= torch.linalg.vector_norm(self.D, dim=-2, keepdim=True)

    def codes(self) -> Tensor:
        return first_largest(self.logs.exp(), self.keep)


class KernelSteps:
    """The same for small float32 problems on the CPU, a thread a dictionary."""

    def __init__(
        self,
        D: Tensor,
        log_codes: Tensor,
        x: Tensor,
        weight: Tensor,
        lr: float,
        learned: bool = True,
        keep: int = 0,
    ) -> None:
        (_, M, N), n = D.shape, x.shape[-2]
        logs, data = kernel.blocks(log_codes), kernel.blocks(x)
        D_ = D.numpy()  # shares its memory with D
        (mD, m), (vD, v) = [(np.zeros_like(D_), np.zeros_like(logs)) for _ in range(2)]
        self.N, self.logs, self.keep = N, logs, keep
        self.jobs = [
            (D_[i], mD[i], vD[i], logs[i], m[i], v[i], data if x.ndim == 2 else data[i],
             learned, keep, push, 2 / (n * M), lr)
            for i, push in enumerate(weight.reshape(-1).expand(len(D)).tolist())
        ]  # fmt: skip

    def advance(self, first: int, steps: int) -> None:
        kernel.each(kernel.train_codes, [(*job, first, steps) for job in self.jobs])

    def codes(self) -> Tensor:
        return first_largest(kernel.unblocks(self.logs, self.N).exp(), self.keep)


def first_largest(s: Tensor, keep: int) -> Tensor:
    """s (..., N) with all but the `keep` largest of the last dimension zero, of equals the first; keep = 0: s."""
    if keep == 0:
        return s
    order = torch.sort(s, dim=-1, descending=True, stable=True).indices[..., :keep]
    return torch.zeros_like(s).scatter(-1, order, s.gather(-1, order))
