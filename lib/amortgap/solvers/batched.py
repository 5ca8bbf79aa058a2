"""Working-set continuation for all samples at once, in torch alone: the solver for GPUs.

For lam falling from max|D'x| to alpha:  screen all atoms by one product  c = D'(x - D s);  keep the active atoms of
each sample and fill its T slots with the largest c;  gather those T columns and their Gram matrix G (T, T);  solve

    min_{s >= 0}  1/2 s'G s - (b - lam)'s        exactly, by block principal pivoting (`_pivot`).

At alpha the correlations of the slots are taken in float64, and each further round is a step of iterative
refinement. A sample is done when its duality gap is proved: for the atoms outside its slots by the largest screened
value among them plus a bound on that product's error, which may be computed in bfloat16. There is no N x N matrix.

The working sets are celer's (Massias, Gramfort & Salmon, ICML 2018); continuation with an active-set step is
Jiao, Jin & Lu, Inverse Problems 31 (2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amortgap.solvers._pivot import pivot, suits_chip
from amortgap.solvers._solution import Solution, as_returned, each, stop_words
from amortgap.solvers.prepared import Prepared, plain, prepare

FIRST_SLOTS = 32  # T of the first round
SLOTS = 64  # T may grow to this; to twice that for the samples whose support outgrows it, and so on
MOST_SLOTS = 1024  # beyond that a sample is left unfinished
SHRINK = 0.1  # lam of the next round, in units of the largest inactive correlation
ROUNDS = 24  # screenings a sample may take for one T
COARSE_ROUNDS = 8  # of these, the first may be in bfloat16
COARSE_FROM = 512  # columns from which on bfloat16 is used on CUDA
ON_CHIP = 8192  # measurements up to which, on CUDA, one program a sample takes residuals in float64
MEMORY = 4 * 2**30  # bytes of working memory; on CUDA, where blocks want to be large, a quarter of the card's


def batched(
    D: Tensor | Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool = True,
    tol: float = 1e-6,
    init: Tensor | None = None,
    memory: int | None = None,
    coarse: bool | None = None,
) -> Solution:
    """Minimise P per sample to relative duality gap tol.  D (M, N), x (n, M) -> codes (n, N).

    init is ignored. n_steps counts the exchanges of the small problems. A sample whose support outgrows the slots
    (M + 64, at most 1024), or that takes more than 24 screenings for one T, has converged=False. coarse: screen in
    bfloat16 (default: on CUDA from 512 columns on). Samples are solved in blocks, so that everything but D, its
    three copies and the answer stays below `memory` bytes (default 4 GiB; on CUDA a quarter of the card's). The
    same on every device; half precision is computed in float32.
    """
    D = plain(D)
    M, N = D.shape
    n, device = len(x), x.device
    work = torch.promote_types(x.dtype, torch.float32)
    longest = float(torch.linalg.vector_norm(D.double(), dim=0).max())
    # units in which alpha and the longest column are about one: powers of two, which keep every number exact
    length = 2.0 ** round(math.log2(longest))
    size = 2.0 ** round(math.log2(alpha / length))
    columns, signals = (D.to(work) / length).contiguous(), x.to(work) / size
    if memory is None:
        memory = (
            torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else MEMORY
        )
    if coarse is None:
        coarse = device.type == "cuda" and N >= COARSE_FROM
    shared = _Shared(
        columns,
        columns.T.contiguous(),
        columns.bfloat16() if coarse else None,
        alpha / (length * size),
        longest / length,
        size / length,
        tol,
        nonnegative,
        x.dtype,
    )
    codes = torch.zeros(n, N, dtype=x.dtype, device=device)
    objective = 0.5 * signals.double().square().sum(1)
    gap = torch.full((n,), torch.inf, dtype=torch.float64, device=device)
    steps, flops = torch.zeros(n, dtype=torch.long, device=device), 0
    T, todo = min(N, SLOTS), torch.arange(n, device=device)
    while len(todo):
        room = N * (8 + work.itemsize) + T * M * (8 + 2 * work.itemsize) + 20 * T * T
        outgrown, last = [], min(N, M + 64, MOST_SLOTS) <= T
        for rows in todo.split(max(1, memory // room)):
            state, left, cost = _solve(shared, signals[rows], T)
            rows, flops = rows[state.where], flops + cost
            values = (state.sign * state.s * shared.unit).to(x.dtype)
            if not last:  # solved again with more slots
                values[left] = 0
            codes.view(-1).scatter_add_(0, (rows[:, None] * N + state.atom).flatten(), values.flatten())
            objective[rows], gap[rows] = state.objective, state.gap
            steps[rows] += state.steps
            outgrown.append(rows[left])
        todo = todo[:0] if last else torch.cat(outgrown)
        T = min(N, 2 * T)
    converged = gap <= tol
    method, stop = each("batched", n), stop_words(converged, ~converged)
    found = Solution(codes, objective * size * size, gap, steps, converged, flops, method, stop)
    return as_returned(prepare(D), x, alpha, found, tol)


@dataclass(frozen=True)
class _Shared:
    """What all samples share, in units: D (M, N), its rows D' (N, M), D in bfloat16 or None; alpha, the length of
    the longest column, the unit of the codes, tol, nonnegative, and the dtype in which codes are returned."""

    D: Tensor
    rows: Tensor
    coarse: Tensor | None
    alpha: float
    longest: float
    unit: float
    tol: float
    nonnegative: bool
    dtype: torch.dtype


@dataclass
class _State:
    """m samples: where (m,) in their block, x (m, M), r (m, M) = x - D s as last screened, atoms of their slots
    (m, T) with signs, s (m, T) >= 0 in float64, lam, objective, gap (float64) and steps, each (m,)."""

    where: Tensor
    x: Tensor
    r: Tensor
    atom: Tensor
    sign: Tensor
    s: Tensor
    lam: Tensor
    objective: Tensor
    gap: Tensor
    steps: Tensor

    def take(self, rows: Tensor) -> _State:
        return _State(*(part[rows] for part in vars(self).values()))


def _solve(given: _Shared, x: Tensor, T: int) -> tuple[_State, Tensor, int]:
    """All samples of x (n, M) with T slots each; which of them outgrew the slots (n,), and operations."""
    n, (M, N) = len(x), given.D.shape
    zeros = torch.zeros(n, dtype=torch.float64, device=x.device)
    slots = torch.zeros(n, min(T, FIRST_SLOTS), dtype=torch.float64, device=x.device)
    now = _State(
        torch.arange(n, device=x.device),
        x,
        x,
        slots.long(),
        slots.to(x.dtype),
        slots,
        zeros + torch.inf,
        zeros,
        zeros + torch.inf,
        zeros.long(),
    )
    finished, outgrown, flops = [], [], 0
    # operations of the exchanges, counted where they are made
    exchanged = torch.zeros((), dtype=torch.long, device=x.device)
    for turn in range(ROUNDS + 1):
        m, count = len(now.x), (now.s > 0).sum(1)
        crowded = count > (T - max(2, T // 16) if T < N else T)
        # all that the host must know, at once: it waits for each answer
        many, arrived, full = torch.stack(
            [
                count.kthvalue(math.ceil(0.95 * m)).values,
                (now.lam <= given.alpha).sum(),
                crowded.sum(),
            ]
        ).tolist()
        wide = now.s.shape[1]
        if turn:  # room for a quarter more atoms and sixteen, in all but a few samples
            wide = max(wide, min(T, 16 * math.ceil(1.25 * many / 16) + 16))
        highest, outside = _select(given, now, min(wide, T), turn < COARSE_ROUNDS)
        # index_select reads whole rows, at twice the speed of indexing on CUDA
        columns = given.rows.index_select(0, now.atom.flatten()).view(m, -1, M)
        if not given.nonnegative:
            columns *= now.sign[:, :, None]
        # whoever leaves is told its gap
        proving = 2 * arrived > m or full or turn == ROUNDS
        r = now.r[:, :, None]
        c = _prove(given, now, columns, outside) if proving else torch.bmm(columns, r)[:, :, 0]
        wide = now.s.shape[1]
        flops += m * (2 * M * N + 2 * M * wide * (2 if proving else 1))
        over = crowded | (now.gap <= given.tol) | (turn == ROUNDS)
        rows = over.nonzero()[:, 0] if proving else over[:0]
        if len(rows):
            rest = (~over).nonzero()[:, 0]
            finished.append(now.take(rows))
            outgrown.append((crowded & ~(now.gap <= given.tol))[rows])
            if not len(rest):
                break
            now, columns, c, highest = now.take(rest), columns[rest], c[rest], highest[rest]
        lam = torch.minimum(now.lam, SHRINK * highest)
        now.lam = torch.where(lam < 1.2 * given.alpha, given.alpha, lam)
        slack = now.lam * max(0.25 * given.tol, 4 * torch.finfo(x.dtype).eps)
        v, gram = (c - now.lam[:, None]).to(x.dtype), torch.bmm(columns, columns.mT)
        now.s, steps = pivot(gram, now.s, v, slack.to(x.dtype))
        now.steps = now.steps + steps
        now.r = now.x - torch.bmm(now.s.to(x.dtype)[:, None, :], columns)[:, 0]
        # the Gram matrices and residuals of those that stay
        flops += len(now.x) * 2 * M * wide * (wide + 1)
        exchanged += steps.sum() * (wide**3 // 3 + 6 * wide**2)
    for part in finished:  # empty slots, which add zero to the code of atom 0
        part.atom, part.sign, part.s = (_widen(p, T) for p in (part.atom, part.sign, part.s))
    state = _State(*(torch.cat(parts) for parts in zip(*(vars(p).values() for p in finished), strict=True)))
    return state, torch.cat(outgrown), flops + int(exchanged)


def _widen(slots: Tensor, T: int) -> Tensor:
    return torch.nn.functional.pad(slots, (0, T - slots.shape[1]))


def _select(given: _Shared, now: _State, T: int, early: bool) -> tuple[Tensor, Tensor]:
    """Active atoms move to the front of their slots, the largest correlations fill the others.

    Returns the largest correlation of an inactive atom, and a bound on those of the atoms without a slot, (m,).
    |fl(r d) - r d| <= |r| |d| (M + 1) eps in the working precision, with rounding of r to it; with r and d
    rounded to bfloat16 first and c after, 2^-7 |r| |d| more and 2^-8 |c|.
    """
    (M, N), held, eps = given.D.shape, now.s.shape[1], torch.finfo(now.r.dtype).eps
    error = torch.linalg.vector_norm(now.r.double(), dim=1) * given.longest * (M + 4) * eps
    if given.coarse is not None and early:
        found = now.r.bfloat16() @ given.coarse
        error = error * (1 + 2**-7 / ((M + 4) * eps))
        share = 2.0**-8
    else:
        found, share = now.r @ given.D, 0.0
    c = found if given.nonnegative else found.abs()
    active = now.s > 0
    # above every correlation, and falling from slot to slot: so topk keeps the order of the active slots
    # (by 1.8 per cent, which bfloat16 can tell apart)
    marks = (126 - torch.arange(held, device=c.device) * (26 / MOST_SLOTS)).exp2().to(c.dtype)
    c.scatter_(1, now.atom, torch.where(active, marks, c.gather(1, now.atom)))
    top = c.topk(min(N, T + 1), dim=1)
    order = active.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    now.s, kept = (_widen(part.gather(1, order), T) for part in (now.s, now.sign * active))
    now.atom = top.indices[:, :T]
    if given.nonnegative:
        now.sign = torch.ones_like(kept)
    else:
        now.sign = torch.where(kept != 0, kept, found.gather(1, now.atom).sign().to(kept.dtype))
    count = active.sum(1, keepdim=True).clamp_max(top.values.shape[1] - 1)
    highest = top.values.gather(1, count)[:, 0].double()
    highest = torch.where(highest < 2.0**99, highest, 0)  # every atom is active
    if T == N:
        return highest, torch.full_like(error, -torch.inf)
    return highest, top.values[:, T].double() * (1 + share) + error


def _prove(given: _Shared, now: _State, columns: Tensor, outside: Tensor) -> Tensor:
    """Objective and gap of each sample's code as it will be returned; the slots' correlations (m, T) in float64."""
    x = now.x.double()
    if x.shape[1] <= ON_CHIP and suits_chip(columns):
        from amortgap.solvers._residual_on_chip import residual_on_chip

        r, c = residual_on_chip(columns, now.x, now.s)
    else:
        exact = columns.double()
        r = x - torch.bmm(now.s[:, None, :], exact)[:, 0]
        c = torch.bmm(exact, r[:, :, None])[:, :, 0]
    rounded = (now.s * given.unit).to(given.dtype).double() / given.unit - now.s
    # P of the rounded code, to first order and with a bound on the second
    moved = given.longest * rounded.abs().sum(1)
    rr, rx = r.square().sum(1), (r * x).sum(1)
    primal = (
        0.5 * rr + given.alpha * now.s.sum(1) + ((given.alpha - c) * rounded).sum(1) + 0.5 * moved.square()
    )
    shift = given.longest * torch.linalg.vector_norm(r - now.r.double(), dim=1)
    largest = torch.maximum((c if given.nonnegative else c.abs()).amax(1), outside + shift)
    tiny = torch.finfo(torch.float64).tiny
    scale = torch.minimum((rx / rr.clamp_min(tiny)).clamp_min(0), given.alpha / largest.clamp_min(tiny))
    gap = (primal - scale * rx + 0.5 * scale.square() * rr) / primal
    gap = torch.where(primal > 0, gap.clamp_min(0), torch.where(primal == 0, 0, torch.inf))
    now.objective, now.gap = primal, torch.where(gap.isfinite(), gap, torch.inf)
    return c
