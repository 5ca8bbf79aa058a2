"""The Gated encoder: one half decides which latents are active, the other how large they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder


class GatedEncoder(nn.Module):
    """s = H(pi) relu(exp(r) u + b_mag),   u = W (x - b_pre),   pi = u + b_gate,   x_hat = D s + b_pre.

    W (N, M) starts as D'; r, b_gate, b_mag (N,); x (n, M) -> s (n, N). The two halves share W up to the scale
    exp(r). The gate learns from the penalty lambda mean relu(pi) and from an auxiliary loss that reconstructs x
    from relu(pi) through a frozen copy of the decoder:  mean (x - D relu(pi) - b_pre)^2.
    Rajamanoharan et al., Improving Dictionary Learning with Gated Sparse Autoencoders (2024), eqs. 6-8.
    """

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
        size = torch.relu(u * self.r.exp().unsqueeze(-2) + self.b_mag.unsqueeze(-2))
        return pi, (pi > 0) * size

    def encode(self, x: Tensor) -> Tensor:
        return self._halves(x)[1]

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_hat, the penalty mean relu(pi) and the auxiliary loss (see training.reconstruction_loss)."""
        pi, s = self._halves(x)
        gate = torch.relu(pi)
        x_hat = gate @ self.decoder.D.detach().mT
        if self.decoder.b_pre is not None:
            x_hat = x_hat + self.decoder.b_pre.detach().unsqueeze(-2)
        return self.decode(s), gate.mean((-2, -1)), (x - x_hat).square().mean((-2, -1))

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)
