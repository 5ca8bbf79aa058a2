"""The most general linear-nonlinear encoder: every latent has its own learned nonlinearity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder, linear_weight
from amortgap.encoders._encoder import Encoder


class PointwiseEncoder(Encoder):
    """s_i = sigma_i(u_i),  u = W (x - b_pre),  sigma_i(u) = c_i u + sum_p v_ip relu(u - t_ip) + b_i.

    W (N, M); c, b (N,); v, t (N, knots); x (n, M) -> s (n, N). sigma_i is any piecewise-linear function with
    `knots` free kinks, so training it shows how far one linear map and *some* pointwise nonlinearity can get
    (proofs, T4 and T9). Starts as relu. Memory: n N knots numbers.
    """

    def __init__(
        self,
        M: int,
        N: int,
        *,
        knots: int = 16,
        D: Tensor | None = None,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if knots < 1:
            raise ValueError(f"knots must be at least 1, not {knots}")
        g = torch.Generator().manual_seed(seed)
        self.W = nn.Parameter(linear_weight(M, N, g))
        self.c = nn.Parameter(torch.zeros(N))
        self.b = nn.Parameter(torch.zeros(N))
        # the kink at zero carries the whole relu, the others wait with slope zero
        grid = torch.linspace(-1.5, 1.5, knots)
        grid = grid - grid[grid.abs().argmin()]
        slopes = torch.zeros(N, knots)
        slopes[:, grid.abs().argmin()] = 1
        self.v, self.t = nn.Parameter(slopes), nn.Parameter(grid.repeat(N, 1))
        self.decoder = Decoder(M, N, D, pre_bias, g)

    def encode(self, x: Tensor) -> Tensor:
        u = self.decoder.centre(x) @ self.W.mT
        kinks = torch.relu(u.unsqueeze(-1) - self.t.unsqueeze(-3))
        return self.c.unsqueeze(-2) * u + (kinks * self.v.unsqueeze(-3)).sum(-1) + self.b.unsqueeze(-2)

    def last_layer(self, centred: Tensor) -> None:
        return None
