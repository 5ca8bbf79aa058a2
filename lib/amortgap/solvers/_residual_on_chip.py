"""Residuals and correlations in float64 of columns in float32, on a GPU: one Triton program a sample.

torch would first write all columns in float64, which takes longer than the sums.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _residual(COLUMNS, X, S, R, C, M, n_slots, W: tl.constexpr, TILE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    w, i = tl.arange(0, W), tl.arange(0, TILE)
    r = tl.load(X + row * M + w, mask=w < M, other=0.0).to(tl.float64)
    start = row * n_slots * M
    first = 0
    while first < n_slots:
        slot = first + i
        at = start + slot[:, None] * M + w[None, :]
        inside = (slot < n_slots)[:, None] & (w < M)[None, :]
        d = tl.load(COLUMNS + at, mask=inside, other=0.0).to(tl.float64)
        s = tl.load(S + row * n_slots + slot, mask=slot < n_slots, other=0.0)
        r -= tl.sum(s[:, None] * d, 0)
        first += TILE
    tl.store(R + row * M + w, r, mask=w < M)
    first = 0
    while first < n_slots:
        slot = first + i
        at = start + slot[:, None] * M + w[None, :]
        inside = (slot < n_slots)[:, None] & (w < M)[None, :]
        d = tl.load(COLUMNS + at, mask=inside, other=0.0).to(tl.float64)
        tl.store(C + row * n_slots + slot, tl.sum(r[None, :] * d, 1), mask=slot < n_slots)
        first += TILE


def residual_on_chip(columns: Tensor, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """r = x - D s (m, M) and D'r (m, T), both float64.

    D' = columns (m, T, M) and x (m, M) in float32, s (m, T) in float64.
    """
    m, T, M = columns.shape
    r = torch.empty(m, M, dtype=torch.float64, device=x.device)
    c = torch.empty(m, T, dtype=torch.float64, device=x.device)
    program: Any = _residual
    width = max(128, 1 << (M - 1).bit_length())
    args = (columns.contiguous(), x.contiguous(), s.contiguous(), r, c, M, T)
    program[(m,)](*args, W=width, TILE=max(1, min(8, 4096 // width)), num_warps=4)
    return r, c
