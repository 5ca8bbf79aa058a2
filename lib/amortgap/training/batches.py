"""What each step sees: samples in memory, or a stream of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from amortgap._check import as_tensor, generator

#: number of a batch -> this batch and all that follow, without an end
Stream = Callable[[int], Iterator[Tensor]]

#: samples, and their codes in supervised training
Batch = tuple[Tensor, Tensor | None]


class Rows:
    """Step -> its batch of x and of codes: everything, or slices of one random order an epoch."""

    def __init__(self, x: Tensor, codes: Tensor | None, batch_size: int | None, seed: int) -> None:
        self.x, self.codes, self.size = x, codes, batch_size
        self.n, self.epoch, self.g = x.shape[-2], -1, generator(seed)
        self.data = [list(x.shape), *(norm(part) for part in (x, codes) if part is not None)]

    def rows(self, step: int) -> Tensor | slice:
        """Which samples step number `step` sees."""
        if self.size is None:
            return slice(None)
        epoch, i = divmod(step, self.n // self.size)
        # a run that goes on draws the orders of past epochs again
        while self.epoch < epoch:
            # on the device once an epoch, from pinned memory: for a copy of other memory the host waits
            order = torch.randperm(self.n, generator=self.g, pin_memory=self.x.is_cuda)
            self.order, self.epoch = order.to(self.x.device, non_blocking=True), self.epoch + 1
        return self.order[i * self.size : (i + 1) * self.size]

    def first(self) -> Batch:
        """A batch to count the operations of a step on."""
        return self._of(slice(0, self.size))

    def __call__(self, step: int) -> Batch:
        return self._of(self.rows(step))

    def _of(self, rows: Tensor | slice) -> Batch:
        return self.x[..., rows, :], None if self.codes is None else self.codes[..., rows, :]


class Streamed:
    """Step -> its batch of a stream, in the type and on the device of `like` (M, N)."""

    def __init__(self, stream: Stream, like: Tensor) -> None:
        self.stream, self.like, self.step = stream, like, -2
        x, _ = self(0)
        self.data = ["stream", list(x.shape), norm(x)]

    def first(self) -> Batch:
        """A batch to count the operations of a step on."""
        return self(0)

    def __call__(self, step: int) -> Batch:
        if step != self.step:
            if step != self.step + 1:
                self.coming = self.stream(step)
            batch = as_tensor(next(self.coming), "a batch of the stream")
            if batch.ndim != 2 or batch.shape[1] != self.like.shape[-2] or len(batch) == 0:
                raise ValueError(
                    f"batches must have shape (n, {self.like.shape[-2]}), not {tuple(batch.shape)}"
                )
            self.batch, self.step = batch.to(self.like), step
        return self.batch, None


def norm(x: Tensor) -> str:
    """||x|| to the digits that stay when other threads or another machine multiply in another order."""
    return f"{torch.linalg.vector_norm(x, dtype=torch.float64).item():.6g}"


def check_samples(value: Any, name: str, like: Tensor, width: int) -> Tensor:
    """`value` (n, width) or (B, n, width) in the type of the model's D, `like`, or ValueError."""
    value, lead = as_tensor(value, name), list(like.shape[:-2])
    if (
        value.ndim < 2
        or 0 in value.shape
        or value.shape[-1] != width
        or list(value.shape[:-2]) not in ([], lead)
    ):
        raise ValueError(
            f"{name} must have shape {(*lead, 'n', width)} or (n, {width}), not {tuple(value.shape)}"
        )
    if value.device != like.device:
        raise ValueError(f"the model is on {like.device} but {name} is on {value.device}; move one of them")
    return value if value.dtype == like.dtype else as_tensor(value.to(like.dtype), f"{name} as {like.dtype}")
