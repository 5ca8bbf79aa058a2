"""The heads' small problems on a GPU: one program an activation, its matrix in registers (Triton).

`gram` makes the Gram matrices G (n, T, T) of the activations' candidates, and their products b (n, T) with x, from
columns that are never copied out. `settle` is `_restricted._tableau`, `path` is lasso's `_path` and `steps` is
iht's `_steps`, all in float32. The tableau is that of `_restricted.Sweeps`: on active candidates minus the inverse
of their Gram matrix, elsewhere Schur complements. Its sides are kept beside it.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

EPS = torch.finfo(torch.float32).eps


@triton.jit
def _gram(ROWS, X, CANDIDATES, G, B, n_places, M: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, T)
    here, at = i < n_places, row * n_places + i
    start = tl.load(CANDIDATES + at, mask=here, other=0) * M
    found = tl.zeros([T, T], tl.float32)
    b = tl.zeros([T], tl.float32)
    for first in range(0, M, BLOCK):
        e = first + tl.arange(0, BLOCK)
        part = tl.load(ROWS + start[:, None] + e[None, :], mask=here[:, None] & (e < M)[None, :], other=0.0)
        x = tl.load(X + row * M + e, mask=e < M, other=0.0)
        b += tl.sum(part * x[None, :], 1)
        # three products of halves: the digits of float32 on the tensor cores
        found = tl.dot(part, tl.trans(part), found, input_precision="tf32x3")
    tl.store(B + at, b, mask=here)
    tl.store(G + (row * T + i[:, None]) * T + i[None, :], found)


@triton.jit
def _pivot(W, diagonal, hot, leaving):
    """The pivot d, and c for the exchange  W - c c'/d  of place `hot`.

    c is the tableau's column, but d -+ 1 in its own place: so the exchange makes that row and column, +- c/d, as
    well. W_pp alone is then wrong, and never read: the diagonal is kept apart.
    """
    d = tl.sum(tl.where(hot, diagonal, 0.0), 0)
    # sums over rows keep the places of a vector spread over the lanes
    c = tl.sum(W * hot.to(tl.float32)[:, None], 0)
    return d, tl.where(hot, d + 2.0 * leaving - 1.0, c)


@triton.jit
def _settle(
    G, B, POWER, ROLE, START, SIZES, VALUES, LEFT, n_places, floor, singular, T: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, T)
    here, at = i < n_places, row * n_places + i
    width, limit = tl.load(SIZES + 3 * row), tl.load(SIZES + 3 * row + 1)
    keep = tl.load(SIZES + 3 * row + 2)
    W = tl.load(G + (row * T + i[:, None]) * T + i[None, :])
    diagonal = tl.load(G + (row * T + i) * T + i)
    b = tl.load(B + at, mask=here, other=0.0)
    power = tl.load(POWER + row)
    least = floor * tl.sqrt(power)
    role = tl.load(ROLE + at, mask=here, other=0)
    waiting = tl.where(role > 1, 1, 0)
    begin = tl.load(START + at, mask=here, other=0.0)
    z, s = b, tl.zeros([T], tl.float32)
    active = tl.zeros([T], tl.int32)
    waits, count, shrinks, turn, going = tl.sum(waiting, 0), 0, 0, 0, 1
    most = 6 * T + 4 * limit
    while going > 0:
        # the first that waits is to enter; or all move to the least squares, as far as none meets zero
        starts = waits > 0
        part = tl.where((active > 0) & (z <= 0), s / tl.maximum(s - z, 1e-37), 2.0)
        part = tl.where(starts, tl.where(waiting > 0, i - 1000.0, 2.0), part)
        step, p = tl.min(part, 0, return_indices=True)
        moved = tl.where(active > 0, s + tl.minimum(step, 1.0) * (z - s), 0.0)
        s = tl.where(starts, s, moved)
        fitted = step >= 1
        blocks = (step < 1) & (waits == 0)
        # if none does, the best match enters; then that whose absence costs least leaves
        gain = tl.where((role > 0) & (active == 0) & (diagonal > singular), z, -1e30)
        cost = tl.where(active > 0, s * s / tl.where(active > 0, diagonal, -1.0), -1e30)
        best, q = tl.max(tl.where(shrinks > 0, cost, gain), 0, return_indices=True)
        grows = fitted & (shrinks == 0) & (best > least) & (count < limit) & (turn < most)
        turns = fitted & (shrinks == 0) & (grows == 0)
        drops = fitted & (shrinks > 0) & (count > keep)
        place = tl.where(fitted, q, p)
        leaving = tl.where(blocks | drops, 1, 0)
        d, c = _pivot(W, diagonal, i == place, leaving)
        moves = blocks | grows | drops | (starts & (d > singular))
        hot, f = i == tl.where(moves, place, -1), tl.where(moves, 1.0 / tl.where(moves, d, 1.0), 0.0)
        W -= c[:, None] * (c * f)[None, :]
        z -= c * (f * tl.sum(tl.where(hot, z, 0.0), 0))
        diagonal = tl.where(hot, -f, diagonal - c * c * f)
        s = tl.where(hot, tl.where(starts, begin, 0.0), s)
        active = tl.where(hot, 1 - leaving, active)
        count += tl.where(moves, 1 - 2 * leaving, 0)
        waiting = tl.where(i == place, 0, waiting)
        waits -= tl.where(starts, 1, 0)
        shrinks = tl.where(turns, 1, shrinks)
        turn += 1
        going = tl.where((starts | blocks | grows | turns | drops) & (turn < 2 * most), 1, 0)
    # refinement, by the products with the residual
    W = tl.where(i[:, None] == i[None, :], diagonal[:, None], W)
    c = b - tl.sum(tl.load(G + (row * T + i[:, None]) * T + i[None, :]) * s[:, None], 0)
    s -= tl.sum(W * tl.where(active > 0, c, 0.0)[:, None], 0)
    s = tl.where(active > 0, tl.maximum(s, 0.0), 0.0)
    tl.store(VALUES + at, s, mask=here)
    top = tl.max(tl.where((i < width) & (active == 0), c, 0.0), 0)
    left = power - tl.sum(s * b, 0)
    tl.store(LEFT + row, tl.where(left > 0, top * top / tl.maximum(left, 1e-37), 0.0))


@triton.jit
def _path(G, B, SIZES, VALUES, TURNS, n_places, singular, near, T: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, T)
    here, at = i < n_places, row * n_places + i
    k, width = tl.load(SIZES + 2 * row), tl.load(SIZES + 2 * row + 1)
    W = tl.load(G + (row * T + i[:, None]) * T + i[None, :])
    diagonal = tl.load(G + (row * T + i) * T + i)
    fit = tl.load(B + at, mask=here, other=0.0)
    one = tl.where(here, 1.0, 0.0)
    active = tl.zeros([T], tl.int32)
    alpha = tl.max(tl.where(i < width, fit, 0.0), 0)
    going = tl.where((alpha > 0) & (k > 0), 1, 0)
    count, turn, last = 0, 0, -1
    while going > 0:
        enters = (i < width) & (one > 0) & (diagonal > singular)
        turns = tl.where(active > 0, one < 0, enters) & (i != last)
        meets = tl.where(turns, fit / tl.where(turns, one, 1.0), -1.0)
        event, p = tl.max(tl.where(meets <= alpha * near, meets, -1.0), 0, return_indices=True)
        leaving = tl.sum(tl.where(i == p, active, 0), 0)
        alpha = tl.minimum(tl.maximum(event, 0.0), alpha)
        moves = (event > 0) & ((leaving > 0) | (count < k))
        d, c = _pivot(W, diagonal, i == p, leaving)
        hot, f = i == tl.where(moves, p, -1), tl.where(moves, 1.0 / tl.where(moves, d, 1.0), 0.0)
        W -= c[:, None] * (c * f)[None, :]
        fit -= c * (f * tl.sum(tl.where(hot, fit, 0.0), 0))
        one -= c * (f * tl.sum(tl.where(hot, one, 0.0), 0))
        diagonal = tl.where(hot, -f, diagonal - c * c * f)
        active = tl.where(hot, 1 - leaving, active)
        count += tl.where(moves, 1 - 2 * leaving, 0)
        turn += tl.where(moves, 1, 0)
        last = p
        going = tl.where(moves & (turn < 8 * T), 1, 0)
    s = tl.where(active > 0, tl.maximum(fit - alpha * one, 0.0), 0.0)
    tl.store(VALUES + at, s, mask=here)
    tl.store(TURNS + row, turn)


@triton.jit
def _steps(G, B, START, SIZES, VALUES, n_places, STEPS: tl.constexpr, T: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, T)
    here, at = i < n_places, row * n_places + i
    k, width = tl.load(SIZES + 2 * row), tl.load(SIZES + 2 * row + 1)
    W = tl.load(G + (row * T + i[:, None]) * T + i[None, :])
    b = tl.load(B + at, mask=here, other=0.0)
    s = tl.load(START + at, mask=here, other=0.0)
    for _ in range(STEPS):
        g = b - tl.sum(W * s[:, None], 0)
        inner = tl.where(s > 0, g, 0.0)
        length = tl.sum(inner * tl.sum(W * inner[:, None], 0), 0)
        s = tl.maximum(s + tl.sum(inner * inner, 0) / tl.maximum(length, 1e-37) * g, 0.0)
        s = tl.where(i < width, s, 0.0)
        before = (s[:, None] > s[None, :]) | ((s[:, None] == s[None, :]) & (i[:, None] < i[None, :]))
        s = tl.where(tl.sum(before.to(tl.int32), 0) < k, s, 0.0)
    tl.store(VALUES + at, s, mask=here)


def gram(rows: Tensor, x: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """G, with rows and columns of zeros up to a power of two, and b.  rows = D' (N, M), x (n, M)."""
    (n, T), M = candidates.shape, rows.shape[1]
    wide = max(16, 1 << (T - 1).bit_length())
    G, b = x.new_empty(n, wide, wide), x.new_empty(n, T)
    program: Any = _gram
    args = rows, x.contiguous(), candidates.contiguous(), G, b, T
    program[(n,)](*args, M=M, T=wide, BLOCK=32, num_warps=8 if wide > 64 else 4)
    return G, b


def settle(
    G: Tensor, b: Tensor, power: Tensor, role: Tensor, start: Tensor, *sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """Values (n, T) and what is left (n,).  power = |x|^2 (n,); role (n, T): who is active at the start (2), with
    coefficients start (n, T), and who else may enter (1); sizes (n,): the width, a plan's limit and keep."""
    values, left = torch.empty_like(b), torch.empty_like(power)
    args = b, power, role, start.to(b).contiguous(), _sizes(*sizes), values, left
    _run(_settle, G, *args, b.shape[1], 10 * EPS, 100 * EPS)
    return values, left


def path(G: Tensor, b: Tensor, k: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (n, T) and how many times a candidate entered or left, (n,)."""
    values, turns = torch.empty_like(b), torch.empty(len(b), dtype=torch.int32, device=b.device)
    # events a little above alpha are those of this alpha, by rounding
    _run(_path, G, b, _sizes(k, width), values, turns, b.shape[1], 100 * EPS, 1 + 50 * EPS)
    return values, turns.long()


def steps(G: Tensor, b: Tensor, start: Tensor, k: Tensor, width: Tensor, count: int) -> Tensor:
    """The codes (n, T) after so many steps from start (n, T)."""
    values = torch.empty_like(b)
    _run(_steps, G, b, start.to(b).contiguous(), _sizes(k, width), values, b.shape[1], count)
    return values


def _sizes(*counts: Tensor) -> Tensor:
    return torch.stack(counts, 1).to(torch.int32)


def _run(program: Any, G: Tensor, *args: Any) -> None:
    # a warp alone needs no barriers, as long as its registers hold the matrix
    program[(len(G),)](G, *args, T=G.shape[1], num_warps=4 if G.shape[1] > 64 else 1)
