"""The multilayer encoder: one hidden layer before the codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap.encoders._decoder import Decoder, linear_weight


class MLPEncoder(nn.Module):
    """s = f(W2 relu(W1 (x - b_pre) + b1) + b2),   x_hat = D s + b_pre,   f = relu or the identity.

    W1 (h, M), W2 (N, h), h = hidden; x (n, M) -> s (n, N).  output="relu" is the paper's; "linear" (supervised
    training) keeps latents alive whose output relu would die. arXiv 2411.13117, section 3.
    Raises ValueError for hidden < 1 or another output.
    """

    def __init__(
        self,
        M: int,
        N: int,
        *,
        hidden: int = 32,
        output: str = "relu",
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if hidden < 1 or output not in ("relu", "linear"):
            raise ValueError(f"hidden must be >= 1 and output relu or linear, not {hidden} and {output!r}")
        g = torch.Generator().manual_seed(seed)
        self.output = output
        self.W1 = nn.Parameter(linear_weight(M, hidden, g))
        self.W2 = nn.Parameter(linear_weight(hidden, N, g))
        self.b1 = nn.Parameter(torch.zeros(hidden)) if bias else None
        self.b2 = nn.Parameter(torch.zeros(N)) if bias else None
        self.decoder = Decoder(M, N, D, pre_bias, g)

    def encode(self, x: Tensor) -> Tensor:
        hidden = self.decoder.centre(x) @ self.W1.mT
        hidden = torch.relu(hidden if self.b1 is None else hidden + self.b1.unsqueeze(-2))
        s = hidden @ self.W2.mT
        s = s if self.b2 is None else s + self.b2.unsqueeze(-2)
        return torch.relu(s) if self.output == "relu" else s

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)
