"""The BatchTopK encoder: k active latents a sample on average over the batch, not in each sample."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap._largest import largest
from amortgap.encoders.topk import TopKEncoder

RATE = 0.01  # of the running mean of the threshold


class BatchTopKEncoder(TopKEncoder):
    """Training: keep the n k largest entries of relu(W (x - b_pre) + b) over the whole batch of n samples.
    Encoding: keep all above theta, so that a sample's code does not depend on its batch.

    theta is the running mean over training batches of the smallest entry kept; before training it is zero.
    Supervised training uses `encode` and leaves theta at zero. Arguments and errors as TopKEncoder.
    Bussmann, Leask & Nanda, BatchTopK Sparse Autoencoders (2024), eqs. 4-7.
    """

    variants: ClassVar = {"BatchTopK": {"bias": True}}
    exchange = "batchtopk"

    def __init__(self, M: int, N: int, **options: Any) -> None:
        super().__init__(M, N, **options)
        self.theta = nn.Parameter(torch.zeros(()), requires_grad=False)

    def encode(self, x: Tensor) -> Tensor:
        pre = self._positive(x)
        return pre * (pre > self.theta[..., None, None])

    @staticmethod
    def select(h: Tensor, amplitude: Tensor, k: float | None, threshold: Tensor | None) -> Tensor:
        """A file without a threshold keeps the n k largest of the batch, k on average."""
        s = torch.relu(h)
        if threshold is not None:
            return s * (h > threshold)
        assert k is not None
        return largest(s.reshape(1, -1), int(k * len(s))).reshape(s.shape)

    def exchanged(self) -> dict[str, Any]:
        return super().exchanged() | {"threshold": self.theta.detach().expand(self.W.shape[-2]).clone()}

    def _keep(self, pre: Tensor) -> Tensor:
        """Where the n k largest entries of pre (.., n, N) are, in the flattened pre, row by row."""
        each = pre.flatten(-2).view(-1, pre.shape[-2:].numel())
        values, places = each.topk(pre.shape[-2] * self.k, sorted=False)
        if torch.is_grad_enabled():  # a look at the loss is no training
            with torch.no_grad():
                # a batch without any positive entry tells nothing about the threshold
                least = torch.where(values > 0, values, torch.inf).amin(-1).view(self.theta.shape)
                least = torch.where(least.isfinite(), least, self.theta)
                self.theta.copy_(torch.where(self.theta > 0, self.theta + RATE * (least - self.theta), least))
        shift = each.shape[1] * torch.arange(len(each), device=pre.device)[:, None]
        return (places.sort().values + shift).flatten()
