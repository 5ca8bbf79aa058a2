"""What takes the steps of Adam: torch, or a compiled kernel with the same equations; and the loop around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from amortgap._progress import progress

CHUNK = 200  # steps between two looks at the clock

Moments = list[list[Tensor]]  # Adam's m and v of each learned parameter, whoever takes the steps


class TorchSteps:
    """Adam on `learned`, any device and type.

    gradients(step): puts the gradient of step number `step` into .grad of each.  project(): follows each step.
    decay: before each step the weights shrink by the learning rate times this (AdamW).
    """

    def __init__(
        self,
        learned: Sequence[Tensor],
        gradients: Callable[[int], None],
        project: Callable[[], None],
        decay: float = 0.0,
    ) -> None:
        self.learned, self.gradients, self.project = learned, gradients, project
        self.adam = torch.optim.AdamW(learned, weight_decay=decay, fused=True)

    def advance(self, first: int, rates: list[float]) -> None:
        for step, rate in enumerate(rates, first):
            self.adam.param_groups[0]["lr"] = rate
            self.adam.zero_grad()
            self.gradients(step)
            self.adam.step()
            self.project()

    def moments(self) -> Moments:
        names, state = ("exp_avg", "exp_avg_sq"), self.adam.state
        # a parameter without a gradient has no state
        return [[state.get(p, {}).get(name, torch.zeros_like(p)) for name in names] for p in self.learned]

    def restore(self, moments: Moments, step: int) -> None:
        for p, (m, v) in zip(self.learned, moments, strict=True):
            steps = torch.tensor(float(step), device=p.device)
            self.adam.state[p] = {"step": steps, "exp_avg": m, "exp_avg_sq": v}


class Packed(Protocol):
    """Problems laid out for a kernel."""

    at_once: int  # steps that one call of `jobs` may serve

    def jobs(self, first: int, count: int) -> list[tuple[Any, ...]]:
        """The kernel's arguments for `count` steps from number `first` on, one tuple a model."""

    def write_back(self) -> None:
        """What the kernel has changed goes to where torch reads it."""


class KernelSteps:
    """The same by kernel(*job, rates, steps made before), float32 on the CPU, a thread a job."""

    def __init__(self, kernel: Any, packed: Packed) -> None:
        self.kernel, self.packed = kernel, packed
        self.advance(0, [])  # compiled now, so that it is not timed

    @torch.no_grad()
    def advance(self, first: int, rates: list[float]) -> None:
        from amortgap._kernels.blocks import each

        size = self.packed.at_once
        for start in range(0, max(len(rates), 1), size):
            some, step = np.array(rates[start : start + size], dtype=float), first + start
            jobs = self.packed.jobs(step, max(len(some), 1))
            each(self.kernel, [(*job, some, step) for job in jobs])
        self.packed.write_back()


def take(
    taker: TorchSteps | KernelSteps,
    first: int,
    steps: int,
    rate: Callable[..., float],
    label: str,
    stops: Iterable[int] = (),
) -> Iterator[tuple[int, float]]:
    """Take steps number first .. steps - 1; after every few of them, how many are made and the seconds they took.

    It halts at each of `stops`, after CHUNK steps, and about once a second if they take longer.
    rate(step=t): the learning rate of step number t.
    """
    size = 1
    with progress(total=steps, initial=first, desc=label) as bar:
        for stop in sorted({s for s in stops if first < s < steps} | {steps}):
            while first < stop:
                count = min(size, stop - first)
                began = time.perf_counter()
                taker.advance(first, [rate(step=t) for t in range(first, first + count)])
                seconds = time.perf_counter() - began
                size = min(2 * size, CHUNK) if seconds < 0.5 else max(1, size // 2)
                first += count
                bar.update(count)
                yield first, seconds
