"""What a step of FISTA does to each number, in one pass on a GPU: one Triton program a sample."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _step(Y, P, C, S, T_IN, ETA, NEW, Y_OUT, T_OUT, alpha, N, W: tl.constexpr, POSITIVE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    w = tl.arange(0, W)
    eta = tl.load(ETA)
    uphill = tl.zeros([W], tl.float32)
    first = 0
    while first < N:
        at, inside = row * N + first + w, first + w < N
        y = tl.load(Y + at, mask=inside, other=0.0)
        v = y + eta * (tl.load(C + at, mask=inside, other=0.0) - tl.load(P + at, mask=inside, other=0.0))
        new = tl.maximum(v - eta * alpha, 0.0)
        if not POSITIVE:
            new -= tl.maximum(-v - eta * alpha, 0.0)
        s = tl.load(S + at, mask=inside, other=0.0)
        uphill += tl.where(inside, (y - new) * (new - s), 0.0)
        tl.store(NEW + at, new, mask=inside)
        first += W
    t = tl.load(T_IN + row)
    t = tl.where(tl.sum(uphill, 0) > 0, 1.0, t)
    t_next = (1 + tl.sqrt(1 + 4 * t * t)) / 2
    tl.store(T_OUT + row, t_next)
    momentum = (t - 1) / t_next
    first = 0
    while first < N:  # each thread reads what it has written
        at, inside = row * N + first + w, first + w < N
        new = tl.load(NEW + at, mask=inside, other=0.0)
        s = tl.load(S + at, mask=inside, other=0.0)
        tl.store(Y_OUT + at, new + momentum * (new - s), mask=inside)
        first += W


def step_on_chip(
    s: Tensor, y: Tensor, t: Tensor, product: Tensor, c: Tensor, eta: Tensor, alpha: float, nonnegative: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The next s and y (n, N) and t (n, 1), where c - product (n, N) is the ascent at y; all float32."""
    n, N = s.shape
    new, y_next, t_next = torch.empty_like(product), torch.empty_like(product), torch.empty_like(t)
    parts = [part.contiguous() for part in (y, product, c, s, t)]
    program: Any = _step
    width = min(2048, max(128, 1 << (N - 1).bit_length()))
    program[(n,)](*parts, eta, new, y_next, t_next, alpha, N, W=width, POSITIVE=nonnegative, num_warps=4)
    return new, y_next, t_next
