"""Least squares with s >= 0 on supports that grow and shrink among each activation's candidates.

Three heads differ only in where a support begins, how far it grows and to what it shrinks back. On a CPU in float32
a numba kernel does one activation at a time, on CUDA a Triton program; elsewhere `_tableau` does all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from amortgap.heads._proposal import Proposal
from amortgap.solvers._pivot import suits_chip
from amortgap.solvers._threads import share
from amortgap.solvers.batched_omp import SHARP
from amortgap.solvers.prepared import Prepared

#: bytes of small Gram matrices, and of the candidates' columns, at a time: on chip large ones keep all of it busy
MEMORY, ON_CHIP_MEMORY = 2**27, 2**30
#: columns up to which inner products of candidates are looked up in D'D; it then takes at most 2 GiB
LOOKED_UP = 32_768
#: candidates up to which, on CUDA in float32, a program an activation holds its small problem in registers
ON_CHIP = 128


class Plan(NamedTuple):
    """For each activation, (n,): the first `start` candidates are active and fitted. Then, one by one, that of the
    first `reach` which matches the residual best enters, up to `limit` of them, and then the one whose absence
    costs least leaves, down to `keep`. After each, all are fitted; a candidate leaves where it meets zero."""

    start: Tensor
    reach: Tensor
    limit: Tensor
    keep: Tensor


class Found(NamedTuple):
    """values (n, T) >= 0 on the candidates; left (n,): the largest c^2 / |r|^2 of a candidate with value zero, with
    c its inner product with the residual r, the share of |r|^2 that it would explain; flops: operations of all."""

    values: Tensor
    left: Tensor
    flops: int


def restricted(given: Prepared, x: Tensor, proposal: Proposal, plan: Plan) -> Found:
    """What the plan leads to on x (n, M)."""
    _check(given, x, proposal)
    if not len(x):
        return Found(torch.zeros_like(proposal.amplitude), x.new_zeros(0), 0)
    way = _by_kernel if _kernel_serves(given, x) else _together
    values, left = way(given, x, proposal, plan)
    return Found(values, left, operations(given.shape[0], proposal.width, plan))


def coded(
    given: Prepared,
    x: Tensor,
    proposal: Proposal,
    code: Callable[[Small, Proposal], tuple[Tensor, Tensor]],
    refit: bool,
) -> tuple[Found, Tensor]:
    """The codes s (n, T) of code(small problem, proposal), or with refit least squares with s >= 0 on their
    supports, to which `left` belongs in both cases; and what code counted, (n,)."""
    _check(given, x, proposal)
    if not len(x):
        return Found(torch.zeros_like(proposal.amplitude), x.new_zeros(0), 0), proposal.k

    def part(x: Tensor, proposal: Proposal, _: slice) -> tuple[Tensor, ...]:
        small = small_problem(given, x, proposal)
        s, counted = code(small, proposal)
        count = (s > 0).sum(1)
        plan = Plan(count, count, count, count)
        if not _kernel_serves(given, x):
            role = 2 * (s > 0).to(torch.int8)
            return s, counted, *_settle(small, x, proposal._replace(amplitude=s), role, plan)
        # the kernel wants the support first
        order = (s > 0).to(torch.int8).argsort(dim=1, descending=True, stable=True)
        support = Proposal(proposal.candidates.gather(1, order), s.gather(1, order), count, proposal.width)
        values, left = _by_kernel(given, x, support, plan)
        return s, counted, torch.zeros_like(s).scatter_(1, order, values), left

    s, counted, values, left = in_blocks(part, x, proposal)
    if not refit:
        return Found(s, left, 0), counted
    count = (s > 0).sum(1)
    flops = operations(given.shape[0], proposal.width, Plan(count, count, count, count))
    return Found(values, left, flops), counted


def _check(given: Prepared, x: Any, proposal: Proposal) -> None:
    shape = len(proposal.k), given.shape[0]
    if not isinstance(x, Tensor) or not x.is_floating_point() or tuple(x.shape) != shape:
        raise ValueError(f"x must be a tensor {shape}, (n, M), with a row for each of the proposal's")


def operations(M: int, width: Tensor, plan: Plan) -> int:
    """2Mm for the products with x. With k active, each that enters takes 2mk for the products with the residual,
    2k^2 for a fit and 6k^2 for the inverse Gram; each that leaves 2mk + 4k^2. D'D is there already."""
    m, k, rest = width.double(), plan.limit.double(), (plan.limit - plan.keep).clamp_min(0).double()
    work = 2 * M * m + m * k * (k + 1) + 8 * k**3 / 3 + rest * (2 * m * k + 4 * k * k)
    return int(work.sum())


def _kernel_serves(given: Prepared, x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and given.shape[1] <= LOOKED_UP


def _together(given: Prepared, x: Tensor, proposal: Proposal, plan: Plan) -> tuple[Tensor, ...]:
    """All activations of a block at once: in float64, or on chip."""

    def part(x: Tensor, proposal: Proposal, rows: slice) -> tuple[Tensor, Tensor]:
        here = Plan(*(n[rows] for n in plan))
        place = torch.arange(proposal.candidates.shape[1], device=x.device)
        role = (place < here.start[:, None]).to(torch.int8) + (place < here.reach[:, None])
        return _settle(small_problem(given, x, proposal), x, proposal, role, here)

    return in_blocks(part, x, proposal)


def _by_kernel(given: Prepared, x: Tensor, proposal: Proposal, plan: Plan) -> tuple[Tensor, ...]:
    """In float32; in float64 again where candidates that became active are nearly dependent."""
    from amortgap.heads._kernels import Columns, Task, code_rows

    n, eps = len(x), torch.finfo(x.dtype).eps
    values, left, low = torch.zeros(proposal.candidates.shape), torch.zeros(n), torch.zeros(n)
    gram = given.gram(x.dtype)
    columns = Columns(given.rows(x.dtype).numpy(), gram.G, np.float32(gram.scale))
    parts = (proposal.candidates, proposal.amplitude.contiguous(), values, left, low)
    counts = [part.numpy() for part in (plan.start, plan.reach, proposal.width, plan.limit, plan.keep)]

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            candidates, amplitude, *found = (part[rows].numpy() for part in parts)
            start, reach, width, limit, keep = (part[rows] for part in counts)
            task = Task(start, reach, width, limit, keep, 10 * eps, 100 * eps + 2 * gram.fuzz)
            code_rows(x[rows].contiguous().numpy(), candidates, amplitude, columns, task, *found)

    share(n, work, block=128)
    again = (low < SHARP).nonzero()[:, 0]
    if len(again):
        there = Plan(*(n[again] for n in plan))
        values[again], left[again] = _together(given, x[again], proposal.rows(again), there)
    return values, left


def in_blocks(part: Callable[..., tuple[Tensor, ...]], x: Tensor, proposal: Proposal) -> tuple[Tensor, ...]:
    """part(x, proposal, rows), block by block of the activations, so that their small matrices fit in memory."""
    T = proposal.candidates.shape[1]
    # gathered in float32 and then in float64; the programs on chip read them where they are
    memory, columns = (ON_CHIP_MEMORY, 0) if suits_chip(x) else (MEMORY, 12 * T * x.shape[1])
    size = max(1, memory // (24 * (T + 1) ** 2 + columns))
    blocks = [slice(first, first + size) for first in range(0, len(x), size)]
    found = [part(x[rows], proposal.rows(rows), rows) for rows in blocks]
    return found[0] if len(found) == 1 else tuple(torch.cat(parts) for parts in zip(*found, strict=True))


class Small(NamedTuple):
    """G (n, T, T), the Gram matrix of each activation's candidates, and b (n, T), their products with x: in float32
    where the programs on chip work on them, with zeros in G up to a power of two, else in float64."""

    G: Tensor
    b: Tensor


def small_problem(given: Prepared, x: Tensor, proposal: Proposal) -> Small:
    rows = given.rows(x.dtype)
    if suits_chip(x) and proposal.candidates.shape[1] <= ON_CHIP:
        from amortgap.heads._on_chip import gram

        return Small(*gram(rows, x, proposal.candidates))
    columns = rows[proposal.candidates].double()
    b = torch.bmm(columns, x.double()[:, :, None])[:, :, 0]
    return Small(torch.bmm(columns, columns.mT), b)


def _settle(small: Small, x: Tensor, proposal: Proposal, role: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """`restricted` for all activations together; role (n, T), not the plan, says who is active at the start (2) and
    who else may enter (1)."""
    if small.b.dtype != torch.float32:
        return _tableau(small, x, proposal, role, plan)
    from amortgap.heads._on_chip import settle

    power = torch.linalg.vector_norm(x, dim=1).square()
    return settle(*small, power, role, proposal.amplitude, proposal.width, plan.limit, plan.keep)


class Sweeps:
    """The matrix [G b] of each activation, swept on its active candidates (Goodnight, The American Statistician 33
    (1979)), G (n, T, T), b (n, T, sides)."""

    def __init__(self, G: Tensor, b: Tensor) -> None:
        self.W, self.T = torch.cat([G, b], 2), G.shape[1]
        self.active = torch.zeros(G.shape[:2], dtype=torch.bool, device=b.device)
        self.rows = torch.arange(len(G), device=b.device)

    def exchange(self, place: Tensor, chosen: Tensor) -> None:
        """Candidate place (n,) enters or leaves, where chosen (n,)."""
        rows, places = self.rows[chosen], place[chosen]
        pivot = torch.where(chosen, self.W[self.rows, place, place], 1.0)[:, None]
        row = self.W[self.rows, place] * chosen[:, None]
        column = self.W[self.rows, :, place] * chosen[:, None]
        self.W.baddbmm_((-column / pivot)[:, :, None], row[:, None])
        sign = torch.where(self.active[self.rows, place], -1.0, 1.0).to(pivot)[:, None]
        row, column = sign * row / pivot, sign * column / pivot
        self.W[rows, :, places], self.W[rows, places] = column[chosen], row[chosen]
        self.W[rows, places, places] = -1 / pivot[chosen, 0]
        self.active[rows, places] ^= True

    @property
    def sides(self) -> Tensor:
        """Least squares on the active candidates; products of the others with the residual: (n, T, sides)."""
        return self.W[:, :, self.T :]

    @property
    def diagonal(self) -> Tensor:
        """Of inactive candidates the Schur complement, of active ones minus that of the inverse Gram, (n, T)."""
        return self.W[:, :, : self.T].diagonal(dim1=1, dim2=2)


def _tableau(small: Small, x: Tensor, proposal: Proposal, role: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """`_settle` in torch, in float64."""
    G, b = small
    T, eps = b.shape[1], torch.finfo(x.dtype).eps
    sweeps, s = Sweeps(G, b[:, :, None]), torch.zeros_like(b)
    places = torch.arange(T, device=x.device)
    within, wanted, looked_at = role > 0, role > 1, places < proposal.width[:, None]
    power = x.double().square().sum(1)
    floor, singular = 10 * eps * power.sqrt(), 100 * eps
    for place in wanted.any(0).nonzero()[:, 0].tolist():
        enters = wanted[:, place] & (sweeps.diagonal[:, place] > singular)
        sweeps.exchange(torch.full_like(plan.keep, place), enters)
        s[:, place] = torch.where(enters, proposal.amplitude[:, place].double(), 0.0)
    _fit(sweeps, s)
    for _ in range(4 * int(plan.limit.max()) + T):
        free = within & ~sweeps.active & (sweeps.diagonal > singular)
        best = torch.where(free, sweeps.sides[:, :, 0], -torch.inf).max(1)
        enters = (best.values > floor) & (sweeps.active.sum(1) < plan.limit)
        if not enters.any():
            break
        sweeps.exchange(best.indices, enters)
        _fit(sweeps, s)
    while (over := sweeps.active.sum(1) > plan.keep).any():
        loss = torch.where(sweeps.active, s.square() / -sweeps.diagonal, torch.inf)
        worst = loss.argmin(1)
        s[over, worst[over]] = 0
        sweeps.exchange(worst, over)
        _fit(sweeps, s)
    rest = (power - (s * b).sum(1)).clamp_min(torch.finfo(b.dtype).tiny)
    top = torch.where(looked_at & ~sweeps.active, sweeps.sides[:, :, 0], 0.0).clamp_min(0).amax(1)
    # at most one, but for the rounding of a residual that is next to nothing
    return s.to(x.dtype), (top.square() / rest).clamp_max(1).to(x.dtype)


def _fit(sweeps: Sweeps, s: Tensor) -> None:
    """s goes to the least squares on the active candidates; one leaves where it meets zero on the way."""
    while True:
        target = sweeps.sides[:, :, 0] * sweeps.active
        falls = sweeps.active & (target <= 0)
        reach = torch.where(falls, s / (s - target).clamp_min(torch.finfo(s.dtype).tiny), torch.inf)
        first = reach.min(1)
        s.copy_(torch.where(sweeps.active, s + first.values.clamp_max(1)[:, None] * (target - s), 0.0))
        blocked = first.values < 1
        if not blocked.any():
            s.clamp_min_(0)
            return
        s[blocked, first.indices[blocked]] = 0
        sweeps.exchange(first.indices, blocked)
