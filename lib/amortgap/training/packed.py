"""Small encoders as the kernel of training reads them: one vector of weights a model, samples in blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from amortgap._kernels.blocks import NOTHING, blocks
from amortgap._kernels.products import Learned
from amortgap.encoders import MLPEncoder, ReLUEncoder, TopKEncoder
from amortgap.encoders._decoder import Decoder
from amortgap.training.batches import Rows
from amortgap.training.kernel import Form, Samples
from amortgap.training.steps import Moments

KERNEL_WEIGHTS = 600_000  # of one model, if each thread has its own: above, torch is as fast (measured)
KERNEL_WEIGHTS_FEW = 80_000  # with fewer models than threads: above, torch's threads do better together
LAID_OUT = 1 << 20  # numbers of mini-batches copied at once into the order the kernel reads


def suits_kernel(model: nn.Module, x: Tensor) -> bool:
    """Whether the kernel knows the encoder and is the faster way."""
    known = type(model) in (ReLUEncoder, TopKEncoder) or (type(model) is MLPEncoder and model.layers == 2)
    D = model.get_parameter("decoder.D")
    enough = D[..., 0, 0].numel() >= torch.get_num_threads()
    return (
        known
        and type(model.decoder) is Decoder
        and x.device.type == "cpu"
        and all(p.dtype == x.dtype == torch.float32 for p in model.parameters())
        and all(p.requires_grad for p in model.parameters() if p is not D)
        and D.requires_grad == model.decoder.learned
        and model.decoder.b_pre is None
        and sum(p[(0,) * (D.ndim - 2)].numel() for p in model.parameters())
        <= (KERNEL_WEIGHTS if enough else KERNEL_WEIGHTS_FEW)
    )


class PackedEncoder:
    """A stacked or single ReLU, TopK or one-hidden-layer encoder with Adam's moments, for `train_encoder`."""

    def __init__(self, model: Any, batches: Rows, l1_weight: Tensor) -> None:
        D, one = model.decoder.D, not isinstance(model, MLPEncoder)
        weights = [None, None, model.W, model.b] if one else [model.W1, model.b1, model.W2, model.b2]
        self.parameters = [*weights, D]
        M, N = D.shape[-2:]
        H, B = 0 if one else model.W1.shape[-2], D[..., 0, 0].numel()
        n = batches.size or batches.n
        self.sizes = [H * M, H, N * (H or M), N, M * N]
        relu, keep = one or model.output == "relu", getattr(model, "k", None) or 0
        self.learned = [p for p in model.parameters() if p.requires_grad]
        self.n, self.form = n, Form(M, N, H, weights[3] is not None, relu, D.requires_grad, keep)
        self.gather()
        self.m, self.v = torch.zeros_like(self.theta), torch.zeros_like(self.theta)
        self.batches = batches
        self.whole = None if batches.size else self._laid_out(slice(None))
        self.at_once = max(1, LAID_OUT // (n * (M + N))) if batches.size else LAID_OUT
        self.l1_weight = l1_weight.reshape(-1).expand(B).tolist()

    def _laid_out(self, samples: slice | Tensor) -> list[list[Any]]:
        """Samples of x and of codes for each model: all, or those in samples (steps, n), step after step."""
        B, found = len(self.theta), []
        for data in (self.batches.x, self.batches.codes):
            if data is None:
                found.append([NOTHING] * B)
                continue
            flat = blocks(data.detach()[..., samples, :])
            found.append([flat.reshape(-1)] * B if data.ndim == 2 else list(flat.reshape(B, -1)))
        return found

    def gather(self) -> None:
        """Read the model's parameters."""
        B = self.parameters[-1][..., 0, 0].numel()
        parts = zip(self.parameters, self.sizes, strict=True)
        flat = [torch.zeros(B, size) if p is None else p.detach().reshape(B, size) for p, size in parts]
        self.theta = torch.cat(flat, 1)

    def jobs(self, first: int, count: int) -> list[tuple[Any, ...]]:
        theta, m, v = self.theta.numpy(), self.m.numpy(), self.v.numpy()
        x, codes = self.whole or self._laid_out(
            torch.stack([torch.as_tensor(self.batches.rows(t)) for t in range(first, first + count)])
        )
        return [
            (Learned(theta[i], m[i], v[i]), Samples(x[i], codes[i], self.n), self.form, self.l1_weight[i])
            for i in range(len(theta))
        ]

    def write_back(self) -> None:
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
