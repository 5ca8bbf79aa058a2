"""What takes the steps of `amortgap.training.fit`: torch, or a compiled kernel with the same equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amortgap.encoders import MLPEncoder, ReLUEncoder, TopKEncoder

KERNEL_WEIGHTS = 600_000  # of one model, if each thread has its own: above, torch is as fast (measured)
KERNEL_WEIGHTS_FEW = 80_000  # with fewer models than threads: above, torch's threads do better together
LAID_OUT = 1 << 20  # numbers of mini-batches copied at once into the order the kernel reads

Moments = list[list[Tensor]]  # Adam's m and v of each learned parameter, whoever takes the steps


class Batches:
    """Step -> its batch: everything, or slices of one random order an epoch."""

    def __init__(self, n: int, batch_size: int | None, seed: int) -> None:
        self.n, self.size, self.epoch = n, batch_size, -1
        self.g = torch.Generator().manual_seed(seed)

    def __call__(self, step: int) -> Tensor | slice:
        if self.size is None:
            return slice(None)
        epoch, i = divmod(step, self.n // self.size)
        while self.epoch < epoch:  # a run that goes on draws the orders of the epochs behind it again
            self.order, self.epoch = torch.randperm(self.n, generator=self.g), self.epoch + 1
        return self.order[i * self.size : (i + 1) * self.size]


class TorchSteps:
    """Adam on any encoder, on any device."""

    def __init__(
        self,
        model: nn.Module,
        learned: list[nn.Parameter],
        loss_at: Callable[[int], Tensor],
        normalise: bool,
    ) -> None:
        self.model, self.loss_at, self.normalise = model, loss_at, normalise
        self.learned, self.adam = learned, torch.optim.Adam(learned, fused=True)

    def advance(self, first: int, rates: list[float]) -> None:
        for step, rate in enumerate(rates, first):
            self.adam.param_groups[0]["lr"] = rate
            self.adam.zero_grad()
            self.loss_at(step).sum().backward()
            self.adam.step()
            if self.normalise:  # supervised encoders never touch the decoder
                self.model.decoder.normalise_()  # type: ignore[operator, union-attr]

    def moments(self) -> Moments:
        names, state = ("exp_avg", "exp_avg_sq"), self.adam.state
        # a parameter without a gradient has no state
        return [[state.get(p, {}).get(name, torch.zeros_like(p)) for name in names] for p in self.learned]

    def restore(self, moments: Moments, step: int) -> None:
        for p, (m, v) in zip(self.learned, moments, strict=True):
            steps = torch.tensor(float(step), device=p.device)
            self.adam.state[p] = {"step": steps, "exp_avg": m, "exp_avg_sq": v}


def suits_kernel(model: nn.Module, x: Tensor) -> bool:
    """Whether the kernel knows the encoder and is the faster way."""
    known = type(model) in (ReLUEncoder, TopKEncoder) or (type(model) is MLPEncoder and model.layers == 2)
    D = model.get_parameter("decoder.D")
    enough = D[..., 0, 0].numel() >= torch.get_num_threads()
    return (
        known
        and x.device.type == "cpu"
        and all(p.dtype == x.dtype == torch.float32 for p in model.parameters())
        and all(p.requires_grad for p in model.parameters() if p is not D)
        and D.requires_grad == model.decoder.learned  # type: ignore[union-attr]
        and model.decoder.b_pre is None  # type: ignore[union-attr]
        and sum(p[(0,) * (D.ndim - 2)].numel() for p in model.parameters())
        <= (KERNEL_WEIGHTS if enough else KERNEL_WEIGHTS_FEW)
    )


class KernelSteps:
    """Adam on small ReLU, TopK and one-hidden-layer encoders, float32: a thread a model."""

    def __init__(
        self, model: Any, x: Tensor, codes: Tensor | None, l1_weight: Tensor, batch_at: Batches
    ) -> None:
        from amortgap import _training_kernel as kernel  # numba takes half a second to import

        self.kernel = kernel
        D, one = model.decoder.D, not isinstance(model, MLPEncoder)
        weights = [None, None, model.W, model.b] if one else [model.W1, model.b1, model.W2, model.b2]
        self.parameters = [*weights, D]
        M, N = D.shape[-2:]
        H, B = 0 if one else model.W1.shape[-2], D[..., 0, 0].numel()
        n = batch_at.size or batch_at.n
        self.sizes = [H * M, H, N * (H or M), N, M * N]
        relu, keep = one or model.output == "relu", getattr(model, "k", None) or 0
        self.learned = [p for p in model.parameters() if p.requires_grad]
        self.shape = (n, M, N, H, weights[3] is not None, relu, D.requires_grad, keep)
        self.gather()
        self.m, self.v = torch.zeros_like(self.theta), torch.zeros_like(self.theta)
        self.data, self.batch_at = (x.detach(), None if codes is None else codes.detach()), batch_at
        self.whole = None if batch_at.size else self._laid_out(slice(None))
        self.steps_at_once = max(1, LAID_OUT // (n * (M + N))) if batch_at.size else LAID_OUT
        self.l1_weight = l1_weight.reshape(-1).expand(B).tolist()
        self.advance(0, [])  # compiled now, so that it is not timed

    def _laid_out(self, samples: slice | Tensor) -> list[list[Any]]:
        """Samples of x and of codes for each model: all, or those in samples (steps, n), step after step."""
        B, found = len(self.theta), []
        for data in self.data:
            if data is None:
                found.append([self.kernel.NOTHING] * B)
                continue
            flat = self.kernel.blocks(data[..., samples, :])
            found.append([flat.reshape(-1)] * B if data.ndim == 2 else list(flat.reshape(B, -1)))
        return found

    def gather(self) -> None:
        B = self.parameters[-1][..., 0, 0].numel()
        parts = zip(self.parameters, self.sizes, strict=True)
        flat = [torch.zeros(B, size) if p is None else p.detach().reshape(B, size) for p, size in parts]
        self.theta = torch.cat(flat, 1)

    @torch.no_grad()
    def advance(self, first: int, rates: list[float]) -> None:
        theta, m, v = self.theta.numpy(), self.m.numpy(), self.v.numpy()
        for start in range(0, max(len(rates), 1), self.steps_at_once):
            some, step = np.array(rates[start : start + self.steps_at_once]), first + start
            orders: list[Any] = [self.batch_at(t) for t in range(step, step + max(len(some), 1))]
            x, codes = self.whole or self._laid_out(torch.stack(orders))
            self.kernel.each(
                self.kernel.train_encoder,
                [
                    (theta[i], m[i], v[i], x[i], codes[i], *self.shape, self.l1_weight[i], some, step)
                    for i in range(len(theta))
                ],
            )
        for p, part in zip(self.parameters, self.theta.split(self.sizes, 1), strict=True):
            if p is not None:
                p.copy_(part.view_as(p))

    def moments(self) -> Moments:
        return [[part.reshape(p.shape) for part in parts] for p, parts in self._parts()]

    def restore(self, moments: Moments, step: int) -> None:
        self.gather()
        for (_, parts), saved in zip(self._parts(), moments, strict=True):
            for part, value in zip(parts, saved, strict=True):
                part.copy_(value.reshape(part.shape))

    def _parts(self) -> list[tuple[Tensor, list[Tensor]]]:
        """Each learned parameter, in the model's order, with its columns of m and of v."""
        columns = list(zip(self.m.split(self.sizes, 1), self.v.split(self.sizes, 1), strict=True))
        where = {id(p): i for i, p in enumerate(self.parameters)}
        return [(p, list(columns[where[id(p)]])) for p in self.learned]
