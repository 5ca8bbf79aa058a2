"""LISTA: a few iterations of ISTA unrolled into layers whose matrices are learned."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder
from amortgap.encoders._encoder import Encoder, LastLayer


class LISTAEncoder(Encoder):
    """s_0 = relu(u - theta),   s_t = relu(u + S s_{t-1} - theta)  for t = 1..layers,   u = W (x - b_pre).

    W (N, M), S (N, N), theta (N,), shared by all layers; x (n, M) -> s (n, N). They start as nonnegative ISTA
    on the dictionary at penalty alpha: W = D'/L, S = I - D'D/L, theta = alpha/L, L = ||D||^2.
    Gregor & LeCun, Learning Fast Approximations of Sparse Coding, ICML 2010, eq. 6, with relu for shrinkage.
    Raises ValueError for layers < 0 or alpha < 0.
    """

    variants: ClassVar = {"LISTA": {"layers": 1}}

    def __init__(
        self,
        M: int,
        N: int,
        *,
        layers: int = 3,
        alpha: float = 0.01,
        D: Tensor | None = None,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if layers < 0 or not 0 <= alpha < float("inf"):
            raise ValueError(f"layers and alpha must be >= 0, not {layers} and {alpha}")
        self.layers = layers
        self.decoder = Decoder(M, N, D, pre_bias, torch.Generator().manual_seed(seed))
        D = self.decoder.D.detach()
        L = torch.linalg.matrix_norm(D, 2) ** 2
        self.W = nn.Parameter(self.decoder.transposed() / L)
        self.S = nn.Parameter(torch.eye(N).to(D) - D.T @ D / L)
        self.theta = nn.Parameter(alpha / L * torch.ones(N).to(D))

    def encode(self, x: Tensor) -> Tensor:
        u = self.decoder.centre(x) @ self.W.mT - self.theta.unsqueeze(-2)
        s = torch.relu(u)
        for _ in range(self.layers):
            s = torch.relu(u + s @ self.S.mT)
        return s

    @classmethod
    def products(cls, M: int, N: int, hidden: Any, steps: int) -> list[int]:
        return [2 * M * N] + steps * [2 * N * N]

    def last_layer(self, centred: Tensor) -> LastLayer:
        return LastLayer(centred, self.W, [], [self.theta], self.S)
