"""The JumpReLU encoder: pre-activations below a learned threshold are cut off, the others pass unshrunk."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder, LastLayer


class JumpReLUEncoder(Encoder):
    """s = pi H(pi - theta),   pi = W (x - b_pre) + b,   theta = exp(log_theta) > 0,   x_hat = D s + b_pre.

    W (N, M) starts as D', theta (N,) at `threshold`; x (n, M) -> s (n, N). Trained with the L0 penalty
    lambda mean H(pi - theta) in place of lambda mean |s|. H has no useful gradient, so theta gets the
    straight-through one of a rectangle of width `bandwidth` around it:
        d s / d theta = -theta/bandwidth,   d H / d theta = -1/bandwidth   where |pi - theta| < bandwidth/2.
    Both lengths are in units of s. Rajamanoharan et al., Jumping Ahead (2024), eqs. 8-12.
    Raises ValueError unless threshold and bandwidth are positive.
    """

    sparsity = "L0"
    variants: ClassVar = {"JumpReLU": {"bias": True, "threshold": 1.0, "bandwidth": 1.0}}
    exchange = "jumprelu"
    thresholded = True

    def __init__(
        self,
        M: int,
        N: int,
        *,
        threshold: float = 0.1,
        bandwidth: float = 0.1,
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (0 < threshold < math.inf and 0 < bandwidth < math.inf):
            raise ValueError(f"threshold and bandwidth must be positive, not {threshold} and {bandwidth}")
        self.bandwidth = float(bandwidth)
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))
        self.W = nn.Parameter(self.decoder.transposed())
        self.log_theta = nn.Parameter(torch.full((N,), math.log(threshold)))
        self.b = nn.Parameter(torch.zeros(N)) if bias else None

    def _gate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pi, theta and H(pi - theta), whose gradient with respect to theta is the straight-through one."""
        pi = self.decoder.centre(x) @ self.W.mT
        pi = pi if self.b is None else pi + self.b.unsqueeze(-2)
        theta = self.log_theta.exp().unsqueeze(-2)
        near = ((pi - theta).abs() < self.bandwidth / 2).to(pi) / self.bandwidth
        # theta - theta.detach() is zero and carries the gradient
        return pi, theta.detach(), (pi > theta).to(pi) - near.detach() * (theta - theta.detach())

    def encode(self, x: Tensor) -> Tensor:
        return _jump(*self._gate(x))

    @staticmethod
    def select(h: Tensor, amplitude: Tensor, k: float | None, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return torch.relu(h) * (h > threshold)

    def exchanged(self) -> dict[str, Any]:
        return super().exchanged() | {"threshold": self.log_theta.detach().exp()}

    def last_layer(self, centred: Tensor) -> LastLayer:
        biases = [] if self.b is None else [self.b]
        return LastLayer(centred, self.W, biases, [self.log_theta])

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """x_hat, the L0 penalty mean H(pi - theta), and no further loss (see training.reconstruction_loss)."""
        pi, theta, gate = self._gate(x)
        return self.decode(_jump(pi, theta, gate)), gate.mean((-2, -1)), 0.0


def _jump(pi: Tensor, theta: Tensor, gate: Tensor) -> Tensor:
    """pi H, with theta (not pi) in front of the straight-through gradient, as at the jump itself."""
    passed = gate.detach()
    return pi * passed + theta * (gate - passed)
