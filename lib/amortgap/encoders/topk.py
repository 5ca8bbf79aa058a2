"""The TopK encoder: keep the k largest positive pre-activations of each sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amortgap._check import check_sparsity
from amortgap.encoders._decoder import Decoder


class TopKEncoder(nn.Module):
    """s = TopK_k(relu(W (x - b_pre) + b)),   x_hat = D s + b_pre.

    W (N, M) starts as D', which keeps dead latents rare. x (n, M) -> s (n, N) with at most k non-zeros.
    Gao et al., Scaling and evaluating sparse autoencoders (2024), eq. 4 and appendix A.1.
    Raises ValueError unless 1 <= k <= N.
    """

    def __init__(
        self,
        M: int,
        N: int,
        *,
        k: int = 3,
        D: Tensor | None = None,
        bias: bool = False,
        pre_bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.k = check_sparsity(k, N)
        g = torch.Generator().manual_seed(seed)
        self.decoder = Decoder(M, N, D, pre_bias, g)
        self.W = nn.Parameter(self.decoder.D.detach().mT.clone().contiguous())
        self.b = nn.Parameter(torch.zeros(N)) if bias else None

    def encode(self, x: Tensor) -> Tensor:
        s = self.decoder.centre(x) @ self.W.mT
        s = torch.relu(s if self.b is None else s + self.b.unsqueeze(-2))
        values, indices = s.topk(self.k, dim=-1)
        return torch.zeros_like(s).scatter(-1, indices, values)

    def decode(self, s: Tensor) -> Tensor:
        return self.decoder(s)
