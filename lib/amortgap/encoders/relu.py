"""The linear-nonlinear encoder of a standard sparse autoencoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder, linear_weight
from amortgap.encoders._encoder import Encoder


class ReLUEncoder(Encoder):
    """s = relu(W (x - b_pre) + b),   x_hat = D s + b_pre.

    W (N, M), b (N,) if bias, D (M, N); x (n, M) -> s (n, N). Parameters may carry leading dimensions (stacked
    models, see amortgap.training.stack); codes then carry them too. W starts uniform in +-1/sqrt(M), or as D' if
    tied: at the start only, the two are trained apart.
    Bricken et al., Towards Monosemanticity (2023); arXiv 2411.13117, eq. 3.
    """

    variants: ClassVar = {"ReLU": {"tied": True, "bias": True}}
    exchange = "standard"

    def __init__(
        self,
        M: int,
        N: int,
        *,
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        tied: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        W = linear_weight(M, N, g)
        self.decoder = Decoder(M, N, D, pre_bias, g)
        self.W = nn.Parameter(self.decoder.transposed() if tied else W)
        self.b = nn.Parameter(torch.zeros(N)) if bias else None

    def encode(self, x: Tensor) -> Tensor:
        s = self.decoder.centre(x) @ self.W.mT
        return torch.relu(s if self.b is None else s + self.b.unsqueeze(-2))

    def training_pass(self, x: Tensor) -> tuple[Tensor, Tensor, float]:
        """The reconstruction and mean s: codes that are never negative need no |s|, nor its gradient."""
        s = self.encode(x)
        return self.decode(s), s.mean((-2, -1)), 0.0
