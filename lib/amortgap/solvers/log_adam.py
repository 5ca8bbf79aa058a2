"""The paper's inference-time optimisation: Adam on the logarithms of the codes.

    s = exp(l),   loss = mean (x - D s)^2 + lambda mean |s|,   l starts at -10 everywhere,  10 000 Adam steps

arXiv 2411.13117, section 4, with the step count, learning rate and start of the authors' public code. The
codes can never be zero and are never negative. Because the loss is a mean over the batch and the first
gradients (about exp(-10) / n) are as small as Adam's epsilon, the path depends on the batch size n.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import LIMIT, Solution, certify, each
from amortgap.solvers.prepared import Prepared, plain

START = -10.0  # log-code of every latent at the start
KERNEL_WEIGHTS = 16_384  # M N above which the general matrix products are as fast


def log_adam(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    n_steps: int = 10_000,
    lr: float = 3e-3,
) -> Solution:
    """n_steps of Adam at learning rate lr on log-codes.  D (M, N), x (n, M) -> codes (n, N), all positive.

    init (n, N): a true warm start, from max(init, exp(-10)). tol only decides what is called converged.
    Raises ValueError for nonnegative=False: exp(l) is positive.
    """
    if not nonnegative:
        raise ValueError("log_adam writes codes as exp(l) and can only solve the nonnegative problem")
    D = plain(D)
    (n, M), N = x.shape, D.shape[1]
    scale = 2 / (max(n, 1) * M)  # turns sum of P into the paper's mean loss, lambda = 2 N alpha / M
    if init is None:
        log_codes = torch.full((n, N), START, dtype=x.dtype, device=x.device)
    else:
        log_codes = init.detach().to(x.dtype).clamp_min(math.exp(START)).log()
    if n and x.device.type == "cpu" and D.dtype == x.dtype == torch.float32 and M * N <= KERNEL_WEIGHTS:
        codes = _by_kernel(D, log_codes, x, alpha * scale, scale, lr, n_steps).exp()
    else:
        log_codes.requires_grad_()
        adam = torch.optim.Adam([log_codes], lr=lr, fused=True)
        with torch.no_grad():
            for _ in range(n_steps):
                codes = log_codes.exp()
                residual = codes @ D.T - x
                log_codes.grad = codes * (residual @ D).add_(alpha).mul_(scale)
                adam.step()
            codes = log_codes.exp()
    steps = torch.full((n,), n_steps, dtype=torch.long, device=x.device)
    flops = (4 * n_steps + 6) * M * N * n  # the steps and the certificate
    found = certify(
        D,
        x,
        codes,
        alpha,
        nonnegative=True,
        tol=tol,
        n_steps=steps,
        at_limit=torch.ones_like(steps, dtype=torch.bool),
        flops=flops,
        method="log_adam",
    )
    # whatever the gap, it makes all its steps
    return dataclasses.replace(found, stop=each(LIMIT, n))


def _by_kernel(
    D: Tensor, log_codes: Tensor, x: Tensor, push: float, scale: float, lr: float, steps: int
) -> Tensor:
    """The same steps fused into one compiled loop, parts of the samples in parallel."""
    # numba takes half a second to import
    from amortgap._kernels.blocks import BLOCK, blocks, each, unblocks
    from amortgap._kernels.log_codes import Problem, train_codes
    from amortgap._kernels.products import Learned

    part = BLOCK * max(1, -(-len(x) // (BLOCK * torch.get_num_threads())))
    unused, rates = np.zeros((0, 0), np.float32), np.full(steps, lr)
    given = Learned(D.detach().contiguous().numpy(), unused, unused)
    parts = [
        (blocks(a), blocks(b.detach())) for a, b in zip(log_codes.split(part), x.split(part), strict=True)
    ]
    jobs = [
        (
            given,
            Learned(a, np.zeros_like(a), np.zeros_like(a)),
            Problem(b, learned=False, keep=0, push=push, scale=scale),
            rates,
            0,
        )
        for a, b in parts
    ]
    each(train_codes, jobs)
    return torch.cat([unblocks(a, D.shape[1]) for a, _ in parts])
