"""The small problems of `batched` on a GPU: one program a problem, its tableau in registers (Triton).

Principal pivoting as `pivoting` does it for tiny dictionaries: the worst violated index is exchanged, by a sweep of
the tableau S, which starts as G; z holds the change of s on active indices and w on the others.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _sweeps(G, S0, V, SLACK, Z, ACTIVE, KEPT, STEPS, n_slots, limit, T: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, T)
    inside = i < n_slots
    at = row * n_slots * n_slots + i[:, None] * n_slots + i[None, :]
    S = tl.load(G + at, mask=inside[:, None] & inside[None, :], other=0.0)
    z = tl.load(V + row * n_slots + i, mask=inside, other=-1.0)
    off = tl.load(S0 + row * n_slots + i, mask=inside, other=0.0)
    slack = tl.load(SLACK + row)
    waiting = tl.where(off > 0, 1, 0)
    active = tl.zeros([T], tl.int32)
    count = 0
    wrong = tl.where(waiting > 0, 1e30, z - slack)
    best = tl.max(wrong, 0)
    while (best > 0) & (count < limit):
        j = tl.argmax(wrong, 0)
        hot = i == j
        leaving = tl.sum(tl.where(hot, active, 0), 0)
        zj = tl.sum(tl.where(hot, z + leaving * off, 0.0), 0)
        off = tl.where(hot & (leaving > 0), 0.0, off)
        column = tl.sum(tl.where(hot[None, :], S, 0.0), 1)
        # S is symmetric within the active and the inactive indices, antisymmetric between them
        line = tl.where(active == leaving, column, -column)
        p = tl.sum(tl.where(hot, column, 0.0), 0)
        # a dependent column: give up, and leave it to who calls
        count = tl.where(tl.abs(p) > 1e-5, count + 1, limit + 1)
        f = 1.0 / tl.where(tl.abs(p) > 1e-5, p, 1.0)
        S = S - column[:, None] * (line * f)[None, :]
        S = tl.where(hot[:, None], (line * f)[None, :], S)
        S = tl.where(hot[None, :], tl.where(hot, f, -column * f)[:, None], S)
        z = tl.where(hot, zj * f, z - column * (zj * f))
        waiting = tl.where(hot, 0, waiting)
        active = tl.where(hot, 1 - active, active)
        wrong = tl.where(active > 0, -(z + off), z - slack)
        wrong = tl.where(waiting > 0, 1e30, wrong)
        best = tl.max(wrong, 0)
    tl.store(Z + row * n_slots + i, z, mask=inside)
    tl.store(ACTIVE + row * n_slots + i, active.to(tl.int8), mask=inside)
    tl.store(KEPT + row * n_slots + i, tl.where(off > 0, 1, 0).to(tl.int8), mask=inside)
    tl.store(STEPS + row, tl.where(best > 0, limit + 1, count))


def pivot_on_chip(G: Tensor, s: Tensor, v: Tensor, slack: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `_pivot.pivot`, for float32 G with T <= 128; and which problems are solved, (m,)."""
    m, T = v.shape
    z = torch.empty_like(v)
    active, kept = (torch.empty(m, T, dtype=torch.int8, device=v.device) for _ in range(2))
    steps = torch.empty(m, dtype=torch.int32, device=v.device)
    limit, width = 4 * T, max(16, 1 << (T - 1).bit_length())
    args = (G.contiguous(), s.float(), v.contiguous(), slack.float(), z, active, kept, steps, T, limit)
    program: Any = _sweeps
    program[(m,)](*args, T=width, num_warps=4 if width > 64 else 1)
    found = torch.where(active > 0, torch.where(kept > 0, s, 0) + z, 0).clamp_min(0)
    solved = steps <= limit
    return torch.where(solved[:, None], found, s), steps.long().clamp_max(limit), solved
