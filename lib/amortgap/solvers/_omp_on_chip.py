"""Orthogonal matching pursuit on a GPU, one Triton program a sample: all its steps, with everything on chip.

The steps are those of `batched_omp`; correlations are  c = D'x - sum_j s_j G[j]  from the Gram matrix G = D'D,
whose rows the programs read from the cache; or each sample has a small one of its own candidates. Correlations of
the sample, inner products of its atoms and their inverse stay in registers.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _pursue(
    C0,
    GRAM,
    gram_step,
    FLOOR,
    SIZES,
    ATOM,
    S,
    H_OUT,
    COUNT,
    SCHUR,
    N,
    singular,
    T: tl.constexpr,
    W: tl.constexpr,
    POSITIVE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    i, w = tl.arange(0, T), tl.arange(0, W)
    gram = GRAM + row * gram_step
    K, width = tl.load(SIZES + 2 * row), tl.load(SIZES + 2 * row + 1)
    limit = 4 * K + 4 if POSITIVE else K
    b_all = tl.load(C0 + row * N + w, mask=w < N, other=0.0)
    floor = tl.load(FLOOR + row)
    taken = tl.where(w < width, 0, 1)
    c = b_all
    G = tl.zeros([T, T], tl.float32)
    H = tl.zeros([T, T], tl.float32)
    s = tl.zeros([T], tl.float32)
    b = tl.zeros([T], tl.float32)
    atom = tl.zeros([T], tl.int32)
    active = tl.zeros([T], tl.int32)
    barred = tl.zeros([T], tl.int32)
    count = 0
    least = 1.0
    turn = 0
    going = 1
    while going > 0:
        size = c if POSITIVE else tl.abs(c)
        size = tl.where(taken > 0, -1.0, size)
        new = tl.argmax(size, 0)
        enters = tl.where((tl.max(size, 0) > floor) & (count < K), 1, 0)
        grows = enters
        slot = count
        if POSITIVE:  # one of its own atoms that has left and is wanted again goes first
            error = b - tl.sum(G * s[None, :], 1)
            left = tl.where((i < count) & (active == 0) & (barred == 0), error, -1.0)
            wanted = tl.argmax(left, 0)
            back = tl.where(tl.max(left, 0) > floor, 1, 0)
            slot = tl.where(back > 0, wanted, count)
            new = tl.where(back > 0, tl.sum(tl.where(i == wanted, atom, 0), 0), new)
            grows = enters * (1 - back)
            enters = tl.maximum(enters, back)
        count += grows
        here = (i == slot) & (enters > 0)
        atom = tl.where(here, new, atom)
        taken = tl.where((w == new) & (enters > 0), 1, taken)
        g = tl.load(gram + new.to(tl.int64) * N + atom, mask=i < count, other=0.0)
        if POSITIVE:
            b = tl.where(here, tl.sum(tl.where(w == new, b_all, 0.0), 0), b)
            G = tl.where(here[:, None], g[None, :], tl.where(here[None, :], g[:, None], G))
        g = tl.where(active > 0, g, 0.0)
        u = tl.sum(H * g[None, :], 1)
        schur = 1.0 - tl.sum(g * u, 0)
        least = tl.where(enters > 0, tl.minimum(least, schur), least)
        good = tl.where(schur > singular, enters, 0)
        u = tl.where(here, -1.0, u)
        H += tl.where(good > 0, 1.0 / tl.maximum(schur, singular), 0.0) * u[:, None] * u[None, :]
        active = tl.where(here, good, active)
        barred = tl.where(here, 1 - good, barred)
        if POSITIVE:
            error = tl.where(active > 0, b - tl.sum(G * s[None, :], 1), 0.0)
        else:  # the correlations of the others are zero
            error = tl.where(here & (active > 0), tl.sum(tl.where(w == new, c, 0.0), 0), 0.0)
        move = tl.sum(H * error[None, :], 1)
        if POSITIVE:  # atoms leave where they meet zero on the way
            reach = tl.where((active > 0) & (move < 0), -s / tl.where(move < 0, move, -1.0), 2.0)
            part = tl.min(reach, 0)
            while part < 1:
                hot = i == tl.argmin(reach, 0)
                s = tl.where(hot, 0.0, tl.maximum(s + part * move, 0.0))
                error = tl.where(hot, 0.0, (1 - part) * error)
                active = tl.where(hot, 0, active)
                h = tl.sum(tl.where(hot[None, :], H, 0.0), 1)
                p = tl.sum(tl.where(hot, h, 0.0), 0)
                H -= (1.0 / p) * h[:, None] * h[None, :]
                H = tl.where(hot[:, None] | hot[None, :], 0.0, H)
                move = tl.sum(H * error[None, :], 1)
                reach = tl.where((active > 0) & (move < 0), -s / tl.where(move < 0, move, -1.0), 2.0)
                part = tl.min(reach, 0)
            s = tl.maximum(s + move, 0.0)
        else:
            s += move
        turn += 1
        going = tl.where(turn < limit, enters, 0)
        tl.store(ATOM + row * T + i, atom)
        tl.store(S + row * T + i, s)
        tl.debug_barrier()
        c = b_all
        j = 0
        while j < count * going:
            at = row * T + j
            a0, a1 = tl.load(ATOM + at).to(tl.int64), tl.load(ATOM + at + 1).to(tl.int64)
            a2, a3 = tl.load(ATOM + at + 2).to(tl.int64), tl.load(ATOM + at + 3).to(tl.int64)
            g0 = tl.load(gram + a0 * N + w, mask=w < N, other=0.0)
            g1 = tl.load(gram + a1 * N + w, mask=w < N, other=0.0)
            g2 = tl.load(gram + a2 * N + w, mask=w < N, other=0.0)
            g3 = tl.load(gram + a3 * N + w, mask=w < N, other=0.0)
            c -= tl.load(S + at) * g0 + tl.load(S + at + 1) * g1
            c -= tl.load(S + at + 2) * g2 + tl.load(S + at + 3) * g3
            j += 4
        tl.debug_barrier()
    tl.store(H_OUT + row * T * T + i[:, None] * T + i[None, :], H)
    tl.store(COUNT + row, count)
    tl.store(SCHUR + row, least)


def pursue_on_chip(
    unit: Tensor, rows: Tensor, gram: Tensor, x: Tensor, K: int, nonnegative: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Atoms (n, T), coefficients (n, T), zero in empty slots, atoms taken (n,) and the smallest Schur complement of
    each sample (n,); T >= K a power of two.

    unit (M, N) with unit columns, rows = unit' (N, M), gram = unit'unit, x (n, M), all float32.
    """
    n, N = len(x), len(gram)
    sizes = torch.tensor([K, N], dtype=torch.int32, device=x.device).expand(n, 2).contiguous()
    atom, s, H, count, schur = _launch((x @ unit).contiguous(), gram, x, sizes, K, nonnegative)
    # refinement: the correlations that are left, from x - D s itself
    r = x - torch.nn.functional.embedding_bag(atom, rows, mode="sum", per_sample_weights=s)
    s = s + torch.bmm(H, (r @ unit).gather(1, atom)[:, :, None])[:, :, 0]
    return atom, s.clamp_min(0) if nonnegative else s, count, schur


def pursue_among(columns: Tensor, x: Tensor, k: Tensor, width: Tensor) -> Tensor:
    """Nonnegative coefficients (n, m) of at most k (n,) of each sample's first width (n,) candidates.

    columns (n, m, M) of unit length, x (n, M), float32.
    """
    gram, b = torch.bmm(columns, columns.mT), torch.bmm(columns, x[:, :, None])[:, :, 0]
    sizes = torch.stack([k, width], 1).to(torch.int32)
    place, s, H, _, _ = _launch(b, gram, x, sizes, max(1, int(k.max())), True)
    values = torch.zeros_like(b).scatter_add_(1, place, s)
    left = torch.bmm(columns, (x - torch.bmm(values[:, None], columns)[:, 0])[:, :, None])[:, :, 0]
    s = (s + torch.bmm(H, left.gather(1, place)[:, :, None])[:, :, 0]).clamp_min(0)
    return torch.zeros_like(b).scatter_add_(1, place, s)


def _launch(
    c: Tensor, gram: Tensor, x: Tensor, sizes: Tensor, K: int, nonnegative: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Atoms, coefficients, inverse Gram matrices of the active ones, counts and smallest Schur complements, for
    slots of at least K.

    c (n, N): correlations with x. gram (N, N), or (n, N, N). sizes (n, 2): atoms to take, atoms to look at.
    """
    n, N, eps = *c.shape, torch.finfo(torch.float32).eps
    T, W = max(16, 1 << (K - 1).bit_length()), max(128, 1 << (N - 1).bit_length())
    s, H = c.new_zeros(n, T), c.new_empty(n, T, T)
    atom = torch.zeros(n, T, dtype=torch.int32, device=c.device)
    count, schur = torch.empty(n, dtype=torch.int32, device=c.device), c.new_empty(n)
    program: Any = _pursue
    program[(n,)](
        c,
        gram,
        N * N if gram.dim() == 3 else 0,
        10 * eps * torch.linalg.vector_norm(x, dim=1),
        sizes,
        atom,
        s,
        H,
        count,
        schur,
        N,
        100 * eps,
        T=T,
        W=W,
        POSITIVE=nonnegative,
        num_warps=8 if W > 2048 or (W >= 1024 and T <= 32) else 4,
    )
    return atom.long(), s, H, count.long(), schur
