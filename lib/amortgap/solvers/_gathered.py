"""The working set without D'D: all atoms are screened by products, the Gram matrices are those of a few slots.

A turn of a sample:  screen  c = D'(x - D s)  together with the other samples', in bfloat16 where the CPU has it;
give slots to the active atoms and to the largest c;  gather their columns and multiply them by each other;  solve
the LASSO on the slots exactly. At alpha every atom that the screening's rounding leaves in doubt gets a slot, where
its c is taken in float64: so the dual point is feasible, and each turn is a step of iterative refinement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortgap.solvers._solution import Solution, each, stop_words
from amortgap.solvers._threads import BLOCK, share
from amortgap.solvers.prepared import Prepared, half_width, in_units

ROUNDS = 60  # screenings a sample may take
GROUP = 16  # samples whose columns are gathered at a time, to stay in the caches
ROOM = 2**28  # bytes of correlations a thread holds


def gathered(
    given: Prepared,
    x: Tensor,
    alpha: float,
    *,
    nonnegative: bool,
    tol: float,
    limit: int,
    init: Tensor | None,
    dtype: torch.dtype,
) -> Solution:
    """As `working_set`, with screening in dtype.  Samples that need more than ROUNDS screenings are left open."""
    n, N = len(x), given.shape[1]
    exact = x.dtype if dtype == torch.float32 else dtype
    signals, weight, unit, size = in_units(given, x.to(exact), alpha)
    work = _Work(given, weight, tol, nonnegative, unit, limit, dtype, exact, x.dtype)
    codes = torch.zeros(n, N, dtype=x.dtype)
    objective, gap = torch.zeros(2, n, dtype=torch.float64)
    steps, flops = torch.zeros(2, n, dtype=torch.long)

    def solve(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            start = None if init is None else init[rows].detach().to(dtype) / unit
            found = work.block(signals[rows], start)
            parts = (found.objective, found.gap, limit - found.pivots, found.flops)
            for into, part in zip((objective, gap, steps, flops), parts, strict=True):
                into[rows] = torch.from_numpy(part)
            work.write(found, codes[rows])

    share(n, solve, block=max(1, min(BLOCK, ROOM // (6 * N))))
    objective *= size * size
    converged = gap <= tol
    stop = stop_words(converged, steps >= limit)
    return Solution(codes, objective, gap, steps, converged, int(flops.sum()), each("working_set", n), stop)


class _Room:
    """Memory by name that is used again: touching new memory takes as long as some of the products."""

    def __init__(self) -> None:
        self._held: dict[Any, Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        need, held = math.prod(shape), self._held.get((name, dtype))
        if held is None or len(held) < need:
            held = self._held[name, dtype] = torch.empty(need, dtype=dtype)
        return held[:need].view(shape)


class _Work:
    """The dictionary in the forms that a turn needs, and what all samples share."""

    def __init__(
        self,
        given: Prepared,
        alpha: float,
        tol: float,
        nonnegative: bool,
        unit: float,
        limit: int,
        dtype: torch.dtype,
        exact: torch.dtype,
        returned: torch.dtype,
    ) -> None:
        # numba takes half a second to import
        from amortgap.solvers.kernels import gathered as kernel

        self.kernel, (M, N) = kernel, given.shape
        self.rows, self.exact = given.rows(dtype), given.rows(exact)
        self.coarse = given.coarse() if dtype == torch.float32 and half_width() else None
        self.longest, self.limit, self.dtype = given.longest, limit, dtype
        self.kind = torch.empty(0, dtype=returned).numpy()
        self.setting = kernel.Setting(M, N, alpha, tol, not nonnegative, given.longest, unit)

    def block(self, x: Tensor, start: Tensor | None) -> Any:
        """The slots of all samples of x (n, M), from the codes `start` (n, N), when they are done."""
        n, setting, signals = len(x), self.setting, x.numpy()
        slots, r = self._begin(x, start)
        room = _Room()
        live = np.arange(n)
        for _ in range(ROUNDS):
            bits, shift, error = self._screen(r[torch.from_numpy(live)], room)
            number = np.zeros(1, self.rows.numpy().dtype)
            real = number, number.view(np.int64 if self.dtype == torch.float64 else np.int32)
            self.kernel.choose(bits, shift, error, live, real, setting, slots)
            still = []
            live = live[np.argsort(slots.total[live], kind="stable")]
            for part in np.split(live, range(GROUP, len(live), GROUP)):
                atoms = torch.from_numpy(slots.atom[part, : max(1, slots.total[part].max())])
                size = (*atoms.shape, setting.M)
                columns = room.take("columns", size, self.exact.dtype)
                torch.index_select(self.exact, 0, atoms.flatten(), out=columns.view(-1, setting.M))
                self.kernel.prove(columns.numpy(), signals[part], part, self.kind, setting, slots)
                goes_on = ~(slots.gap[part] <= 0.99 * setting.tol)
                goes_on &= (slots.chances[part] > 0) & (slots.pivots[part] > 0)
                if not goes_on.any():
                    continue
                if not goes_on.all():
                    part, columns = part[goes_on], columns[torch.from_numpy(goes_on)]
                own = columns.to(self.dtype)
                gram = room.take("gram", (*own.shape[:2], own.shape[1]), self.dtype)
                torch.bmm(own, own.mT, out=gram)
                slots.flops[part] += 2 * gram.shape[1] ** 2 * setting.M
                rest = np.empty((len(part), setting.M), self.rows.numpy().dtype)
                self.kernel.advance(columns.numpy(), signals[part], gram.numpy(), part, setting, slots, rest)
                r[torch.from_numpy(part)] = torch.from_numpy(rest)
                still.append(part)
            if not still:
                break
            live = np.sort(np.concatenate(still))
        return slots

    def _begin(self, x: Tensor, start: Tensor | None) -> tuple[Any, Tensor]:
        """Slots, and r = x - D s in the working precision."""
        n, (N, M) = len(x), self.rows.shape
        places, r = min(M, N) + self.kernel.WIDTH, x.to(self.dtype, copy=True)
        atom, count = np.zeros((n, places), np.int64), np.zeros(n, np.int64)
        sign, s = np.ones((n, places), self.rows.numpy().dtype), np.zeros((n, places))
        flops = np.zeros(n, np.int64)
        if start is not None:
            kept = min(M, N)
            for row in range(n):
                active = start[row].nonzero()[:kept, 0]
                count[row] = k = len(active)
                values = start[row, active]
                atom[row, :k], sign[row, :k], s[row, :k] = active, values.sign(), values.abs()
                r[row] -= values @ self.rows[active]
                flops[row] = 2 * k * M
        inf, zero = np.full(n, np.inf), np.zeros(n)
        pivots, chances = np.full(n, self.limit), np.full(n, self.kernel.CHANCES)
        slots = self.kernel.Slots(
            atom, sign, s, np.zeros((n, places)), count, count.copy(), inf, inf.copy(),
            zero, inf.copy(), pivots, chances, flops,
        )  # fmt: skip
        return slots, r

    def _screen(self, r: Tensor, room: _Room) -> tuple[np.ndarray, int, np.ndarray]:
        """r D as integers that are ordered as it is where it is positive, their shift, and a bound on its error.

        |fl(r d) - r d| <= (M + 4) eps |r| |d| in the working precision, with the rounding of r to it. With d' and
        r' in bfloat16 |r| |d - d'| + |r - r'| |d'| more, and half a unit of the last of the product's 8 digits,
        which `choose` adds.
        """
        lengths = torch.linalg.vector_norm(r, dim=1)
        error = (len(self.rows[0]) + 4) * torch.finfo(self.dtype).eps * self.longest * lengths.double()
        if self.coarse is not None:
            columns, blur = self.coarse
            short = r.bfloat16()
            off = torch.linalg.vector_norm(r - short.float(), dim=1)
            coarse = 1.001 * (lengths * blur + off * (self.longest + blur))
            if coarse.median() < 0.3 * self.setting.alpha:
                product = torch.mm(short, columns.T, out=room.take("c", (len(r), len(columns)), short.dtype))
                return product.view(torch.int16).numpy(), 16, (error + coarse).numpy()
        product = torch.mm(r, self.rows.T, out=room.take("c", (len(r), len(self.rows)), r.dtype))
        integer = torch.int64 if self.dtype == torch.float64 else torch.int32
        return product.view(integer).numpy(), 0, error.numpy()

    def write(self, slots: Any, codes: Tensor) -> None:
        """codes (n, N), zeros, become the codes."""
        self.kernel.write(slots, self.setting.unit, codes.numpy())
