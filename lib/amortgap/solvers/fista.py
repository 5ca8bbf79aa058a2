"""FISTA with adaptive restart for the (nonnegative) LASSO, many samples at once.

    s_{k+1} = prox(y_k - (D'D y_k - D'x) / L),   y_{k+1} = s_{k+1} + (t_k - 1) / t_{k+1} (s_{k+1} - s_k)

with L the largest eigenvalue of D'D and prox(v) = max(v - alpha/L, 0), soft thresholding in the signed case.
Beck & Teboulle, SIAM J. Imaging Sci. 2 (2009), eq. 4.1-4.3. The momentum of a sample is dropped whenever it
points uphill (O'Donoghue & Candes, Found. Comput. Math. 15 (2015), gradient scheme), and a sample leaves the
batch once its own duality gap is small enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from amortgap.objectives import duality_gap
from amortgap.solvers._solution import Solution, certify

CHECK_EVERY = 10  # steps between two looks at the duality gap, which costs about two steps


def fista(
    D: Tensor,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    max_steps: int = 50_000,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    init (n, N): starting codes (default 0).  A sample that is not done after max_steps has converged=False.
    """
    # float32 iterates stall at gaps of about 1e-5, so small tolerances are worked for in float64
    dtype = torch.promote_types(x.dtype, torch.float32) if tol >= 1e-4 else torch.float64
    D_, x_ = D.to(dtype), x.to(dtype)
    M, N = D.shape
    gram = D_.T @ D_ if N <= 2 * M else None  # N^2 against 2 M N multiplications a step
    step = 1 / torch.linalg.matrix_norm(D_.double(), ord=2).square().to(dtype)

    codes = torch.zeros(len(x), N, dtype=dtype, device=x.device) if init is None else init.to(dtype).clone()
    n_steps = torch.zeros(len(x), dtype=torch.long, device=x.device)
    active = (~(duality_gap(D_, x_, codes, alpha, nonnegative) <= tol)).nonzero().squeeze(1)
    s, y, target = codes[active], codes[active], x_[active]
    correlation = target @ D_
    t = torch.ones(len(active), 1, dtype=dtype, device=x.device)
    flops = 10 * M * N * len(x) + 2 * M * N * len(active)  # the first gap and the certificate; D'x
    flops += 2 * M * N * N if gram is not None else 0
    for k in range(1, max_steps + 1):
        if len(active) == 0:
            break
        ascent = correlation - y @ gram if gram is not None else (target - y @ D_.T) @ D_
        v = y + step * ascent
        new = (v - step * alpha).clamp_min_(0)
        if not nonnegative:
            new = new - (-v - step * alpha).clamp_min_(0)
        move = new - s
        t = torch.where(((y - new) * move).sum(1, keepdim=True) > 0, 1, t)  # restart where uphill
        t_next = (1 + (1 + 4 * t * t).sqrt()) / 2
        y = new + (t - 1) / t_next * move
        s, t = new, t_next
        flops += len(active) * (2 * N * N if gram is not None else 4 * M * N)
        if k % CHECK_EVERY == 0 or k == max_steps:
            flops += len(active) * 4 * M * N
            keep = ~(duality_gap(D_, target, s, alpha, nonnegative) <= tol)
            done = active[~keep]
            codes[done], n_steps[done] = s[~keep], k
            if len(done):
                active, s, y, t = active[keep], s[keep], y[keep], t[keep]
                target, correlation = target[keep], correlation[keep]
    codes[active], n_steps[active] = s, max_steps
    return certify(
        D, x, codes, alpha, nonnegative=nonnegative, tol=tol, n_steps=n_steps, flops=flops, method="fista"
    )
