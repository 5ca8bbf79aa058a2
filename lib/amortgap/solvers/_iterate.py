"""The loop that first-order methods share: step, look at the duality gaps, let finished samples go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from amortgap.objectives import duality_gap, measure
from amortgap.solvers._solution import Solution, certify
from amortgap.solvers._threads import share
from amortgap.solvers.prepared import Prepared

CHECK_EVERY = 10  # steps between two looks at the duality gap, which costs about two steps
SAMPLES = 1024  # that a thread takes at a time
PATIENCE = 500  # steps without progress that every sample may take

State = tuple[Tensor, ...]  # each (n, ...), one row a sample; the first holds the codes


class Costs(NamedTuple):
    """Operations: of the set-up that all samples share, and for each sample of its start and of a step."""

    shared: int
    start: int
    step: int


def working_dtype(x: Tensor, tol: float) -> torch.dtype:
    """float64 below tol = 1e-4: float32 iterates stall at gaps of about 1e-5."""
    return torch.promote_types(x.dtype, torch.float32) if tol >= 1e-4 else torch.float64


def iterate(
    given: Prepared,
    x: Tensor,
    alpha: float,
    begin: Callable[[Tensor, Tensor], State],
    step: Callable[[State], State],
    *,
    nonnegative: bool,
    tol: float,
    init: Tensor | None,
    max_steps: int,
    costs: Costs,
    method: str,
) -> Solution:
    """Repeat `step` until every sample's relative duality gap is at most tol, or max_steps have been made.

    A sample is given up as limited by rounding when twice as many steps (and PATIENCE) have neither taken a tenth
    off its smallest gap nor tol / 100 off its smallest P. The slowest of these methods, whose error falls as 1 / k,
    would have halved it.

    begin(x, codes) makes the state of the samples that are not done at their start; step advances it, one
    sample apart from the other, so that finished ones can be dropped from the batch.

    On a CPU, threads share blocks of samples, which do not depend on the number of threads: nor do the codes.
    """
    dtype = working_dtype(x, tol)
    D_, x_ = given.D.to(dtype), x.to(dtype)
    n, N = len(x), D_.shape[1]
    codes = torch.zeros(n, N, dtype=dtype, device=x.device) if init is None else init.to(dtype).clone()
    n_steps = torch.zeros(n, dtype=torch.long, device=x.device)
    spent: list[int] = []

    def work(blocks: Iterator[slice]) -> None:
        for rows in blocks:
            first = codes[rows]
            codes[rows], n_steps[rows], cost = _descend(
                D_, x_[rows], first, alpha, begin, step, nonnegative, tol, max_steps, costs
            )
            spent.append(cost)

    if x.device.type == "cpu":
        share(n, work, SAMPLES, SAMPLES)
    else:
        work(iter([slice(0, n)]))
    return certify(
        given,
        x,
        codes,
        alpha,
        nonnegative=nonnegative,
        tol=tol,
        n_steps=n_steps,
        at_limit=n_steps >= max_steps,
        flops=costs.shared + sum(spent),
        method=method,
    )


def _descend(
    D: Tensor,
    x: Tensor,
    codes: Tensor,
    alpha: float,
    begin: Callable[[Tensor, Tensor], State],
    step: Callable[[State], State],
    nonnegative: bool,
    tol: float,
    max_steps: int,
    costs: Costs,
) -> tuple[Tensor, Tensor, int]:
    """Codes (n, N) of the samples x (n, M), steps (n,), and operations, with the certificate's."""
    M, N = D.shape
    codes, n_steps = codes.clone(), torch.zeros(len(x), dtype=torch.long, device=x.device)
    active = (~(duality_gap(D, x, codes, alpha, nonnegative) <= tol)).nonzero().squeeze(1)
    target = x[active]
    state = begin(target, codes[active])
    best = torch.full((3, len(active)), torch.inf, dtype=x.dtype, device=x.device)
    # the first gap and the certificate for all samples, the start for those that go on
    flops = 10 * M * N * len(x) + costs.start * len(active)
    for k in range(1, max_steps + 1):
        if len(active) == 0:
            break
        state = step(state)
        flops += len(active) * costs.step
        if k % CHECK_EVERY == 0 or k == max_steps:
            flops += len(active) * 4 * M * N
            primal, gap = measure(D, target, state[0], alpha, nonnegative)
            best, going = _progress(best, primal, gap, tol, k)
            keep = ~(gap <= tol) & going
            done = active[~keep]
            codes[done], n_steps[done] = state[0][~keep], k
            if len(done):
                active, target, state = active[keep], target[keep], tuple(part[keep] for part in state)
                best = best[:, keep]
    codes[active], n_steps[active] = state[0], max_steps
    return codes, n_steps, flops


def _progress(best: Tensor, primal: Tensor, gap: Tensor, tol: float, k: int) -> tuple[Tensor, Tensor]:
    """best (3, n): smallest P and gap when last there was progress, and the step of it; bool (n,): not given up."""
    better = (primal < (1 - 0.01 * tol) * best[0]) | (gap < 0.9 * best[1])
    now = torch.stack([primal, gap, torch.full_like(gap, k)])
    best = torch.where(better, torch.minimum(now, best), best)
    best[2] = torch.where(better, k, best[2])
    return best, k < torch.maximum(2 * best[2], best[2] + PATIENCE)


def shrink(v: Tensor, threshold: float | Tensor, nonnegative: bool) -> Tensor:
    """prox of threshold ||.||_1:  max(v - t, 0), soft thresholding in the signed case."""
    positive = (v - threshold).clamp_min(0)
    return positive if nonnegative else positive - (-v - threshold).clamp_min(0)
