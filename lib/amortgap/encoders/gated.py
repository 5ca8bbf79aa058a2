"""The Gated encoder: one half decides which latents are active, the other how large they are."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder, LastLayer


class GatedEncoder(Encoder):
    """s = H(pi) relu(exp(r) u + b_mag),   u = W (x - b_pre),   pi = u + b_gate,   x_hat = D s + b_pre.

    W (N, M) starts as D'; r, b_gate, b_mag (N,); x (n, M) -> s (n, N). The two halves share W up to the scale
    exp(r). The gate learns from the penalty lambda mean relu(pi) and from an auxiliary loss that reconstructs x
    from relu(pi) through a frozen copy of the decoder:  mean (x - D relu(pi) - b_pre)^2.
    Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders (2024), eqs. 6-8.
    """

    variants: ClassVar = {"Gated": {}}
    exchange = "gated"
    maps = 2
    frozen_decodings = 1

    def __init__(
        self, M: int, N: int, *, D: Tensor | None = None, pre_bias: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))
        self.W = nn.Parameter(self.decoder.transposed())
        self.r, self.b_gate, self.b_mag = (nn.Parameter(torch.zeros(N)) for _ in range(3))

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """pi and the codes."""
        u = self.decoder.centre(x) @ self.W.mT
        pi = u + self.b_gate.unsqueeze(-2)
        return pi, self.select(pi, u * self.r.exp().unsqueeze(-2) + self.b_mag.unsqueeze(-2), None, None)

    def encode(self, x: Tensor) -> Tensor:
        return self._halves(x)[1]

    @staticmethod
    def select(h: Tensor, amplitude: Tensor, k: float | None, threshold: Tensor | None) -> Tensor:
        return (h > 0) * torch.relu(amplitude)

    def exchanged(self) -> dict[str, Any]:
        return {"b_enc": self.b_gate.detach(), "r_mag": self.r.detach(), "b_mag": self.b_mag.detach()}

    def last_layer(self, centred: Tensor) -> LastLayer:
        return LastLayer(centred, self.W, [self.r, self.b_gate, self.b_mag], [])

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_hat, the penalty mean relu(pi) and the auxiliary loss (see training.reconstruction_loss)."""
        pi, s = self._halves(x)
        gate = torch.relu(pi)
        x_hat = gate @ self.decoder.D.detach().mT
        if self.decoder.b_pre is not None:
            x_hat = x_hat + self.decoder.b_pre.detach().unsqueeze(-2)
        return self.decode(s), gate.mean((-2, -1)), (x - x_hat).square().mean((-2, -1))
